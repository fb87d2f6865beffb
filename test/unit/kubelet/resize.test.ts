import t from 'tap';
import type { Pod } from '../../../lib/api/types.ts';
import { resizedPod, validatePodResize } from '../../../lib/api/validation/resize.ts';
import {
  containerChanges,
  decideResize,
  desiredSizes,
  memoryFault,
  roomFor,
  startResizing,
  withSizes,
} from '../../../lib/kubelet/resize.ts';
import { pod } from './fixtures.ts';

const size = (cpu: string, memory = '64Mi') => ({ requests: { cpu, memory } });
const sized = (resources: object, more: object = {}): Pod =>
  pod({ containers: [{ name: 'a', image: 'i', resources, ...more }] });

const decisions: [name: string, want: object, others: object[], decided: unknown][] = [
  ['nothing is asked for', size('100m'), [], 'nothing'],
  ['there is room', size('1'), [size('1')], 'allocate'],
  ['a smaller one finds room always', size('50m'), [size('1')], 'allocate'],
  [
    'others have it',
    size('1500m'),
    [size('1')],
    { reason: 'Deferred', message: /cpu, requested: 1500, used: 1000, capacity: 2000$/ },
  ],
  [
    'more than there is',
    size('1', '2Gi'),
    [],
    { reason: 'Infeasible', message: /memory, requested: 2147483648, cap/ },
  ],
];
for (const [name, want, others, decided] of decisions)
  t.test(`a resize where ${name}`, async (t) => {
    const decision = decideResize({
      pod: sized(want),
      allocated: desiredSizes(sized(size('100m'))),
      others: others.map((one) => sized(one)),
      allocatable: { cpu: 2000, memory: 2 ** 30, pods: 1 },
    });
    t.match(decision, decided);
  });

const policy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
const changes: [name: string, now: object, restart: boolean | undefined][] = [
  ['no change', size('1'), undefined],
  ['cpu in place', size('2'), false],
  ['memory with a restart', size('1', '1Gi'), true],
  ['written in another way', size('1000m'), false],
];
for (const [name, now, restart] of changes)
  t.test(`what changes: ${name}`, async (t) => {
    const one = sized(now, { resizePolicy: policy });
    const sizes = { allocated: desiredSizes(one), applied: desiredSizes(sized(size('1'))) };
    t.strictSame(containerChanges(one, sizes), restart === undefined ? [] : [{ name: 'a', restart }]);
  });

t.test('a new daemon takes up what the status says', async (t) => {
  const one = sized(size('2'));
  t.equal(withSizes(one, startResizing(one).allocated), one, 'of a Pod that never ran: its spec');
  const known = { name: 'a', image: 'i', imageID: '', ready: true, restartCount: 0, resources: size('1') };
  const ran: Pod = { ...one, status: { containerStatuses: [known] } };
  t.match(withSizes(ran, startResizing(ran).allocated).spec.containers, [{ resources: size('1') }]);
});

t.test('the group of the Pod is wide enough while its containers change', async (t) => {
  t.strictSame(
    roomFor({ cpuShares: 10, cpuQuota: 5000, memoryLimit: 9 }, { cpuShares: 20, cpuQuota: 4000 }),
    { cpuShares: 20, cpuQuota: 5000 },
    'and no narrower than none',
  );
  t.equal(memoryFault('pod', { memoryLimit: 5 }, 5), undefined);
  t.equal(
    memoryFault('pod', { memoryLimit: 5 }, 6),
    'attempting to set pod memory limit (5) below current usage (6)',
  );
});

const limited = {
  requests: { cpu: '1', memory: '1Gi' },
  limits: { memory: '2Gi', 'ephemeral-storage': '1Gi' },
};
const requests: [name: string, asked: object, says: string[]][] = [
  ['cpu and memory', { requests: { cpu: '2', memory: '1Gi' }, limits: limited.limits }, []],
  ['a limit that was not there', { ...limited, limits: { ...limited.limits, cpu: '3' } }, []],
  [
    'a limit that goes',
    { ...limited, limits: { 'ephemeral-storage': '1Gi' } },
    ['spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed'],
  ],
  [
    'disk',
    { ...limited, limits: { memory: '2Gi', 'ephemeral-storage': '2Gi' } },
    [
      'spec.containers[0].resources.limits[ephemeral-storage]: Forbidden: only cpu and memory resources are mutable',
    ],
  ],
  [
    'another class',
    { requests: { cpu: '1', memory: '2Gi' }, limits: { ...limited.limits, cpu: '1' } },
    ['spec: Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing'],
  ],
];
for (const [name, asked, says] of requests)
  t.test(`asking for ${name}`, async (t) => {
    const old = sized(limited);
    const next = resizedPod(old, sized(asked, { image: 'another' }));
    t.equal(next.spec.containers[0]?.image, 'i', 'nothing else changes');
    const errors = validatePodResize(next, old);
    t.strictSame(
      errors.map(({ field, message }) => `${field}: ${message}`),
      says,
    );
  });
