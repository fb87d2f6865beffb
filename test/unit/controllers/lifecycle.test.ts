import { pino } from 'pino';
import t, { type Test } from 'tap';
import { EventRecorder } from '../../../lib/api/events.ts';
import { Informer } from '../../../lib/api/informer.ts';
import type { Taint } from '../../../lib/api/taints.ts';
import type { Node, Pod, Resource } from '../../../lib/api/types.ts';
import type { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { admitDefaultTolerations } from '../../../lib/controllers/default-tolerations.ts';
import { disruptionOf, evictionPauseMs, taintsFor } from '../../../lib/controllers/node-health.ts';
import { NodeLifecycle } from '../../../lib/controllers/node-lifecycle.ts';
import { PodGc, tooMany } from '../../../lib/controllers/pod-gc.ts';
import { evictAfterSeconds, TaintEviction } from '../../../lib/controllers/taint-eviction.ts';
import { manifest, startRegistry } from '../apiserver/fixtures.ts';

const log = pino({ level: 'silent' });
const tick = (ms = 10) => new Promise((resolve) => setTimeout(resolve, ms));
const key = {
  notReady: 'node.kubernetes.io/not-ready',
  unreachable: 'node.kubernetes.io/unreachable',
  network: 'node.kubernetes.io/network-unavailable',
  cordon: 'node.kubernetes.io/unschedulable',
};

// Pure.

const nodeOf = (conditions: Record<string, string>, spec: object = {}): Node =>
  ({
    metadata: { name: 'n' },
    spec,
    status: { conditions: Object.entries(conditions).map(([type, status]) => ({ type, status })) },
  }) as unknown as Node;
const shownTaints = (taints: readonly Taint[] | undefined) =>
  taints?.map((one) => `${one.key}:${one.effect}`) ?? 'same';
for (const { name, node, evict, taints } of [
  { name: 'ready', node: nodeOf({ Ready: 'True' }), evict: true, taints: 'same' },
  { name: 'new', node: nodeOf({}), evict: true, taints: [`${key.notReady}:NoSchedule`] },
  {
    name: 'not ready',
    node: nodeOf({ Ready: 'False' }),
    evict: true,
    taints: [`${key.notReady}:NoSchedule`, `${key.notReady}:NoExecute`],
  },
  {
    name: 'unknown, but nobody is to be driven away',
    node: nodeOf({ Ready: 'Unknown' }),
    evict: false,
    taints: [`${key.unreachable}:NoSchedule`],
  },
  {
    name: 'from not ready to unknown',
    node: nodeOf(
      { Ready: 'Unknown' },
      {
        taints: [
          { key: key.notReady, effect: 'NoSchedule' },
          { key: key.notReady, effect: 'NoExecute' },
        ],
      },
    ),
    evict: true,
    taints: [`${key.unreachable}:NoSchedule`, `${key.unreachable}:NoExecute`],
  },
  {
    name: 'back; what others put there stays',
    node: nodeOf(
      { Ready: 'True' },
      {
        taints: [
          { key: 'mine', effect: 'NoExecute' },
          { key: key.unreachable, effect: 'NoExecute' },
        ],
      },
    ),
    evict: true,
    taints: ['mine:NoExecute'],
  },
  {
    name: 'pressure, no network, cordoned',
    node: nodeOf(
      { Ready: 'True', MemoryPressure: 'True', DiskPressure: 'False', NetworkUnavailable: 'True' },
      { unschedulable: true },
    ),
    evict: true,
    taints: [
      'node.kubernetes.io/memory-pressure:NoSchedule',
      `${key.network}:NoSchedule`,
      `${key.cordon}:NoSchedule`,
    ],
  },
  {
    name: 'as it should be',
    node: nodeOf(
      { Ready: 'True' },
      { unschedulable: true, taints: [{ key: key.cordon, effect: 'NoSchedule' }] },
    ),
    evict: true,
    taints: 'same',
  },
])
  t.test(`taints: ${name}`, async (t) => {
    t.same(shownTaints(taintsFor(node, { evict, time: 't' })), taints);
  });

for (const [total, lost, disruption, pause] of [
  [3, 0, 'none', 10_000],
  [3, 1, 'none', 10_000],
  [3, 2, 'none', 10_000],
  [3, 3, 'full', Number.POSITIVE_INFINITY],
  [1, 1, 'full', Number.POSITIVE_INFINITY],
  [10, 6, 'partial', Number.POSITIVE_INFINITY],
  [100, 60, 'partial', 100_000],
  [100, 40, 'none', 10_000],
] as const)
  t.test(`${lost} of ${total} nodes lost: ${disruption}`, async (t) => {
    t.equal(disruptionOf(total, lost), disruption);
    t.equal(evictionPauseMs(total, lost), pause);
  });

const noExecute = (name: string): Taint => ({ key: name, effect: 'NoExecute' });
for (const { name, tolerations, taints, seconds } of [
  { name: 'no taint', tolerations: [], taints: [], seconds: Number.POSITIVE_INFINITY },
  { name: 'not tolerated', tolerations: [], taints: [noExecute('a')], seconds: 0 },
  {
    name: 'for ever',
    tolerations: [{ operator: 'Exists' }],
    taints: [noExecute('a')],
    seconds: Number.POSITIVE_INFINITY,
  },
  {
    name: 'the shortest of all',
    tolerations: [
      { key: 'a', operator: 'Exists', tolerationSeconds: 300 },
      { key: 'b', operator: 'Exists', tolerationSeconds: 60 },
    ],
    taints: [noExecute('a'), noExecute('b')],
    seconds: 60,
  },
  {
    name: 'one of two tolerated',
    tolerations: [{ key: 'a', operator: 'Exists' }],
    taints: [noExecute('a'), noExecute('b')],
    seconds: 0,
  },
  {
    name: 'NoSchedule drives nobody away',
    tolerations: [],
    taints: [{ key: 'a', effect: 'NoSchedule' } as Taint],
    seconds: Number.POSITIVE_INFINITY,
  },
])
  t.test(`eviction after: ${name}`, async (t) => {
    t.equal(evictAfterSeconds({ spec: { tolerations } } as unknown as Pod, taints), seconds);
  });

t.test('the oldest of too many ended Pods', async (t) => {
  const ended = (name: string, day: number) =>
    ({
      metadata: { name, creationTimestamp: `2026-01-0${day}T00:00:00Z` },
      status: { phase: 'Failed' },
    }) as Pod;
  const pods = [
    ended('b', 2),
    ended('a', 1),
    ended('c', 3),
    { metadata: {}, status: { phase: 'Running' } } as Pod,
  ];
  t.same(
    tooMany(pods, 1).map(({ pod }) => pod.metadata.name),
    ['a', 'b'],
  );
  t.same(tooMany(pods, 0), []);
});

// Against a registry, by a clock that we move.

interface World {
  registry: Registry;
  lifecycle: NodeLifecycle;
  eviction: TaintEviction;
  gc: PodGc;
  /** Time goes on in steps; nodes named speak at each. */
  pass(seconds: number, ...speaking: string[]): Promise<void>;
  /** It stands still for everybody, and then it is so much later. */
  skip(seconds: number): void;
  read(name: string): Promise<Node>;
}

async function world(t: Test, names: readonly string[]): Promise<World> {
  const { registry, close } = await startRegistry({
    admit: [admitDefaultTolerations({ notReady: 300, unreachable: 300 })],
  });
  const stop = new AbortController();
  t.teardown(async () => {
    stop.abort();
    await tick();
    await close();
  });
  let time = 0;
  const now = () => time;
  const of = <R extends Resource>(resource: R) => new Informer({ client: registry, resource });
  const [nodes, pods, leases] = [of('nodes'), of('pods'), of('leases')];
  const events = new EventRecorder(registry, { component: 'node-controller' }, log);
  const shared = { client: registry, nodes, pods, leases, events, log, signal: stop.signal, now };
  const lifecycle = new NodeLifecycle({ ...shared, graceMs: 40_000 });
  const eviction = new TaintEviction(shared);
  const gc = new PodGc({ ...shared, terminatedThreshold: 0 });
  for (const name of names) {
    await registry.create('nodes', {
      metadata: { name },
      status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2026-01-01T00:00:00Z' }] },
    });
    const metadata = { name, namespace: 'kube-node-lease' };
    await registry.create('leases', { metadata, spec: { renewTime: '2026-01-01T00:00:00.000000Z' } });
  }
  for (const each of [leases, nodes, pods]) await each.start(stop.signal);
  await lifecycle.tick();
  let beat = 1_700_000_000_000;
  return {
    registry,
    lifecycle,
    eviction,
    gc,
    pass: async (seconds, ...speaking) => {
      for (let left = seconds; left > 0; left -= 10) {
        time += Math.min(left, 10) * 1000;
        beat += 1000;
        for (const name of speaking)
          await registry.patch(
            'leases',
            { name, namespace: 'kube-node-lease' },
            { spec: { renewTime: new Date(beat).toISOString().replace('Z', '000Z') } },
          );
        await tick(2);
        await lifecycle.tick();
        await tick(2);
        await lifecycle.tick();
        await eviction.tick();
      }
    },
    skip: (seconds) => {
      time += seconds * 1000;
    },
    read: (name) => registry.get('nodes', { name }),
  };
}

const ready = ({ status }: Node) => status?.conditions?.find(({ type }) => type === 'Ready')?.status;
const taintsOf = ({ spec }: Node) => (spec?.taints ?? []).map((one) => `${one.key}:${one.effect}`);
const podOn = (name: string, nodeName: string, spec: object = {}) =>
  manifest(name, { spec: { nodeName, ...spec } });
const readyPod = { status: { conditions: [{ type: 'Ready', status: 'True' }] } };

t.test(
  'a silent node: unknown after 40 s, Pods not ready, gone after their toleration; back again',
  async (t) => {
    const { registry, pass, read } = await world(t, ['a', 'b', 'c']);
    const key300 = { namespace: 'default', name: 'stays' };
    await registry.create('pods', podOn('stays', 'c'));
    await registry.patch('pods', key300, readyPod, { subresource: 'status' });
    await registry.create(
      'pods',
      podOn('hurries', 'c', {
        tolerations: [
          { key: key.unreachable, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 30 },
        ],
      }),
    );
    await registry.create('pods', podOn('elsewhere', 'a'));
    await registry.create('pods', {
      ...podOn('mirror', 'c'),
      metadata: { name: 'mirror', annotations: { 'kubernetes.io/config.mirror': 'x' } },
    });
    await pass(40, 'a', 'b');
    t.equal(ready(await read('c')), 'True', 'forty seconds are not over');
    await pass(10, 'a', 'b');
    const lost = await read('c');
    t.equal(ready(lost), 'Unknown');
    t.match(lost.status?.conditions?.[0], {
      reason: 'NodeStatusUnknown',
      lastHeartbeatTime: '2026-01-01T00:00:00Z',
    });
    t.same(taintsOf(lost), [`${key.unreachable}:NoSchedule`, `${key.unreachable}:NoExecute`]);
    t.equal(ready(await read('a')), 'True');
    const pod = await registry.get('pods', key300);
    t.match(pod.status?.conditions, [{ type: 'Ready', status: 'False', reason: 'NodeNotReady' }]);
    await pass(40, 'a', 'b');
    const hurried = await registry.get('pods', { namespace: 'default', name: 'hurries' });
    t.ok(hurried.metadata.deletionTimestamp, 'it is terminating: only its kubelet can end it');
    t.match(
      hurried.status?.conditions?.find(({ type }) => type === 'DisruptionTarget'),
      {
        reason: 'DeletionByTaintManager',
      },
    );
    t.notOk((await registry.get('pods', key300)).metadata.deletionTimestamp);
    // It comes back.
    await registry.patch(
      'nodes',
      { name: 'c' },
      {
        status: {
          conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2026-01-01T01:00:00Z' }],
        },
      },
      { type: 'strategic', subresource: 'status' },
    );
    await pass(10, 'a', 'b', 'c');
    t.same(taintsOf(await read('c')), []);
    await pass(400, 'a', 'b', 'c');
    t.notOk((await registry.get('pods', key300)).metadata.deletionTimestamp, 'the time is not counted on');
    await pass(360, 'a', 'b');
    t.ok(
      (await registry.get('pods', key300)).metadata.deletionTimestamp,
      'lost again: 300 s after the taint',
    );
    for (const name of ['elsewhere', 'mirror'])
      t.notOk((await registry.get('pods', { namespace: 'default', name })).metadata.deletionTimestamp, name);
  },
);

t.test('when all nodes look lost, nobody is driven away', async (t) => {
  const { registry, pass, read } = await world(t, ['a', 'b']);
  await registry.create('pods', podOn('p', 'a'));
  await pass(400);
  t.same(taintsOf(await read('a')), [`${key.unreachable}:NoSchedule`]);
  t.notOk((await registry.get('pods', { namespace: 'default', name: 'p' })).metadata.deletionTimestamp);
});

t.test('an absence of our own is nobody’s fault', async (t) => {
  const { lifecycle, pass, skip, read } = await world(t, ['a', 'b', 'c']);
  await pass(30, 'a', 'b', 'c');
  skip(3600);
  await lifecycle.tick();
  t.equal(ready(await read('a')), 'True', 'the process was stopped for an hour');
  await pass(30, 'a');
  lifecycle.wasAway();
  await pass(30, 'a');
  t.equal(ready(await read('b')), 'True', 'the store was away: forty seconds begin anew');
  await pass(30, 'a');
  t.equal(ready(await read('b')), 'Unknown');
});

t.test('one lost node after the other: every ten seconds one', async (t) => {
  const { pass, read } = await world(t, ['a', 'b', 'c', 'd', 'e']);
  await pass(50, 'a', 'b', 'c');
  const evicting = async () =>
    (await Promise.all(['d', 'e'].map(read))).filter((node) =>
      taintsOf(node).some((one) => /NoExecute/.test(one)),
    ).length;
  t.equal(await evicting(), 1);
  await pass(10, 'a', 'b', 'c');
  t.equal(await evicting(), 2);
});

t.test('Pods of a removed node, its Lease, and Pods that end without a node', async (t) => {
  const { registry, gc, skip } = await world(t, ['a', 'b']);
  await registry.create('pods', podOn('orphan', 'b'));
  await registry.create('pods', podOn('fine', 'a'));
  const held = { name: 'held', finalizers: ['example.com/x'] };
  await registry.create('pods', { ...manifest('held'), metadata: held });
  await registry.delete('nodes', { name: 'b' });
  await tick(30);
  t.same(
    (await registry.list('leases')).items.map(({ metadata }) => metadata.name),
    ['a'],
  );
  await gc.collect();
  skip(39);
  await gc.collect();
  t.equal((await registry.list('pods')).items.length, 3, 'a node may be away for a moment');
  skip(2);
  await gc.collect();
  t.same(
    (await registry.list('pods')).items.map(({ metadata }) => metadata.name),
    ['fine', 'held'],
  );
});

t.test('a Pod on a node that a person says is off', async (t) => {
  const { registry, gc, pass } = await world(t, ['a', 'b', 'c']);
  await registry.create('pods', podOn('p', 'c'));
  await pass(50, 'a', 'b');
  await registry.delete('pods', { namespace: 'default', name: 'p' });
  await tick();
  await gc.collect();
  t.equal((await registry.list('pods')).items.length, 1, 'it is terminating until its node is back');
  const { spec } = await registry.get('nodes', { name: 'c' });
  const off = { key: 'node.kubernetes.io/out-of-service', effect: 'NoExecute' };
  await registry.patch('nodes', { name: 'c' }, { spec: { taints: [...(spec?.taints ?? []), off] } });
  await tick();
  await gc.collect();
  t.equal((await registry.list('pods')).items.length, 0);
});

t.test('every Pod tolerates a lost node for a while, unless it says otherwise', async (t) => {
  const { registry } = await world(t, []);
  const plain = await registry.create('pods', manifest('plain'));
  t.match(plain.spec.tolerations, [
    { key: key.notReady, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
    { key: key.unreachable, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
  ]);
  const tolerations = [{ operator: 'Exists' }];
  t.same(
    (await registry.create('pods', manifest('all', { spec: { tolerations } }))).spec.tolerations,
    tolerations,
  );
  const { spec, ...rest } = plain;
  const { tolerations: _, ...bare } = spec;
  t.equal((await registry.update('pods', { ...rest, spec: bare } as Pod)).spec.tolerations?.length, 2);
});
