import t from 'tap';
import { humanDuration } from '../../../lib/api/durations.ts';
import { podStatusWord } from '../../../lib/api/pod-status.ts';
import { findResource, resources } from '../../../lib/api/resources.ts';
import { cellsOf, columns, tableOf } from '../../../lib/api/table.ts';
import type { Event, Namespace, Node, Pod } from '../../../lib/api/types.ts';

const now = Date.parse('2026-01-01T01:00:00Z');
const at = (secondsAgo: number): string => new Date(now - secondsAgo * 1000).toISOString();

const durations: [number, string][] = [
  ...([
    [-5, '<invalid>'],
    [-1, '0s'],
    [0, '0s'],
    [119.9, '119s'],
    [120, '2m'],
    [123, '2m3s'],
    [599, '9m59s'],
  ] as [number, string][]),
  ...([
    [600, '10m'],
    [10_799, '179m'],
    [10_800, '3h'],
    [11_100, '3h5m'],
    [28_800, '8h'],
    [172_799, '47h'],
  ] as [number, string][]),
  ...([
    [172_800, '2d'],
    [176_400, '2d1h'],
    [691_200, '8d'],
    [63_072_000, '2y'],
    [63_158_400, '2y1d'],
    [315_360_000, '10y'],
  ] as [number, string][]),
];
for (const [seconds, text] of durations) t.equal(humanDuration(seconds), text, `${seconds} s`);

interface State {
  ready?: boolean;
  restarts?: number;
  state: object;
  last?: string;
  name?: string;
  started?: boolean;
}
const statusOf = ({ ready = false, restarts = 0, state, last, name = 'a', started }: State): object => ({
  ...{ name, ready, restartCount: restarts, image: 'i', imageID: '', state, started },
  ...(last ? { lastState: { terminated: { exitCode: 1, finishedAt: last } } } : {}),
});
const podOf = (
  states: State[],
  more: { status?: object; meta?: object; init?: State[]; spec?: object } = {},
): Pod =>
  ({
    metadata: { name: 'web', creationTimestamp: at(300), ...more.meta },
    spec: {
      containers: states.map(() => ({})),
      ...(more.init ? { initContainers: more.init.map(({ name = 'a' }) => ({ name })) } : {}),
      ...more.spec,
    },
    status: {
      phase: 'Running',
      ...(states.length > 0 ? { containerStatuses: states.map(statusOf) } : {}),
      ...(more.init ? { initContainerStatuses: more.init.map(statusOf) } : {}),
      ...more.status,
    },
  }) as unknown as Pod;
const running = { running: { startedAt: at(10) } };
const waiting = (reason: string): object => ({ waiting: { reason } });
const ended = (exitCode: number, more: object = {}): object => ({ terminated: { exitCode, ...more } });
const isReady = { conditions: [{ type: 'Ready', status: 'True' }] };

const words: { name: string; pod: Pod; is: string }[] = [
  { name: 'nothing known', pod: { metadata: {}, spec: { containers: [] } } as unknown as Pod, is: 'Unknown' },
  { name: 'pending', pod: podOf([], { status: { phase: 'Pending' } }), is: 'Pending' },
  { name: 'creating', pod: podOf([{ state: waiting('ContainerCreating') }]), is: 'ContainerCreating' },
  { name: 'image', pod: podOf([{ state: waiting('ErrImagePull') }]), is: 'ErrImagePull' },
  {
    name: 'the first one that waits tells',
    pod: podOf([{ state: waiting('CrashLoopBackOff') }, { state: waiting('ImagePullBackOff') }]),
    is: 'CrashLoopBackOff',
  },
  { name: 'running', pod: podOf([{ ready: true, state: running }]), is: 'Running' },
  {
    name: 'completed',
    pod: podOf([{ state: ended(0, { reason: 'Completed' }) }], { status: { phase: 'Succeeded' } }),
    is: 'Completed',
  },
  {
    name: 'one completed, one runs, ready',
    pod: podOf([{ state: ended(0, { reason: 'Completed' }) }, { ready: true, state: running }], {
      status: isReady,
    }),
    is: 'Running',
  },
  {
    name: 'one completed, one runs, not ready',
    pod: podOf([{ state: ended(0, { reason: 'Completed' }) }, { ready: true, state: running }]),
    is: 'NotReady',
  },
  { name: 'exit code', pod: podOf([{ state: ended(3) }]), is: 'ExitCode:3' },
  { name: 'signal', pod: podOf([{ state: ended(137, { signal: 9 }) }]), is: 'Signal:9' },
  {
    name: 'the reason of the Pod',
    pod: podOf([], { status: { phase: 'Failed', reason: 'Evicted' } }),
    is: 'Evicted',
  },
  {
    name: 'terminating',
    pod: podOf([{ ready: true, state: running }], { meta: { deletionTimestamp: at(0) } }),
    is: 'Terminating',
  },
  {
    name: 'ended before it was deleted',
    pod: podOf([{ state: ended(0, { reason: 'Completed' }) }], {
      meta: { deletionTimestamp: at(0) },
      status: { phase: 'Succeeded' },
    }),
    is: 'Completed',
  },
  {
    name: 'init',
    pod: podOf([{ state: waiting('PodInitializing') }], {
      init: [{ state: ended(0) }, { name: 'b', state: running }],
    }),
    is: 'Init:1/2',
  },
  {
    name: 'init failed',
    pod: podOf([{ state: waiting('PodInitializing') }], { init: [{ state: ended(1) }] }),
    is: 'Init:ExitCode:1',
  },
  {
    name: 'init crashes',
    pod: podOf([{ state: waiting('PodInitializing') }], { init: [{ state: waiting('CrashLoopBackOff') }] }),
    is: 'Init:CrashLoopBackOff',
  },
  {
    name: 'gated',
    pod: podOf([], {
      status: {
        phase: 'Pending',
        conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }],
      },
    }),
    is: 'SchedulingGated',
  },
];
for (const c of words) t.equal(podStatusWord(c.pod), c.is, `status: ${c.name}`);

