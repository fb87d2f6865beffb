import { rangeDefaults } from '../../../lib/controllers/cluster-ranges.ts';
import t from 'tap';
import { fail, ok, renderFindings, warn } from '../../../cmd/podwire/doctor/finding.ts';
import * as judge from '../../../cmd/podwire/doctor/judge.ts';
import { painter } from '../../../cmd/podwire/print/text.ts';

const v1 = (name: string) => `30 20 0:26 / /sys/fs/cgroup/${name} rw,relatime - cgroup cgroup rw,${name}`;
const v2 = (path: string) => `31 20 0:27 / ${path} rw,relatime - cgroup2 cgroup2 rw,nsdelegate`;
const both = { crun: true, runc: true };

t.test('cgroups', async (t) => {
  const mounts = (...lines: string[]) => judge.parseCgroupMounts(lines.join('\n'));
  t.same(mounts(v1('memory'), v2('/u'), '1 2 0:1 / / rw - ext4 /dev/vda rw'), [
    { path: '/sys/fs/cgroup/memory', type: 'cgroup', controllers: ['memory'] },
    { path: '/u', type: 'cgroup2', controllers: [] },
  ]);
  const states = (...args: Parameters<typeof judge.judgeCgroups>) =>
    judge.judgeCgroups(...args).map((each) => each.state);
  const three = [v1('cpu'), v1('memory'), v1('pids')];
  t.same(states(mounts(v2('/sys/fs/cgroup')), ['cpu', 'memory', 'pids'], both), ['ok'], 'pure v2');
  t.same(states(mounts(v2('/sys/fs/cgroup')), ['cpu'], both), ['warn'], 'v2 without memory');
  t.same(states(mounts(...three), undefined, both), ['ok'], 'pure v1');
  t.same(states(mounts(v1('cpu')), undefined, both), ['warn'], 'v1 without memory');
  t.same(states(mounts(...three, v2('/u')), [], both), ['ok'], 'hybrid with an empty v2');
  t.same(states(mounts(...three, v2('/u')), ['hugetlb'], both), ['ok', 'warn'], 'the trap for crun');
  t.same(
    states(mounts(...three, v2('/u')), ['hugetlb'], { crun: false, runc: true }),
    ['ok', 'warn'],
    'runc does not mind',
  );
  t.same(states(mounts(), undefined, both), ['fail'], 'none');
  const [, trap] = judge.judgeCgroups(mounts(...three, v2('/u')), ['hugetlb'], both);
  t.match(
    trap?.mend,
    /^mkdir -p \/sys\/fs\/cgroup\/hugetlb && mount -t cgroup -o hugetlb cgroup \/sys\/fs\/cgroup\/hugetlb/,
  );
});

t.test('address ranges', async (t) => {
  for (const [a, b, wanted] of [
    ['10.244.0.0/24', '10.244.0.7/32', true],
    ['10.244.0.0/24', '10.0.0.0/8', true],
    ['10.244.0.0/24', '10.244.1.0/24', false],
    ['10.244.0.0/24', '0.0.0.0/0', true],
    ['10.244.0.0/24', 'default', false],
    ['10.244.0.0/24', '300.0.0.0/8', false],
  ] as const)
    t.equal(judge.overlaps(a, b), wanted, `${a} ${b}`);
  t.same(judge.ipv4Range('192.168.1.77/30'), [3232235852, 3232235855]);
  const used = [{ cidr: '10.244.0.0/16', what: 'route over wg0', device: 'wg0' }];
  const clash = judge.judgeRange('10.244.0.0/24', used);
  t.equal(clash.state, 'fail');
  t.match(clash.detail, /overlaps 10\.244\.0\.0\/16 \(route over wg0\)/);
  t.equal(clash.mend, 'podwire up --pod-cidr 10.55.0.0/24');
  // What it advises must be taken: podwired refuses a range among the Services'.
  for (const taken of [[], ['10.55.0.0/16'], ['10.55.0.0/16', '172.16.0.0/12']]) {
    const more = taken.map((cidr) => ({ cidr, what: 'route over wg0', device: 'wg0' }));
    const advised =
      judge
        .judgeRange('10.244.0.0/24', [...used, ...more])
        .mend?.split(' ')
        .at(-1) ?? '';
    t.ok(judge.ipv4Range(advised), advised);
    t.notOk(judge.overlaps(advised, rangeDefaults.serviceCidr), advised);
  }
  t.equal(
    judge.judgeRange('10.244.0.0/24', [{ cidr: '10.244.0.1/24', what: 'x', device: 'podwire0' }]).state,
    'ok',
    'our own bridge',
  );
  t.equal(judge.judgeRange('nonsense', []).state, 'fail');
});

t.test('disk, inotify, forwarding', async (t) => {
  const gib = 2 ** 30;
  const disk = (free: number, inodes = 1e6) =>
    judge.judgeDisk('/var', { freeBytes: free * gib, freeInodes: inodes, inodes: 1e7 }).state;
  t.same([disk(0.5), disk(3), disk(50), disk(50, 5)], ['fail', 'warn', 'ok', 'fail']);
  t.equal(judge.judgeInotify({ instances: 128, watches: 65536 }).state, 'ok');
  t.equal(judge.judgeInotify({ instances: 10, watches: 65536 }).state, 'warn');
  t.equal(judge.judgeForwarding('1\n').state, 'ok');
  t.equal(judge.judgeForwarding('0\n').state, 'warn');
  const docker = { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward', policy: 'drop' };
  const found = judge.judgeForwardPolicy([docker], '10.244.0.0/24');
  t.equal(found.state, 'warn');
  t.match(found.mend, /^nft insert rule ip filter FORWARD ip saddr 10\.244\.0\.0\/24 accept/);
  t.equal(
    judge.judgeForwardPolicy(
      [
        { ...docker, policy: 'accept' },
        { ...docker, table: 'podwire_x' },
      ],
      'x',
    ).state,
    'ok',
  );
});

t.test('how findings are shown', async (t) => {
  t.equal(
    renderFindings([ok('a', 'fine'), warn('longer', 'so so', 'do this'), fail('b', 'bad')], painter('plain')),
    `ok    a       fine
warn  longer  so so
              → do this
fail  b       bad

1 thing keeps podwire from working here (and 1 warning).
`,
  );
  t.match(renderFindings([ok('a', 'fine')], painter('plain')), /This machine is fit for podwire\.\n$/);
});
