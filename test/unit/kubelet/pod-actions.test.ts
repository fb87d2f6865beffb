import t from 'tap';
import type { Container, ContainerState, Pod } from '../../../lib/api/types.ts';
import type { ContainerStatus, PodSandboxStatus } from '../../../lib/container/cri.ts';
import { computePodActions, noProbes, type PodActions } from '../../../lib/kubelet/pod-actions.ts';
import { container, exited, pod, sandbox } from './fixtures.ts';

const two = {
  containers: [
    { name: 'a', image: 'i' },
    { name: 'b', image: 'i' },
  ],
};
const nothing: PodActions = {
  killPod: false,
  createSandbox: false,
  attempt: 0,
  containersToStart: [],
  containersToKill: [],
  finished: false,
};

const cases = [
  {
    name: 'a new Pod gets a sandbox and all containers in order',
    pod: pod(two),
    runtime: { sandboxes: [], containers: [] },
    want: { ...nothing, createSandbox: true, containersToStart: ['a', 'b'] },
  },
  {
    name: 'a Pod that runs needs nothing',
    pod: pod(),
    runtime: { sandboxes: [sandbox()], containers: [container()] },
    want: nothing,
  },
  {
    name: 'an ephemeral container is started once',
    pod: pod({ ephemeralContainers: [{ name: 'e' }, { name: 'f' }] }),
    runtime: { sandboxes: [sandbox()], containers: [container(), exited(1, { id: 'e1', name: 'e' })] },
    want: { ...nothing, containersToStart: ['f'] },
  },
  {
    name: 'an ephemeral container is not started again in a new sandbox',
    pod: pod({ ephemeralContainers: [{ name: 'e' }] }),
    runtime: { sandboxes: [], containers: [] },
    want: { ...nothing, createSandbox: true, containersToStart: ['a'] },
  },
  {
    name: 'a dead container is restarted in the same sandbox',
    pod: pod(two),
    runtime: { sandboxes: [sandbox()], containers: [exited(0), container({ id: 'c2', name: 'b' })] },
    want: { ...nothing, containersToStart: ['a'] },
  },
  {
    name: 'OnFailure leaves a container that ended well',
    pod: pod({ restartPolicy: 'OnFailure' }),
    runtime: { sandboxes: [sandbox()], containers: [exited(0)] },
    want: { ...nothing, finished: true },
  },
  {
    name: 'OnFailure restarts one that failed',
    pod: pod({ restartPolicy: 'OnFailure' }),
    runtime: { sandboxes: [sandbox()], containers: [exited(1)] },
    want: { ...nothing, containersToStart: ['a'] },
  },
  {
    name: 'Never restarts nothing',
    pod: pod({ restartPolicy: 'Never' }),
    runtime: { sandboxes: [sandbox()], containers: [exited(1)] },
    want: { ...nothing, finished: true },
  },
  {
    name: 'the newest container of a name counts',
    pod: pod(),
    runtime: { sandboxes: [sandbox()], containers: [container({ id: 'c2', attempt: 1 }), exited(1)] },
    want: nothing,
  },
  {
    name: 'a dead pause means a new sandbox, with what ran in it',
    pod: pod(),
    runtime: { sandboxes: [sandbox({ state: 'notready', attempt: 3 })], containers: [container()] },
    want: { ...nothing, killPod: true, createSandbox: true, attempt: 4, containersToStart: ['a'] },
  },
  {
    name: 'a dead pause of a Pod that never restarts is only taken down',
    pod: pod({ restartPolicy: 'Never' }),
    runtime: { sandboxes: [sandbox({ state: 'notready' })], containers: [container()] },
    want: { ...nothing, killPod: true, attempt: 1 },
  },
  {
    name: 'a container that was created and never started is made anew',
    pod: pod(),
    runtime: { sandboxes: [sandbox()], containers: [container({ state: 'created' })] },
    want: { ...nothing, containersToStart: ['a'] },
  },
  {
    name: 'a changed spec replaces the container',
    pod: pod(),
    runtime: { sandboxes: [sandbox()], containers: [container({ hash: 'old' })] },
    want: {
      ...nothing,
      containersToStart: ['a'],
      containersToKill: [
        { id: 'c1', name: 'a', message: 'Container a definition changed, will be restarted' },
      ],
    },
  },
];

