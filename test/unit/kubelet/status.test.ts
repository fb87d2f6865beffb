import t from 'tap';
import type { Pod } from '../../../lib/api/types.ts';
import { noProbes } from '../../../lib/kubelet/pod-actions.ts';
import { podStatus, type StatusInput } from '../../../lib/kubelet/status.ts';
import { container, exited, pod, sandbox } from './fixtures.ts';

const now = '2026-01-01T00:00:10.000Z';
const input = (over: Partial<StatusInput>): StatusInput => ({
  pod: pod(),
  runtime: { sandboxes: [sandbox()], containers: [container()] },
  hostIP: '192.0.2.1',
  waiting: new Map(),
  messages: new Map(),
  probes: noProbes,
  now,
  ...over,
});
const condition = (status: ReturnType<typeof podStatus>, type: string) =>
  status.conditions?.find((c) => c.type === type)?.status;

const phases = [
  {
    name: 'nothing made yet',
    over: { runtime: { sandboxes: [], containers: [] } },
    phase: 'Pending',
    ready: 'False',
  },
  { name: 'running', over: {}, phase: 'Running', ready: 'True' },
  {
    name: 'Always, exited',
    over: { runtime: { sandboxes: [sandbox()], containers: [exited(0)] } },
    phase: 'Running',
    ready: 'False',
  },
  {
    name: 'Never, exited 0',
    over: { pod: pod({ restartPolicy: 'Never' }), runtime: { sandboxes: [], containers: [exited(0)] } },
    phase: 'Succeeded',
    ready: 'False',
  },
  {
    name: 'Never, exited 3',
    over: { pod: pod({ restartPolicy: 'Never' }), runtime: { sandboxes: [], containers: [exited(3)] } },
    phase: 'Failed',
    ready: 'False',
  },
  {
    name: 'OnFailure, exited 3, will be tried again',
    over: {
      pod: pod({ restartPolicy: 'OnFailure' }),
      runtime: { sandboxes: [sandbox()], containers: [exited(3)] },
    },
    phase: 'Running',
    ready: 'False',
  },
  {
    name: 'given up',
    over: { failed: { reason: 'DeadlineExceeded', message: 'm' } },
    phase: 'Failed',
    ready: 'False',
  },
];
for (const c of phases)
  t.test(`phase: ${c.name}`, async (t) => {
    const status = podStatus(input(c.over));
    t.equal(status.phase, c.phase);
    t.equal(condition(status, 'Ready'), c.ready);
  });

t.test('a container in back-off waits with CrashLoopBackOff and shows its last end', async (t) => {
  const status = podStatus(
    input({
      runtime: { sandboxes: [sandbox()], containers: [exited(7, { attempt: 2 })] },
      waiting: new Map([['a', { reason: 'CrashLoopBackOff', message: 'back-off 10s' }]]),
      messages: new Map([['c1', 'out of luck']]),
    }),
  );
  const [a] = status.containerStatuses ?? [];
  t.match(a, { restartCount: 2, ready: false, state: { waiting: { reason: 'CrashLoopBackOff' } } });
  t.match(a?.lastState?.terminated, {
    exitCode: 7,
    message: 'out of luck',
    finishedAt: '2026-01-01T00:00:09Z',
  });
});

t.test('a restarted container remembers the one before', async (t) => {
  const containers = [container({ id: 'c2', attempt: 1 }), exited(1)];
  const [a] = podStatus(input({ runtime: { sandboxes: [sandbox()], containers } })).containerStatuses ?? [];
  t.match(a, {
    restartCount: 1,
    containerID: 'podwire://c2',
    lastState: { terminated: { exitCode: 1, containerID: 'podwire://c1' } },
  });
});

t.test('an image that cannot be had is why the container waits', async (t) => {
  const waiting = new Map([['a', { reason: 'ErrImagePull', message: 'no' }]]);
  const status = podStatus(input({ runtime: { sandboxes: [sandbox()], containers: [] }, waiting }));
  t.equal(status.phase, 'Pending');
  t.match(status.containerStatuses?.[0]?.state, { waiting: { reason: 'ErrImagePull', message: 'no' } });
});

