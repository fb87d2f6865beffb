import t from 'tap';
import { parseThresholds } from '../../../lib/kubelet/eviction/thresholds.ts';
import { localStorageFault } from '../../../lib/kubelet/eviction/local-storage.ts';
import { nodeCapacity, parseReserved, shownAmounts } from '../../../lib/kubelet/node-capacity.ts';
import { pod } from './fixtures.ts';

const Gi = 2 ** 30;

t.test('what Pods may ask for is less than what there is', async (t) => {
  const machine = {
    cpus: 4,
    memory: 8 * Gi,
    disk: 100 * Gi,
    hugePages: { 'hugepages-2Mi': Gi, 'hugepages-1Gi': 0 },
    maxPods: 110,
  };
  const { capacity, allocatable } = nodeCapacity(machine, {
    thresholds: parseThresholds({}),
    reserved: [parseReserved('--system-reserved', 'cpu=200m,memory=1Gi')],
  });
  t.strictSame(shownAmounts(capacity), {
    cpu: '4',
    memory: '8388608Ki',
    'ephemeral-storage': '104857600Ki',
    'hugepages-2Mi': '1048576Ki',
    'hugepages-1Gi': '0',
    pods: '110',
  });
  t.strictSame(shownAmounts(allocatable), {
    cpu: '3800m',
    memory: `${(6 * Gi) / 1024 - 100 * 1024}Ki`,
    'ephemeral-storage': '94371840Ki',
    'hugepages-2Mi': '1048576Ki',
    'hugepages-1Gi': '0',
    pods: '110',
  });
});

for (const bad of ['cpu', 'gpu=1', 'memory=lots', 'cpu=-1'])
  t.throws(() => parseReserved('--kube-reserved', bad), { code: 'BAD_RESERVATION' }, bad);

const disk = (limit?: string) => (limit === undefined ? {} : { limits: { 'ephemeral-storage': limit } });
const two = (a?: string, b?: string, sizeLimit?: string) =>
  pod({
    containers: [
      { name: 'a', image: 'i', resources: disk(a) },
      { name: 'b', image: 'i', resources: disk(b) },
    ],
    volumes: [{ name: 'v', emptyDir: sizeLimit === undefined ? {} : { sizeLimit } }],
  });
const faults: [
  name: string,
  of: ReturnType<typeof two>,
  use: [v: number, a: number, b: number],
  want?: string,
][] = [
  ['no limits', two(), [1e12, 1e12, 1e12]],
  ['just enough', two('1k', '2k', '1k'), [1000, 1000, 1000]],
  ['a volume', two('9k', '9k', '1k'), [1001, 0, 0], 'Usage of EmptyDir volume "v" exceeds the limit "1k". '],
  [
    'a container, though the Pod is not',
    two('1k', '5k'),
    [0, 1001, 0],
    'Container a exceeded its local ephemeral storage limit "1k". ',
  ],
  [
    'all together, with volumes that have no limit',
    two('1k', '2k'),
    [2900, 100, 1],
    'Pod ephemeral local storage usage exceeds the total limit of containers 3000. ',
  ],
  [
    'one limit is told as it was given',
    two('1k'),
    [0, 1, 1000],
    'Pod ephemeral local storage usage exceeds the total limit of containers 1k. ',
  ],
];
for (const [name, of, [v, a, b], want] of faults)
  t.test(`local storage: ${name}`, async (t) => {
    const use = { volumes: new Map([['v', v]]), containers: new Map(Object.entries({ a, b })) };
    t.equal(localStorageFault(of, use), want);
  });