const withInit = (restartPolicy: string, ...init: Container[]): Pod =>
  pod({ restartPolicy, initContainers: init } as object);
const i1 = { name: 'i1', image: 'i' };
const i2 = { name: 'i2', image: 'i' };
const s1 = { name: 's1', image: 'i', restartPolicy: 'Always' };
const s2 = { name: 's2', image: 'i', restartPolicy: 'Always' };
/** Containers of one sandbox by name: an exit code, or that it runs. */
const has = (states: Record<string, number | 'runs'>, sandboxId = 'web-0000000000'): ContainerStatus[] =>
  Object.entries(states).map(([name, state]) =>
    state === 'runs'
      ? container({ id: name, name, sandboxId })
      : exited(state, { id: name, name, sandboxId }),
  );
const none = { isStarted: false };
const initCases: {
  name: string;
  pod: Pod;
  has: ContainerStatus[];
  sandbox?: Partial<PodSandboxStatus>;
  isStarted?: boolean;
  want: Partial<PodActions>;
}[] = [
  {
    name: 'nothing ran: the first',
    pod: withInit('Always', i1, i2),
    has: [],
    want: { containersToStart: ['i1'] },
  },
  { name: 'one runs: wait', pod: withInit('Always', i1, i2), has: has({ i1: 'runs' }), want: {} },
  {
    name: 'one is done: the next',
    pod: withInit('Always', i1, i2),
    has: has({ i1: 0 }),
    want: { containersToStart: ['i2'] },
  },
  {
    name: 'all are done: the app',
    pod: withInit('Always', i1, i2),
    has: has({ i1: 0, i2: 0 }),
    want: { containersToStart: ['a'] },
  },
  {
    name: 'one failed, Always: again',
    pod: withInit('Always', i1, i2),
    has: has({ i1: 1 }),
    want: { containersToStart: ['i1'] },
  },
  {
    name: 'one failed, OnFailure: again',
    pod: withInit('OnFailure', i1),
    has: has({ i1: 1 }),
    want: { containersToStart: ['i1'] },
  },
  {
    name: 'one failed, Never: the end',
    pod: withInit('Never', i1, i2),
    has: has({ i1: 1 }),
    want: { finished: true },
  },
  {
    name: 'Never, all are done: the app',
    pod: withInit('Never', i1),
    has: has({ i1: 0 }),
    want: { containersToStart: ['a'] },
  },
  {
    name: 'the app runs: an init container is never looked at again',
    pod: withInit('Always', i1),
    has: has({ a: 'runs', i1: 1 }),
    want: {},
  },
  {
    name: 'a sidecar that runs lets the next one begin',
    pod: withInit('Always', s1, i1),
    has: has({ s1: 'runs' }),
    want: { containersToStart: ['i1'] },
  },
  {
    name: 'a sidecar whose startup probe has not succeeded holds the others back',
    pod: withInit('Always', s1, i1),
    has: has({ s1: 'runs' }),
    ...none,
    want: {},
  },
  {
    name: 'a sidecar that fell is raised beside the init container that runs',
    pod: withInit('Always', s1, i1),
    has: has({ i1: 'runs', s1: 1 }),
    want: { containersToStart: ['s1'] },
  },
  {
    name: 'a fallen sidecar does not hold back what follows a done one',
    pod: withInit('Never', s1, i1),
    has: has({ i1: 0, s1: 1 }),
    want: { containersToStart: ['s1', 'a'] },
  },
  {
    name: 'a sidecar is raised beside the app, also when nothing else restarts',
    pod: withInit('Never', s1),
    has: has({ a: 'runs', s1: 0 }),
    want: { containersToStart: ['s1'] },
  },
  {
    name: 'the app is done: its sidecars are stopped, not raised',
    pod: withInit('Never', s1, s2),
    has: has({ a: 0, s1: 'runs', s2: 1 }),
    want: { finished: true },
  },
  {
    name: 'a new sandbox: all of it once more',
    pod: withInit('Always', i1),
    has: has({ i1: 0, a: 137 }, 'old'),
    want: { containersToStart: ['i1'] },
  },
  {
    name: 'a dead sandbox: the first init container goes into the new one',
    pod: withInit('Always', i1, s1),
    has: has({ i1: 0, a: 'runs', s1: 'runs' }),
    sandbox: { state: 'notready' },
    want: { killPod: true, createSandbox: true, attempt: 1, containersToStart: ['i1'] },
  },
  {
    name: 'a sandbox that died under an init container, Never: the end',
    pod: withInit('Never', i1),
    has: has({ i1: 'runs' }),
    sandbox: { state: 'notready' },
    want: { killPod: true, attempt: 1 },
  },
];
for (const c of initCases)
  t.test(`init: ${c.name}`, async (t) => {
    const runtime = { sandboxes: [sandbox(c.sandbox)], containers: c.has };
    const probes = { ...noProbes, isStarted: () => c.isStarted ?? true };
    t.same(computePodActions({ pod: c.pod, runtime, hashOf: () => 'h', probes }), { ...nothing, ...c.want });
  });

