import t from 'tap';
import { circles, forbidden, importsOf } from '../../../scripts/check-imports.ts';

t.test('imports are found in every form', async (t) => {
  const text = `import a from './a.ts';
import type {
  B,
} from '../b/b.ts';
export { c } from "node:fs";
import 'side';
const d = await import('./d.ts');
// import no from './no.ts' in a comment that begins otherwise
const text = "from './not.ts'";
`;
  t.same(
    importsOf('lib/x/x.ts', text).map((each) => each.to),
    ['lib/x/a.ts', 'lib/b/b.ts', 'node:fs', 'side', 'lib/x/d.ts'],
  );
});

const cases: ReadonlyArray<{ from: string; to: string; wanted: number }> = [
  { from: 'lib/kernel/a.ts', to: 'lib/exec/b.ts', wanted: 0 },
  { from: 'lib/exec/a.ts', to: 'lib/kernel/b.ts', wanted: 1 },
  { from: 'lib/kubelet/a.ts', to: 'lib/apiserver/b.ts', wanted: 1 },
  { from: 'lib/api/a.ts', to: 'cmd/podwire/b.ts', wanted: 1 },
  { from: 'lib/lab/a.ts', to: 'lib/apiserver/b.ts', wanted: 0 },
  { from: 'lib/unknown/a.ts', to: 'node:fs', wanted: 1 },
  { from: 'cni-plugins/bridge/a.ts', to: 'lib/kubelet/b.ts', wanted: 1 },
  { from: 'cni-plugins/bridge/a.ts', to: 'lib/cni/types.ts', wanted: 0 },
  { from: 'lib/kubelet/a.ts', to: 'fastify', wanted: 1 },
  { from: 'lib/apiserver/a.ts', to: 'fastify', wanted: 0 },
  { from: 'cmd/podwire/a.ts', to: 'node:child_process', wanted: 1 },
  { from: 'lib/exec/a.ts', to: 'node:child_process', wanted: 0 },
  { from: 'lib/kernel/a.ts', to: 'execa', wanted: 1 },
];
for (const c of cases)
  t.test(`${c.from} → ${c.to}`, async (t) => {
    t.equal(forbidden([c]).length, c.wanted);
  });

t.test('circles', async (t) => {
  const edge = (from: string, to: string) => ({ from, to });
  t.same(circles([edge('a', 'b'), edge('b', 'c'), edge('a', 'c')]), []);
  t.same(circles([edge('a', 'b'), edge('b', 'c'), edge('c', 'b')]), ['circle: b → c → b']);
});
