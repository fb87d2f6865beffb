import t from 'tap';
import { jsonpath, jsonpathValues } from '../../../cmd/podwire/print/jsonpath.ts';

const list = {
  kind: 'List',
  items: [
    { metadata: { name: 'a', labels: { 'app.kubernetes.io/name': 'x' } }, n: 1, ready: true },
    { metadata: { name: 'b' }, n: 2, nested: [[1, 2], [3]] },
    { metadata: { name: 'c' }, n: 3, empty: null },
  ],
};
const cases: ReadonlyArray<{ path: string; wanted: string }> = [
  { path: '{.kind}', wanted: 'List' },
  { path: '.kind', wanted: 'List' },
  { path: 'kind', wanted: 'List' },
  { path: '{$.kind}', wanted: 'List' },
  { path: '{.items[0].metadata.name}', wanted: 'a' },
  { path: '{.items[-1].metadata.name}', wanted: 'c' },
  { path: '{.items[*].metadata.name}', wanted: 'a b c' },
  { path: '{.items[1:].metadata.name}', wanted: 'b c' },
  { path: '{.items[0:2].n}', wanted: '1 2' },
  { path: '{.items[0].metadata}', wanted: '{"name":"a","labels":{"app.kubernetes.io/name":"x"}}' },
  { path: "{.items[0].metadata.labels['app.kubernetes.io/name']}", wanted: 'x' },
  { path: '{.items[0].metadata.labels.app\\.kubernetes\\.io/name}', wanted: 'x' },
  { path: '{.items[?(@.n>1)].metadata.name}', wanted: 'b c' },
  { path: '{.items[?(@.metadata.name=="b")].n}', wanted: '2' },
  { path: '{.items[?(@.ready)].n}', wanted: '1' },
  { path: '{.items[?(@.ready==true)].n}', wanted: '1' },
  { path: '{.items[?(@.metadata.name!="b")].n}', wanted: '1 3' },
  { path: '{..name}', wanted: 'a b c' },
  { path: '{.items[1].nested[0][1]}', wanted: '2' },
  { path: '{.absent.field}', wanted: '' },
  { path: '{.items[2].empty}', wanted: '' },
  { path: 'n: {.items[0].n}!', wanted: 'n: 1!' },
  { path: '{range .items[*]}{.metadata.name}{"\\t"}{.n}{"\\n"}{end}', wanted: 'a\t1\nb\t2\nc\t3\n' },
  { path: "{range .items[0:2]}[{.n}]{end}{'.'}", wanted: '[1][2].' },
];
for (const c of cases)
  t.test(c.path, async (t) => {
    t.equal(jsonpath(c.path, list), c.wanted);
  });

const bad = ['{.a', '{.a[}', '{range .a}', '{end}', '{.a[?(b)]}', '{.a[?(@.x==yes)]}', '{.a b}'];
for (const path of bad)
  t.test(`refused: ${path}`, async (t) => {
    t.throws(() => jsonpath(path, {}), { code: 'USAGE', message: /jsonpath/ });
  });

t.test('values', async (t) => {
  t.same(jsonpathValues('{.items[*].n}', list), [1, 2, 3]);
});