for (const probe of ['liveness', 'startup'] as const)
  t.test(`a failed ${probe} probe stops the container, and the next sync decides`, async (t) => {
    const runtime = { sandboxes: [sandbox()], containers: [container()] };
    const probes = { ...noProbes, failedProbe: () => probe };
    const kill = { id: 'c1', name: 'a', probe };
    for (const [policy, tail] of [
      ['Always', ', will be restarted'],
      ['Never', ''],
    ] as const)
      t.same(computePodActions({ pod: pod({ restartPolicy: policy }), runtime, hashOf: () => 'h', probes }), {
        ...nothing,
        containersToKill: [{ ...kill, message: `Container a failed ${probe} probe${tail}` }],
      });
  });

const ended = (exitCode: number): ContainerState => ({ terminated: { exitCode } });
/** The Pod as the API remembers it, and a runtime that has forgotten everything: a reboot. */
const rebooted = (
  restartPolicy: 'Always' | 'OnFailure' | 'Never',
  states: readonly ContainerState[],
): Pod => ({
  ...pod({ ...two, restartPolicy }),
  status: {
    containerStatuses: states.map((state, at) => ({
      name: two.containers[at]?.name ?? '',
      image: 'i',
      imageID: '',
      ready: false,
      restartCount: 0,
      state,
    })),
  },
});
const afterReboot = [
  { name: 'Always: all', policy: 'Always', states: [ended(0), { running: {} }], start: ['a', 'b'] },
  {
    name: 'OnFailure: what did not end well',
    policy: 'OnFailure',
    states: [ended(0), { running: {} }],
    start: ['b'],
  },
  { name: 'OnFailure: what had failed', policy: 'OnFailure', states: [ended(1), ended(0)], start: ['a'] },
  { name: 'Never: nothing', policy: 'Never', states: [ended(1), { running: {} }], start: [] },
  {
    name: 'Never: what had not begun',
    policy: 'Never',
    states: [{ running: {} }, { waiting: {} }],
    start: ['b'],
  },
] as const;
for (const c of afterReboot)
  t.test(`after a reboot, ${c.name}`, async (t) => {
    const actions = computePodActions({
      pod: rebooted(c.policy, c.states),
      runtime: { sandboxes: [], containers: [] },
      hashOf: () => 'h',
      probes: noProbes,
    });
    t.same(actions, { ...nothing, createSandbox: c.start.length > 0, containersToStart: c.start });
  });

for (const c of cases)
  t.test(c.name, async (t) => {
    t.same(
      computePodActions({ pod: c.pod, runtime: c.runtime, hashOf: () => 'h', probes: noProbes }),
      c.want,
    );
  });
