import t from 'tap';
import type { Pod } from '../../../lib/api/types.ts';
import { podRejection } from '../../../lib/kubelet/admission.ts';
import { EvictionManager, observe } from '../../../lib/kubelet/eviction/manager.ts';
import { evictionMessage, isCritical, type PodUse, rankPods } from '../../../lib/kubelet/eviction/rank.ts';
import {
  type Figures,
  metThresholds,
  parseThresholds,
  type Pressure,
  type Signal,
  type Threshold,
} from '../../../lib/kubelet/eviction/thresholds.ts';
import { pod } from './fixtures.ts';

const Mi = 2 ** 20;

const wrong: [flag: object, says: RegExp][] = [
  [{ evictionHard: 'memory' }, /SIGNAL<VALUE/],
  [{ evictionHard: 'memory.free<1Gi' }, /SIGNAL one of memory.available/],
  [{ evictionHard: 'memory.available<lots' }, /an amount such as 100Mi/],
  [{ evictionHard: 'memory.available<101%' }, /up to 100%/],
  [{ evictionHard: 'pid.available<1,pid.available<2' }, /once/],
  [{ evictionSoft: 'memory.available<1Gi' }, /a time such as 1m30s/],
  [{ evictionSoft: 'memory.available<1Gi', evictionSoftGracePeriod: 'memory.available=1' }, /a time such as/],
];
for (const [flags, says] of wrong)
  t.throws(() => parseThresholds(flags), { code: 'BAD_EVICTION', message: says }, JSON.stringify(flags));

t.strictSame(parseThresholds({ evictionHard: '' }), [], 'none at all');
t.match(
  parseThresholds({
    evictionHard: 'memory.available<100Mi',
    evictionSoft: 'nodefs.available<20%',
    evictionSoftGracePeriod: 'nodefs.available=1m30s',
    evictionMinimumReclaim: 'nodefs.available=1Gi',
  }),
  [
    { signal: 'memory.available', least: { quantity: 100 * Mi }, graceMs: 0 },
    { signal: 'nodefs.available', least: { share: 0.2 }, graceMs: 90_000, reclaim: { quantity: 1024 * Mi } },
  ],
);

const figures = (available: number, signal: Signal = 'memory.available'): Figures => ({
  [signal]: { available, capacity: 1000 },
});
const limits: [name: string, flags: object, available: number, before: boolean, met: boolean][] = [
  ['just enough', { evictionHard: 'memory.available<100' }, 100, false, false],
  ['too little', { evictionHard: 'memory.available<100' }, 99, false, true],
  ['a share', { evictionHard: 'memory.available<20%' }, 199, false, true],
  ['of nothing', { evictionHard: 'memory.available<0%' }, 0, false, false],
  ['not measured', { evictionHard: 'pid.available<10' }, 5, false, false],
];
const reclaim = { evictionHard: 'memory.available<100', evictionMinimumReclaim: 'memory.available=50' };
limits.push(['a little more, after it was short', reclaim, 149, true, true]);
limits.push(['a little more, from above', reclaim, 149, false, false]);
limits.push(['the minimum reclaim', reclaim, 150, true, false]);
for (const [name, flags, available, before, met] of limits)
  t.test(`threshold: ${name}`, async (t) => {
    const thresholds = parseThresholds(flags);
    t.equal(metThresholds(thresholds, figures(available), before ? thresholds : []).length, met ? 1 : 0);
  });

t.test('a soft threshold waits, a condition stays', async (t) => {
  const settings = {
    thresholds: parseThresholds({
      evictionHard: '',
      evictionSoft: 'memory.available<100',
      evictionSoftGracePeriod: 'memory.available=30s',
    }),
    transitionMs: 60_000,
  };
  const steps: [at: number, available: number, due: number, pressures: Pressure[]][] = [
    [0, 200, 0, []],
    [10, 50, 0, ['MemoryPressure']],
    [30, 50, 0, ['MemoryPressure']],
    [35, 150, 0, ['MemoryPressure']],
    [40, 50, 0, ['MemoryPressure']],
    [70, 50, 1, ['MemoryPressure']],
    [80, 150, 0, ['MemoryPressure']],
    [129, 150, 0, ['MemoryPressure']],
    [130, 150, 0, []],
  ];
  let seen: Parameters<typeof observe>[1] = { met: [], since: new Map(), pressures: new Map() };
  for (const [at, available, due, pressures] of steps) {
    const now = observe(settings, seen, { figures: figures(available), now: at * 1000 });
    t.equal(now.due.length, due, `due at ${at} s`);
    t.strictSame([...now.pressures.keys()], pressures, `conditions at ${at} s`);
    seen = now;
  }
});

