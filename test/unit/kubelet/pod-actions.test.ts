import t from 'tap';
import type { ContainerState, Pod } from '../../../lib/api/types.ts';
import { computePodActions, type PodActions } from '../../../lib/kubelet/pod-actions.ts';
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
    name: 'a dead container is restarted in the same sandbox',
    pod: pod(two),
    runtime: { sandboxes: [sandbox()], containers: [exited(0), container({ id: 'c2', name: 'b' })] },
    want: { ...nothing, containersToStart: ['a'] },
  },
  {
    name: 'OnFailure leaves a container that ended well',
    pod: pod({ restartPolicy: 'OnFailure' }),
    runtime: { sandboxes: [sandbox()], containers: [exited(0)] },
    want: nothing,
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
    want: nothing,
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
    const actions = computePodActions(
      rebooted(c.policy, c.states),
      { sandboxes: [], containers: [] },
      () => 'h',
    );
    t.same(actions, { ...nothing, createSandbox: c.start.length > 0, containersToStart: c.start });
  });

for (const c of cases)
  t.test(c.name, async (t) => {
    t.same(
      computePodActions(c.pod, c.runtime, () => 'h'),
      c.want,
    );
  });