t.test('after a reboot the restart count goes on and the lost run is shown', async (t) => {
  const known: Pod = pod();
  const before = podStatus(
    input({ runtime: { sandboxes: [sandbox()], containers: [container({ attempt: 4 })] } }),
  );
  const [a] =
    podStatus(input({ pod: { ...known, status: before }, runtime: { sandboxes: [], containers: [] } }))
      .containerStatuses ?? [];
  t.match(a, {
    restartCount: 4,
    lastState: { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown' } },
  });
  const again = { ...known, status: { ...before, containerStatuses: a ? [a] : [] } };
  const [later] =
    podStatus(input({ pod: again, runtime: { sandboxes: [], containers: [] } })).containerStatuses ?? [];
  t.match(later, { restartCount: 4, containerID: 'podwire://c1' }, 'also after a try that failed');
});

t.test(
  'the restart count that was told does not fall when a container is taken back before it ran',
  async (t) => {
    const known: Pod = pod();
    const runtime = (...attempts: number[]) => ({
      sandboxes: [sandbox()],
      containers: attempts.map((attempt) => container({ attempt, id: `c${attempt}` })),
    });
    const status = podStatus(input({ runtime: runtime(2, 1) }));
    const after = podStatus(input({ pod: { ...known, status }, runtime: runtime(1) }));
    t.match(after.containerStatuses, [{ restartCount: 2 }]);
  },
);

t.test('what a reboot killed and may not be restarted has ended, with a phase that says so', async (t) => {
  const never: Pod = pod({ restartPolicy: 'Never' });
  const before = podStatus(input({ pod: never }));
  const gone = { sandboxes: [], containers: [] };
  const after = podStatus(input({ pod: { ...never, status: before }, runtime: gone }));
  t.equal(after.phase, 'Failed');
  t.match(after.containerStatuses?.[0], {
    ready: false,
    restartCount: 0,
    state: {
      terminated: { exitCode: 137, reason: 'ContainerStatusUnknown', finishedAt: '2026-01-01T00:00:10Z' },
    },
  });
});

t.test('a condition keeps the time of its last change', async (t) => {
  const first = podStatus(input({}));
  const later = podStatus(input({ pod: { ...pod(), status: first }, now: '2026-01-02T00:00:00.000Z' }));
  t.same(later.conditions, first.conditions);
});

t.test("addresses: the Pod's own, or the machine's with hostNetwork", async (t) => {
  t.match(podStatus(input({})), { podIP: '10.244.0.2', hostIP: '192.0.2.1' });
  t.match(podStatus(input({ pod: pod({ hostNetwork: true }) })), { podIP: '192.0.2.1' });
});

t.test('nothing waits in a Pod that is over', async (t) => {
  const waiting = new Map([
    ['a', { reason: 'ImagePullBackOff', message: 'm' }],
    ['s', { reason: 'CrashLoopBackOff', message: 'm' }],
  ]);
  const failed = { reason: 'DeadlineExceeded', message: 'm' };
  const none = { sandboxes: [sandbox()], containers: [] };
  const [never] = podStatus(input({ failed, waiting, runtime: none })).containerStatuses ?? [];
  t.match(never?.state, { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown' } });

  const sidecar = { name: 's', image: 'i', restartPolicy: 'Always' };
  const crashed = exited(3, { name: 's', id: 'c2' });
  const done = podStatus(
    input({
      pod: pod({ restartPolicy: 'Never', initContainers: [sidecar] }),
      runtime: { sandboxes: [], containers: [exited(0), crashed] },
      waiting,
    }),
  );
  t.equal(done.phase, 'Succeeded');
  t.match(done.initContainerStatuses?.[0]?.state, { terminated: { exitCode: 3, reason: 'Error' } });

  const initContainers = [{ name: 'i', image: 'i' }];
  const early = podStatus(input({ failed, runtime: none, pod: pod({ initContainers }) }));
  t.match(
    early.containerStatuses?.[0]?.state,
    { waiting: { reason: 'PodInitializing' } },
    'not its turn yet',
  );
});

t.test('a Pod that its node never let in has no containers to tell of', async (t) => {
  const failed = { reason: 'OutOfcpu', message: 'Pod was rejected: m', rejected: true };
  const status = podStatus(input({ failed, runtime: { sandboxes: [], containers: [] } }));
  t.match(status, { phase: 'Failed', reason: 'OutOfcpu', message: 'Pod was rejected: m' });
  t.equal(status.containerStatuses, undefined);
});