t.test('rows', async (t) => {
  const pod = podOf(
    [
      { ready: true, restarts: 2, state: running, last: at(65) },
      { state: waiting('CrashLoopBackOff'), restarts: 1, last: at(30) },
    ],
    {
      status: { podIPs: [{ ip: '10.244.0.2' }] },
      spec: { nodeName: 'n1' },
    },
  );
  t.strictSame(cellsOf('pods', pod, now), [
    'web',
    '1/2',
    'CrashLoopBackOff',
    '3 (30s ago)',
    '5m',
    '10.244.0.2',
    'n1',
    '<none>',
    '<none>',
  ]);
  const node = {
    metadata: {
      name: 'n1',
      creationTimestamp: at(7200),
      labels: { 'node-role.kubernetes.io/control-plane': '' },
    },
    spec: { unschedulable: true },
    status: {
      conditions: [{ type: 'Ready', status: 'True' }],
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
      nodeInfo: {
        kubeletVersion: 'v1',
        osImage: 'Debian',
        kernelVersion: '6',
        containerRuntimeVersion: 'crun://1',
      },
    },
  } as unknown as Node;
  t.strictSame(cellsOf('nodes', node, now), [
    'n1',
    'Ready,SchedulingDisabled',
    'control-plane',
    '120m',
    'v1',
    '10.0.0.1',
    '<none>',
    'Debian',
    '6',
    'crun://1',
  ]);
  const bare = { metadata: { name: 'n2' } } as unknown as Node;
  t.strictSame(cellsOf('nodes', bare, now).slice(0, 4), ['n2', 'Unknown', '<none>', '<unknown>']);
  const namespace = {
    metadata: { name: 'x', creationTimestamp: at(1) },
    status: { phase: 'Active' },
  } as unknown as Namespace;
  t.strictSame(cellsOf('namespaces', namespace, now), ['x', 'Active', '1s']);
  const event = {
    metadata: { name: 'e', creationTimestamp: at(100) },
    ...{
      involvedObject: { kind: 'Pod', name: 'web', fieldPath: 'spec.containers{a}' },
      reason: 'BackOff',
      type: 'Warning',
      message: ' again \n',
    },
    ...{
      count: 4,
      firstTimestamp: at(100),
      lastTimestamp: at(5),
      source: { component: 'kubelet', host: 'n1' },
    },
  } as unknown as Event;
  t.strictSame(cellsOf('events', event, now), [
    '5s (x4 over 100s)',
    'Warning',
    'BackOff',
    'pod/web',
    'spec.containers{a}',
    'kubelet, n1',
    'again',
    '100s',
    4,
    'e',
  ]);
  for (const [resource, object] of Object.entries({
    pods: pod,
    nodes: node,
    namespaces: namespace,
    events: event,
  }))
    t.equal(
      cellsOf(resource as 'pods', object as Pod, now).length,
      columns[resource as 'pods'].length,
      `${resource}: a cell a column`,
    );
});

t.test('Table', async (t) => {
  const pod = podOf([]);
  const table = (includeObject: 'None' | 'Metadata' | 'Object') =>
    tableOf('pods', [pod], { resourceVersion: '7', now, includeObject });
  t.match(table('Metadata'), {
    kind: 'Table',
    metadata: { resourceVersion: '7' },
    rows: [{ object: { kind: 'PartialObjectMetadata', metadata: { name: 'web' } } }],
  });
  t.equal(table('Object').rows[0]?.object, pod);
  t.notOk('metadata' in table('None').rows[0]!.object);
});

for (const [word, resource] of Object.entries({
  po: 'pods',
  Pod: 'pods',
  PODS: 'pods',
  no: 'nodes',
  namespace: 'namespaces',
  ev: 'events',
}))
  t.equal(findResource(word)?.resource, resource, word);
t.equal(findResource('x'), undefined);
t.ok(Object.entries(resources).every(([name, info]) => name === info.resource));
