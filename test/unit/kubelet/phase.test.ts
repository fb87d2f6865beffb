import t from 'tap';
import type { ContainerState, ContainerStatus, Pod } from '../../../lib/api/types.ts';
import { podConditions } from '../../../lib/kubelet/pod-conditions.ts';
import { podPhase } from '../../../lib/kubelet/pod-phase.ts';
import { pod } from './fixtures.ts';

const states: Record<string, { state?: ContainerState; lastState?: ContainerState; ready?: boolean }> = {
  waits: { state: { waiting: { reason: 'x' } } },
  retries: { state: { waiting: { reason: 'x' } }, lastState: { terminated: { exitCode: 1 } } },
  runs: { state: { running: {} }, ready: true },
  unready: { state: { running: {} } },
  done: { state: { terminated: { exitCode: 0 } } },
  failed: { state: { terminated: { exitCode: 1 } } },
};
const spec = {
  initContainers: [
    { name: 'i', image: 'i' },
    { name: 's', image: 'i', restartPolicy: 'Always' },
  ],
  containers: [{ name: 'a', image: 'i' }],
};
const of = (restartPolicy: 'Always' | 'Never'): Pod => pod({ ...spec, restartPolicy });
/** States of the init container, the sidecar and the app, in this order. */
const statusesOf = (words: string): ContainerStatus[] =>
  words.split(' ').map((word, at) => {
    const name = ['i', 's', 'a'][at] as string;
    const started = word === 'runs' || word === 'unready';
    const ready = name === 'i' ? word === 'done' : (states[word]?.ready ?? false);
    return { name, image: 'i', imageID: '', restartCount: 0, started, ...states[word], ready };
  });

const phases = [
  { statuses: 'waits waits waits', Always: 'Pending', Never: 'Pending' },
  { statuses: 'runs waits waits', Always: 'Pending', Never: 'Pending' },
  { statuses: 'failed waits waits', Always: 'Pending', Never: 'Failed' },
  { statuses: 'retries waits waits', Always: 'Pending', Never: 'Failed' },
  { statuses: 'done runs waits', Always: 'Pending', Never: 'Pending' },
  { statuses: 'done runs runs', Always: 'Running', Never: 'Running' },
  { statuses: 'done retries runs', Always: 'Running', Never: 'Running' },
  { statuses: 'done runs retries', Always: 'Running', Never: 'Running' },
  { statuses: 'done runs done', Always: 'Running', Never: 'Running' },
  { statuses: 'done failed done', Always: 'Running', Never: 'Succeeded' },
  { statuses: 'done done failed', Always: 'Running', Never: 'Failed' },
];
for (const { statuses, ...want } of phases)
  t.test(`phase: ${statuses}`, async (t) => {
    // A Pod that never restarts anything has no container that waits for its next try.
    for (const [policy, phase] of Object.entries(want))
      if (policy !== 'Never' || !statuses.endsWith('retries'))
        t.equal(podPhase(of(policy as 'Always'), statusesOf(statuses)), phase, policy);
  });

const conditions = [
  {
    statuses: 'runs waits waits',
    phase: 'Pending',
    Initialized: { status: 'False', message: 'containers with incomplete status: [i s]' },
    ContainersReady: { status: 'False', message: 'containers with unready status: [s a]' },
  },
  {
    statuses: 'done runs waits',
    phase: 'Pending',
    Initialized: { status: 'True' },
    Ready: { status: 'False', reason: 'ContainersNotReady' },
  },
  {
    statuses: 'done retries runs',
    phase: 'Running',
    Initialized: { status: 'True' },
    Ready: { status: 'False' },
  },
  { statuses: 'done runs unready', phase: 'Running', ContainersReady: { message: /\[a\]$/ } },
  {
    statuses: 'done runs runs',
    phase: 'Running',
    ContainersReady: { status: 'True' },
    Ready: { status: 'True' },
  },
  {
    statuses: 'done failed done',
    phase: 'Succeeded',
    Initialized: { status: 'True', reason: 'PodCompleted' },
    Ready: { status: 'False', reason: 'PodCompleted' },
    PodReadyToStartContainers: { status: 'False' },
  },
  {
    statuses: 'failed waits waits',
    phase: 'Failed',
    Initialized: { status: 'False' },
    Ready: { reason: 'PodFailed' },
  },
] as const;
for (const { statuses, phase, ...want } of conditions)
  t.test(`conditions: ${statuses}`, async (t) => {
    const got = podConditions({
      pod: of('Never'),
      phase,
      statuses: statusesOf(statuses),
      hasSandbox: true,
      now: '2026-01-01T00:00:00Z',
    });
    for (const [type, fields] of Object.entries(want))
      t.match(
        got.find((one) => one.type === type),
        fields,
        type,
      );
  });

t.test('readiness gates, and the time since when', async (t) => {
  const gated = { ...of('Always'), spec: { ...spec, readinessGates: [{ conditionType: 'a/b' }] } };
  const ready = (given: { type: string; status: string; lastTransitionTime?: string }[]) =>
    podConditions({
      pod: { ...gated, status: { conditions: given } },
      phase: 'Running',
      statuses: statusesOf('done runs runs'),
      hasSandbox: true,
      now: '2026-01-01T00:00:09Z',
    }).find(({ type }) => type === 'Ready');
  t.match(ready([]), {
    status: 'False',
    reason: 'ReadinessGatesNotReady',
    message: 'corresponding condition of pod readiness gate "a/b" does not exist.',
  });
  t.match(ready([{ type: 'a/b', status: 'Unknown' }]), {
    message: 'the status of pod readiness gate "a/b" is not "True", but Unknown',
  });
  const open = { type: 'a/b', status: 'True' };
  t.match(ready([open]), { status: 'True', lastTransitionTime: '2026-01-01T00:00:09Z' });
  const before = { type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:01Z' };
  t.match(ready([open, before]), { lastTransitionTime: '2026-01-01T00:00:01Z' });
});
