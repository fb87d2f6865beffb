import t from 'tap';
import { applyPatch, type PatchType } from '../../../lib/api/patch.ts';

const pod = {
  metadata: { name: 'web', labels: { a: '1', b: '2' }, finalizers: ['x/y', 'x/z'] },
  spec: {
    containers: [
      { name: 'a', image: 'i:1', env: [{ name: 'E', value: '1' }] },
      { name: 'b', image: 'i:1' },
    ],
    tolerations: [{ key: 'k' }],
  },
};
const good: { name: string; type: PatchType; patch: unknown; path: string[]; is: unknown }[] = [
  {
    name: 'adds and removes labels',
    type: 'merge',
    patch: { metadata: { labels: { a: null, c: '3' } } },
    path: ['metadata', 'labels'],
    is: { b: '2', c: '3' },
  },
  {
    name: 'replaces lists',
    type: 'merge',
    patch: { spec: { containers: [{ name: 'c' }] } },
    path: ['spec', 'containers'],
    is: [{ name: 'c' }],
  },
  {
    name: 'leaves the rest',
    type: 'merge',
    patch: { spec: { nodeName: 'n' } },
    path: ['metadata'],
    is: pod.metadata,
  },
  {
    name: 'drops nulls of what was not there',
    type: 'merge',
    patch: { status: { a: { b: null } } },
    path: ['status'],
    is: { a: {} },
  },
  {
    name: 'merges containers by name',
    type: 'strategic',
    patch: {
      spec: {
        containers: [{ name: 'b', image: 'i:2' }, { name: 'c' }],
        '$setElementOrder/containers': [{ name: 'a' }],
      },
    },
    path: ['spec', 'containers'],
    is: [pod.spec.containers[0], { name: 'b', image: 'i:2' }, { name: 'c' }],
  },
  {
    name: 'merges in depth',
    type: 'strategic',
    patch: {
      spec: {
        containers: [
          {
            name: 'a',
            env: [
              { name: 'F', value: '2' },
              { name: 'E', $patch: 'delete' },
            ],
          },
        ],
      },
    },
    path: ['spec', 'containers'],
    is: [{ name: 'a', image: 'i:1', env: [{ name: 'F', value: '2' }] }, pod.spec.containers[1]],
  },
  {
    name: 'replaces lists without a key',
    type: 'strategic',
    patch: { spec: { tolerations: [] } },
    path: ['spec', 'tolerations'],
    is: [],
  },
  {
    name: 'replaces where told',
    type: 'strategic',
    patch: { metadata: { labels: { $patch: 'replace', z: '1' } } },
    path: ['metadata', 'labels'],
    is: { z: '1' },
  },
  {
    name: 'replaces lists where told',
    type: 'strategic',
    patch: { spec: { containers: [{ name: 'z' }, { $patch: 'replace' }] } },
    path: ['spec', 'containers'],
    is: [{ name: 'z' }],
  },
  {
    name: 'adds to sets',
    type: 'strategic',
    patch: { metadata: { finalizers: ['x/y', 'x/w'] } },
    path: ['metadata', 'finalizers'],
    is: ['x/y', 'x/z', 'x/w'],
  },
  {
    name: 'takes from sets',
    type: 'strategic',
    patch: { metadata: { '$deleteFromPrimitiveList/finalizers': ['x/y'] } },
    path: ['metadata', 'finalizers'],
    is: ['x/z'],
  },
  {
    name: 'retains keys',
    type: 'strategic',
    patch: { metadata: { labels: { $retainKeys: ['b'], b: '9' } } },
    path: ['metadata', 'labels'],
    is: { b: '9' },
  },
  {
    name: 'all operations',
    type: 'json',
    patch: [
      { op: 'test', path: '/metadata/name', value: 'web' },
      { op: 'add', path: '/metadata/labels/x~1y', value: '3' },
      { op: 'remove', path: '/metadata/labels/a' },
      { op: 'replace', path: '/metadata/labels/b', value: '9' },
      { op: 'copy', from: '/metadata/labels/b', path: '/metadata/labels/c' },
      { op: 'move', from: '/metadata/labels/c', path: '/metadata/labels/d' },
    ],
    path: ['metadata', 'labels'],
    is: { b: '9', 'x/y': '3', d: '9' },
  },
  {
    name: 'lists by index',
    type: 'json',
    patch: [
      { op: 'add', path: '/metadata/finalizers/0', value: 'first' },
      { op: 'add', path: '/metadata/finalizers/-', value: 'last' },
      { op: 'remove', path: '/metadata/finalizers/1' },
    ],
    path: ['metadata', 'finalizers'],
    is: ['first', 'x/z', 'last'],
  },
];
for (const c of good) {
  t.test(`${c.type}: ${c.name}`, async (t) => {
    const before = JSON.stringify(pod);
    let result: unknown = applyPatch(pod, c.patch, c.type);
    for (const step of c.path) result = (result as Record<string, unknown>)[step];
    t.strictSame(result, c.is);
    t.equal(JSON.stringify(pod), before, 'the argument is as it was');
  });
}

const bad: { name: string; type: PatchType; patch: unknown; code: string }[] = [
  { name: 'a list as merge patch', type: 'merge', patch: [], code: 'BadRequest' },
  { name: 'a text as merge patch', type: 'merge', patch: 'x', code: 'BadRequest' },
  {
    name: 'a prototype',
    type: 'merge',
    patch: JSON.parse('{"__proto__": {"polluted": true}}'),
    code: 'BadRequest',
  },
  {
    name: 'a deep prototype',
    type: 'strategic',
    patch: JSON.parse('{"a": {"__proto__": {"polluted": true}}}'),
    code: 'BadRequest',
  },
  {
    name: 'a prototype by path',
    type: 'json',
    patch: [{ op: 'add', path: '/__proto__/polluted', value: true }],
    code: 'Invalid',
  },
  {
    name: 'no merge key',
    type: 'strategic',
    patch: { spec: { containers: [{ image: 'x' }] } },
    code: 'BadRequest',
  },
  { name: 'an unknown directive', type: 'strategic', patch: { $what: 1 }, code: 'BadRequest' },
  { name: 'an object as JSON patch', type: 'json', patch: {}, code: 'BadRequest' },
  {
    name: 'a test that fails',
    type: 'json',
    patch: [{ op: 'test', path: '/metadata/name', value: 'x' }],
    code: 'Invalid',
  },
  { name: 'nothing to remove', type: 'json', patch: [{ op: 'remove', path: '/nope' }], code: 'Invalid' },
  {
    name: 'an index too far',
    type: 'json',
    patch: [{ op: 'add', path: '/metadata/finalizers/9', value: 1 }],
    code: 'Invalid',
  },
  { name: 'an unknown operation', type: 'json', patch: [{ op: 'explode', path: '/x' }], code: 'Invalid' },
  { name: 'no slash', type: 'json', patch: [{ op: 'add', path: 'x', value: 1 }], code: 'Invalid' },
  { name: 'no operation', type: 'json', patch: [null], code: 'Invalid' },
];
for (const c of bad)
  t.throws(() => applyPatch(pod, c.patch, c.type), { code: c.code }, `${c.type}: ${c.name}`);
t.equal(({} as Record<string, unknown>).polluted, undefined);
