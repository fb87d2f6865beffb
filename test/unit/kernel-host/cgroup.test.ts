// Pure parts of the cgroup code: value conversion, and what a list of mounts means.
import t from 'tap';
import { findOwnGroup, layoutOf } from '../../../lib/kernel/cgroup.ts';
import { limitWrites, weightOfShares } from '../../../lib/kernel/cgroup-values.ts';
import { parseMountInfo } from '../../../lib/kernel/mount.ts';

const weights: ReadonlyArray<readonly [number, number]> = [
  [0, 1],
  [2, 1],
  [100, 4],
  [1024, 39],
  [262_144, 10_000],
  [999_999, 10_000],
];
for (const [shares, weight] of weights)
  t.test(`${shares} shares weigh ${weight}`, async (t) => t.equal(weightOfShares(shares), weight));

const text = (version: 'v1' | 'v2', limits: Parameters<typeof limitWrites>[0]): string[] =>
  limitWrites(limits, version).map(({ controller, file, value }) => `${controller} ${file}=${value}`);

const limits = { cpuShares: 512, cpuQuota: 50_000, memoryLimit: 67_108_864, pidsLimit: 100 };
const cases = [
  { name: 'nothing asked', version: 'v2', limits: {}, want: [] },
  {
    name: 'all on v2',
    version: 'v2',
    limits,
    want: [
      'cpu cpu.weight=20',
      'cpu cpu.max=50000 100000',
      'memory memory.max=67108864',
      'pids pids.max=100',
    ],
  },
  {
    name: 'all on v1',
    version: 'v1',
    limits,
    want: [
      'cpu cpu.shares=512',
      'cpu cpu.cfs_period_us=100000',
      'cpu cpu.cfs_quota_us=50000',
      'memory memory.limit_in_bytes=67108864',
      'pids pids.max=100',
    ],
  },
  {
    name: 'unlimited on v2',
    version: 'v2',
    limits: { cpuQuota: -1, memoryLimit: 0, pidsLimit: 0 },
    want: ['cpu cpu.max=max 100000', 'memory memory.max=max', 'pids pids.max=max'],
  },
] as const;
for (const c of cases) t.test(c.name, async (t) => t.same(text(c.version, c.limits), c.want));

const mounts = {
  v2: '31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate',
  combined: '33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct',
  named: '40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
  hybrid: '41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw',
};
const layouts = [
  { name: 'v2', lines: [mounts.v2], want: { mode: 'v2', unified: '/sys/fs/cgroup', v1: {} } },
  {
    name: 'v1 with two controllers in one hierarchy',
    lines: [mounts.combined],
    want: {
      mode: 'v1',
      unified: undefined,
      v1: { cpu: '/sys/fs/cgroup/cpu,cpuacct', cpuacct: '/sys/fs/cgroup/cpu,cpuacct' },
    },
  },
  {
    name: 'hybrid',
    lines: [mounts.combined, mounts.named, mounts.hybrid],
    want: {
      mode: 'hybrid',
      unified: '/sys/fs/cgroup/unified',
      v1: {
        cpu: '/sys/fs/cgroup/cpu,cpuacct',
        cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
        'name=systemd': '/sys/fs/cgroup/systemd',
      },
    },
  },
  {
    name: 'a named v1 hierarchy beside v2 is no hybrid',
    lines: [mounts.named, mounts.hybrid],
    want: { mode: 'v2', unified: '/sys/fs/cgroup/unified', v1: {} },
  },
];
for (const c of layouts)
  t.test(c.name, async (t) => t.same(layoutOf(parseMountInfo(c.lines.join('\n'))), c.want));

t.test('no hierarchy at all is an error that says what to do', async (t) => {
  t.throws(() => layoutOf([]), { code: 'ENODEV', message: /mount -t cgroup2/ });
});

const v2 = { mode: 'v2', unified: '/sys/fs/cgroup', v1: {} } as const;
const hybrid = {
  mode: 'hybrid',
  unified: '/cg/unified',
  v1: { cpu: '/cg/cpu,cpuacct', cpuacct: '/cg/cpu,cpuacct' },
} as const;
const groups = [
  {
    name: 'v2',
    layout: v2,
    text: '0::/system.slice/a:b.service\n',
    want: '/sys/fs/cgroup/system.slice/a:b.service',
  },
  { name: 'hybrid', layout: hybrid, text: '3:cpu,cpuacct:/x\n0::/y\n', want: '/cg/unified/y' },
  {
    name: 'v1',
    layout: { ...hybrid, mode: 'v1', unified: undefined },
    text: '3:cpu,cpuacct:/x\n',
    want: '/cg/cpu,cpuacct/x',
  },
  { name: 'none', layout: v2, text: '', want: undefined },
] as const;
for (const c of groups)
  t.test(`own group on ${c.name}`, async (t) => t.equal(findOwnGroup(c.layout, c.text), c.want));