const asking = (name: string, request: string | undefined, priority = 0): Pod => {
  const requests: Record<string, string> =
    request === undefined ? {} : { memory: request, 'ephemeral-storage': request };
  const containers = [{ name: 'a', image: 'i', resources: { requests } }];
  return pod({ containers, priority }, { name, uid: name });
};
const using = (one: Pod, memory: number, more: Partial<PodUse> = {}): PodUse => ({
  ...{ pod: one, memory, disk: memory, pids: 1, containers: new Map([['a', memory]]) },
  ...more,
});
const uses = [
  using(asking('within', '100Mi'), 50 * Mi),
  using(asking('important', undefined, 10), 500 * Mi),
  using(asking('small', undefined), 10 * Mi, { pids: 100 }),
  using(asking('large', '1Mi'), 60 * Mi),
  using(asking('worthless', undefined, -1), Mi),
];
const orders: [signal: Signal, order: string][] = [
  ['memory.available', 'worthless large small important within'],
  ['nodefs.available', 'worthless large small important within'],
  ['imagefs.inodesFree', 'worthless large small important within'],
  ['pid.available', 'worthless small within large important'],
];
for (const [signal, order] of orders)
  t.test(`who goes first for ${signal}`, async (t) =>
    t.equal(
      rankPods(signal, uses)
        .map((use) => use.pod.metadata.name)
        .join(' '),
      order,
    ),
  );

t.test('what it is told', async (t) => {
  const [memory] = parseThresholds({ evictionHard: 'memory.available<100Mi' }) as [Threshold];
  t.equal(
    evictionMessage(
      memory,
      { available: 50 * Mi, capacity: 1024 * Mi },
      using(asking('a', '1Mi'), 1025 * 1024),
    ),
    'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container a was using 1025Ki, request is 1Mi, has larger consumption of memory. ',
  );
  const [files] = parseThresholds({ evictionHard: 'nodefs.inodesFree<5%' }) as [Threshold];
  t.equal(
    evictionMessage(files, { available: 1024, capacity: 40960 }, using(asking('a', undefined), Mi)),
    'The node was low on resource: inodes. Threshold quantity: 2048, available: 1024. ',
  );
});

t.test('one Pod at a time, critical ones never, and the disk is cleared first', async (t) => {
  let available = 50;
  let now = 0;
  let signal: Signal = 'memory.available';
  const evicted: string[] = [];
  const told: string[] = [];
  let pods = [
    { pod: asking('static', undefined), isStatic: true },
    { pod: asking('vital', undefined, 2_000_000_000), isStatic: false },
    { pod: asking('one', undefined), isStatic: false },
    { pod: asking('two', undefined), isStatic: false },
  ];
  const manager = new EvictionManager({
    thresholds: parseThresholds({ evictionHard: 'memory.available<100,nodefs.available<100' }),
    ...{ periodMs: 1000, transitionMs: 1000, maxGraceSeconds: 0 },
    read: () => figures(available, signal),
    pods: () => pods,
    use: async (one) => using(one, one.metadata.name === 'two' ? 2 : 1),
    evict: ({ metadata }, { graceSeconds }) => evicted.push(`${metadata.name} ${graceSeconds}`),
    reclaimDisk: async () => {
      available = 200;
    },
    onPressure: () => told.push(manager.pressures().join()),
    onError: (error) => t.fail(String(error)),
    now: () => now,
  });
  await manager.look();
  await manager.look();
  t.strictSame(evicted, ['two 1'], 'the next waits until it is gone');
  pods = pods.filter((one) => one.pod.metadata.name !== 'two');
  await manager.look();
  pods = pods.filter((one) => one.pod.metadata.name !== 'one');
  await manager.look();
  t.strictSame(evicted, ['two 1', 'one 1']);
  t.strictSame(pods.map(isCritical), [true, true]);
  available = 200;
  now = 5000;
  await manager.look();
  t.strictSame(told, ['MemoryPressure', ''], 'and all is well');
  [available, signal] = [50, 'nodefs.available'];
  pods.push({ pod: asking('three', undefined), isStatic: false });
  await manager.look();
  t.equal(evicted.length, 2, 'what nobody needed was enough');
  t.strictSame(manager.pressures(), ['DiskPressure']);
  await manager.close();
});

const pressed = (pressures: Pressure[], one: Pod) =>
  podRejection(one, { node: { allowedUnsafeSysctls: [], allocatable: {} }, others: [], pressures })?.message;
const tolerant = pod({ tolerations: [{ key: 'node.kubernetes.io/memory-pressure', operator: 'Exists' }] });
const letIn: [name: string, pressures: Pressure[], one: Pod, says?: string][] = [
  [
    'best effort where memory is short',
    ['MemoryPressure'],
    pod(),
    'The node had condition: [MemoryPressure]. ',
  ],
  ['who asks for memory', ['MemoryPressure'], asking('a', '1Mi')],
  ['who puts up with it', ['MemoryPressure'], tolerant],
  [
    'who asks for memory, where the disk is full',
    ['DiskPressure'],
    asking('a', '1Mi'),
    'The node had condition: [DiskPressure]. ',
  ],
  ['what is critical', ['DiskPressure'], asking('a', undefined, 2_000_001_000)],
];
for (const [name, pressures, one, says] of letIn)
  t.test(`let in: ${name}`, async (t) => t.equal(pressed(pressures, one), says));
