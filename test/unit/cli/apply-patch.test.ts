import t from 'tap';
import {
  applyPatch,
  covers,
  lastApplied,
  lastAppliedKey,
  withLastApplied,
} from '../../../cmd/podwire/apply-patch.ts';

const cases: ReadonlyArray<{
  name: string;
  last: object;
  wanted: object;
  live: object;
  patch: object | undefined;
}> = [
  { name: 'nothing changed', last: { a: 1 }, wanted: { a: 1 }, live: { a: 1, b: 2 }, patch: undefined },
  { name: 'set', last: {}, wanted: { a: { b: 1 } }, live: { a: { c: 2 } }, patch: { a: { b: 1 } } },
  {
    name: 'removed since',
    last: { a: { b: 1, c: 2 } },
    wanted: { a: { c: 2 } },
    live: { a: { b: 1, c: 2 } },
    patch: { a: { b: null } },
  },
  { name: 'removed, and gone already', last: { a: 1 }, wanted: {}, live: {}, patch: undefined },
  {
    name: 'what others wrote stays',
    last: {},
    wanted: { l: { x: '1' } },
    live: { l: { x: '1', y: '2' } },
    patch: undefined,
  },
  {
    name: 'a whole key removed',
    last: { a: { b: 1 } },
    wanted: {},
    live: { a: { b: 1 } },
    patch: { a: null },
  },
  {
    name: 'a list that the server filled is no change',
    last: {},
    wanted: { containers: [{ name: 'a' }] },
    live: { containers: [{ name: 'a', imagePullPolicy: 'Always' }] },
    patch: undefined,
  },
  {
    name: 'a list that differs is sent whole',
    last: {},
    wanted: { containers: [{ name: 'a', image: 'y' }] },
    live: { containers: [{ name: 'a', image: 'x', tty: false }] },
    patch: { containers: [{ name: 'a', image: 'y' }] },
  },
];
for (const c of cases)
  t.test(c.name, async (t) => {
    t.same(applyPatch(c.last as never, c.wanted as never, c.live as never), c.patch);
  });

t.test('covers', async (t) => {
  t.equal(covers([1, 2], [1]), false);
  t.equal(covers({}, { a: null }), true);
  t.equal(covers('1', 1), false);
});

t.test('the annotation holds the manifest without itself', async (t) => {
  const once = withLastApplied({ kind: 'Pod', metadata: { name: 'a', annotations: { x: 'y' } } });
  const twice = withLastApplied(once);
  t.same(twice, once);
  t.same(lastApplied(once), { kind: 'Pod', metadata: { name: 'a', annotations: { x: 'y' } } });
  t.equal(once.metadata.annotations.x, 'y');
  t.same(lastApplied({ metadata: { annotations: { [lastAppliedKey]: '{' } } }), {});
  t.same(lastApplied({}), {});
});
