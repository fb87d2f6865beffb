// podwire on a machine as users have it: Debian 12 with its own kernel, systemd as process 1, cgroup v2 and nothing else.
// One VM goes through a life: first start, limits, kill -9, power cut, a systemd service, reboot, runc, and down.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { eventually } from './cluster.ts';
import { startLab } from './lab.ts';
import { type Machine, sleep } from './machine.ts';
import {
  create,
  containerIds,
  fetchPage,
  getPod,
  inPod,
  isRunning,
  leases,
  names,
  remove,
  restarts,
  traces,
  until,
  untilReady,
} from './node.ts';

const sleeper = 'trap "exit 0" TERM; while :; do sleep 1000 & wait $!; done';
const shell = (name: string, script: string, more: object = {}): object => ({
  name,
  image: 'localhost/host',
  command: ['bash', '-c', script],
  ...more,
});
const pod = (name: string, containers: object[], spec: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { terminationGracePeriodSeconds: 2, ...spec, containers },
});

/** Files of a cgroup below podwire's, by name. */
async function cgroup(vm: Machine, path: string, files: readonly string[]): Promise<Record<string, string>> {
  const text = await vm.sh(`cd /sys/fs/cgroup/podwire/${path} && cat ${files.join(' ')}`);
  return Object.fromEntries(text.split('\n').map((line, at) => [files[at] ?? `line ${at}`, line]));
}

const oneMore = (of: Pod | undefined): number[] => (of ? restarts(of).map((count) => count + 1) : []);
/** Running, and in other containers than before. */
const runsAnew = (before: Pod | undefined) => (now: Pod | undefined) =>
  isRunning(now) &&
  before &&
  !Object.values(containerIds(before)).some((id) => Object.values(containerIds(now!)).includes(id));
const uidOf = (of: Pod): string => of.metadata.uid;
const ipOf = (of: Pod): string => of.status?.podIP ?? '';
/** The cgroup of a process on v2. */
const cgroupOf = async (vm: Machine, pid: string): Promise<string> =>
  (await vm.sh(`cat /proc/${pid}/cgroup`)).replace(/^0::/, '');

const [vm] = (await startLab(t)) as [Machine];

/** Both Pods of the examples run, on these addresses, and one reads the other's page. */
async function examplesWork(t: Test, what: string): Promise<{ web: Pod; client: Pod }> {
  const web = await until(vm, 'web', isRunning);
  const client = await until(vm, 'client', isRunning);
  t.match(await inPod(vm, 'client', fetchPage(ipOf(web))), /Hello from Pod web\./, what);
  return { web, client };
}

/** Every lease is a running sandbox's, and every sandbox has its lease and its namespace. */
async function nothingLeaked(t: Test, pods: readonly Pod[]): Promise<void> {
  const taken = await leases(vm);
  const sandboxes = await names(vm, '/run/podwire/sandboxes');
  t.same(Object.keys(taken).sort(), pods.map(ipOf).sort(), 'leases are those of the running Pods');
  t.same(Object.values(taken).sort(), sandboxes.sort(), 'each is held by a sandbox');
  t.same((await names(vm, '/run/netns')).sort(), sandboxes, 'a netns for each sandbox, no other');
  const uids = pods.map(uidOf).map((uid) => `/sys/fs/cgroup/podwire/pod${uid}`);
  const groups = (await vm.sh('ls -1d /sys/fs/cgroup/podwire/pod*')).split('\n');
  t.same(groups.sort(), uids.sort(), 'a cgroup for each Pod, no other');
  const ids = pods.flatMap((of) => Object.values(containerIds(of)));
  const overlays = await names(vm, '/var/lib/podwire/overlay');
  t.same(
    ids.filter((id) => !overlays.includes(id)),
    [],
    'every container has its overlay',
  );
  const bundles = await names(vm, '/run/podwire/containers');
  t.same(
    overlays.filter((id) => !bundles.includes(id)),
    [],
    'and no overlay is without its container',
  );
}

t.test('a machine as users have it', async (t) => {
  t.equal(await vm.sh('stat -fc %T /sys/fs/cgroup'), 'cgroup2fs', 'cgroup v2 alone');
  t.equal(await vm.sh('cat /proc/1/comm'), 'systemd');
  t.comment(`kernel ${await vm.sh('uname -r')}, systemd ${await vm.sh('systemctl --version | head -1')}`);
  const { exitCode, stdout, stderr } = await vm.podwire('doctor');
  t.equal(exitCode, 0, `podwire doctor has nothing to mend\n${stdout}${stderr}`);
});

t.test('podwire up by somebody who logs in and out again', async (t) => {
  const said = await vm.out(['/opt/podwire/bin/podwire', 'up'], { session: 'own' });
  t.match(said, /podwired is ready after/);
  await sleep(500);
  t.equal((await vm.podwire('get', 'pods')).exitCode, 0, 'podwired lives on after the logout');
});

t.test('a page from Pod to Pod by Pod IP', async (t) => {
  const files = ['web', 'client'].flatMap((name) => ['-f', `/opt/podwire/examples/${name}.yaml`]);
  const applied = await vm.podwire('apply', ...files);
  t.equal(applied.exitCode, 0, applied.stderr);
  const { web, client } = await examplesWork(t, 'Pod to Pod');
  t.match(await vm.sh(fetchPage(ipOf(web))), /Hello from Pod web/, 'machine to Pod');
  const { stdout: log } = await vm.podwire('logs', 'web', '-c', 'server');
  t.match(log, `${ipOf(client)} GET /`, 'the server saw the real address');
  await nothingLeaked(t, [web, client]);
  t.equal(await vm.sh('systemctl is-system-running || true'), 'running', 'systemd is content');
});

t.test('limits stand in cgroup v2', async (t) => {
  const resources = { requests: { cpu: '250m', memory: '32Mi' }, limits: { cpu: '500m', memory: '64Mi' } };
  await create(vm, pod('limited', [shell('a', sleeper, { resources }), shell('b', sleeper, { resources })]));
  const limited = await until(vm, 'limited', isRunning);
  const group = `pod${uidOf(limited)}`;
  const files = ['memory.max', 'cpu.max', 'cpu.weight'];
  // 250m are 256 shares, weight 10; the Pod's 500m are 512 shares, weight 20.
  const one = { 'memory.max': `${64 << 20}`, 'cpu.max': '50000 100000', 'cpu.weight': '10' };
  const both = { 'memory.max': `${128 << 20}`, 'cpu.max': '100000 100000', 'cpu.weight': '20' };
  const ids = containerIds(limited);
  t.same(await cgroup(vm, `${group}/${ids.a}`, files), one, 'of a container');
  t.same(await cgroup(vm, `${group}/${ids.b}`, files), one, 'of the other');
  t.same(await cgroup(vm, group, files), both, 'of the Pod');
  // systemd writes the controllers of the root when units come and go; the Pods' must stay.
  await vm.sh('systemctl daemon-reload && systemd-run --wait -q -p CPUWeight=50 -p MemoryMax=50M true');
  t.same(await cgroup(vm, group, files), both, 'after systemd reloaded and ran a unit');
  t.equal(await inPod(vm, 'limited', 'cat /sys/fs/cgroup/memory.max'), `${64 << 20}`, 'seen from inside');
  const larger = {
    spec: { containers: [{ name: 'a', resources: { limits: { cpu: '1', memory: '96Mi' } } }] },
  };
  const resize = ['patch', 'pod', 'limited', '--subresource', 'resize', '-p', JSON.stringify(larger)];
  t.equal((await vm.podwire(...resize)).exitCode, 0);
  await until(vm, 'limited', (p) => p?.status?.containerStatuses?.[0]?.resources?.limits?.cpu === '1');
  const resized = { 'memory.max': `${96 << 20}`, 'cpu.max': '100000 100000', 'cpu.weight': '10' };
  t.same(await cgroup(vm, `${group}/${ids.a}`, files), resized, 'resized while it runs');
  t.match(await cgroup(vm, group, files), { 'memory.max': `${160 << 20}`, 'cpu.max': '150000 100000' });
  t.match(await inPod(vm, 'limited', 'cat /proc/1/oom_score_adj'), /^9\d\d$/, 'by its request of memory');
  await remove(vm, 'limited');
});

t.test('out of memory is told as such', async (t) => {
  await vm.podwire('apply', '-f', '/opt/podwire/examples/limits.yaml');
  const dead = await until(vm, 'limits', (p) => p?.status?.phase === 'Failed');
  t.match(dead.status?.containerStatuses?.[0]?.state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
  await remove(vm, 'limits');
});

t.test('kill -9 of podwired', async (t) => {
  const before = { web: await getPod(vm, 'web'), client: await getPod(vm, 'client') };
  await vm.sh('pkill -KILL -f [p]odwired.mjs; while pgrep -f [p]odwired.mjs >/dev/null; do sleep 0.05; done');
  t.match(await vm.out(['/opt/podwire/bin/podwire', 'up']), /ready/);
  const after = { web: await until(vm, 'web', isRunning), client: await until(vm, 'client', isRunning) };
  for (const name of ['web', 'client'] as const) {
    t.same(
      after[name].status?.containerStatuses,
      before[name]?.status?.containerStatuses,
      `${name} untouched`,
    );
    t.equal(ipOf(after[name]), before[name]?.status?.podIP, `${name} has its address`);
  }
  await examplesWork(t, 'the page still comes');
});

/** Pods whose containers may not be started again, or only when they failed. */
async function applyOneShots(): Promise<void> {
  const never = { restartPolicy: 'Never' };
  await create(vm, pod('done', [shell('a', 'echo ran >> /v/runs', mounted)], { ...never, ...volume }));
  await create(
    vm,
    pod('once', [shell('a', `echo ran >> /v/runs; ${sleeper}`, mounted)], { ...never, ...volume }),
  );
  await create(
    vm,
    pod('half', [shell('a', 'echo ran >> /v/runs', mounted), shell('b', sleeper)], {
      restartPolicy: 'OnFailure',
      ...volume,
    }),
  );
  await until(vm, 'done', (p) => p?.status?.phase === 'Succeeded');
  await until(vm, 'once', isRunning);
  await until(vm, 'half', (p) => p?.status?.containerStatuses?.some((c) => c.state?.terminated));
  await vm.sh('sync');
}
const mounted = { volumeMounts: [{ name: 'v', mountPath: '/v' }] };
const volume = { volumes: [{ name: 'v', emptyDir: {} }] };
const runsOf = async (of: Pod): Promise<string> =>
  await vm.sh(`cat /var/lib/podwire/pods/${uidOf(of)}/volumes/*/v/runs`);

t.test('a power cut, and podwire up', async (t) => {
  await applyOneShots();
  const before = { web: await getPod(vm, 'web'), client: await getPod(vm, 'client') };
  const sandboxes = await names(vm, '/run/podwire/sandboxes');
  t.comment(`booted in ${(await vm.powerCut()).toFixed(1)} s`);
  t.match(await vm.out(['/opt/podwire/bin/podwire', 'up']), /ready/);
  const web = await until(vm, 'web', runsAnew(before.web));
  const client = await until(vm, 'client', runsAnew(before.client));
  t.equal(uidOf(web), before.web?.metadata.uid, 'the same Pods');
  t.same(restarts(web), oneMore(before.web), 'restart counts of web have grown by one');
  t.same(restarts(client), oneMore(before.client), 'and that of client');
  await examplesWork(t, 'the page comes again');
  t.same(
    (await names(vm, '/run/podwire/sandboxes')).filter((id) => sandboxes.includes(id)),
    [],
    'in new sandboxes',
  );

  const done = (await getPod(vm, 'done'))!;
  t.equal(done.status?.phase, 'Succeeded', 'a finished Pod stays finished');
  t.equal(await runsOf(done), 'ran', 'and did not run again');
  const once = await until(vm, 'once', (p) => p?.status?.phase === 'Failed');
  t.equal(await runsOf(once), 'ran', 'restartPolicy Never holds over a power cut');
  const half = await until(vm, 'half', (p) =>
    p?.status?.containerStatuses?.some((c) => c.state?.running && c.restartCount > 0),
  );
  t.equal(await runsOf(half), 'ran', 'with OnFailure, what had succeeded does not run again');
  t.match(
    half.status?.containerStatuses?.find((c) => c.name === 'b'),
    { restartCount: 1 },
    'what ran does',
  );
  await nothingLeaked(t, [web, client, half]);
  await remove(vm, 'done', 'once', 'half');
});

/** Of the service; 0 when none runs. */
const mainPid = (): Promise<string> => vm.sh('systemctl show -P MainPID podwired');

t.test('podwired as a systemd service', async (t) => {
  const before = (await getPod(vm, 'web'))!;
  await vm.podwire('down');
  const unit = readFileSync(join(import.meta.dirname, '../../examples/podwired.service'), 'utf8');
  await vm.put('/etc/systemd/system/podwired.service', unit);
  const start = 'ExecStart=\nExecStart=/opt/podwire/bin/podwired --pod-pids-limit 200\n';
  await vm.put('/etc/systemd/system/podwired.service.d/flags.conf', `[Service]\n${start}`);
  await vm.sh('systemctl daemon-reload && systemctl enable --now podwired');
  await untilReady(vm);
  const adopted = await until(vm, 'web', isRunning);
  t.same(
    adopted.status?.containerStatuses,
    before.status?.containerStatuses,
    'it adopts the Pods of the daemon before',
  );
  await create(vm, pod('inside', [shell('a', sleeper)]));
  const inside = await until(vm, 'inside', isRunning);
  const id = containerIds(inside).a;
  for (const group of [`pod${uidOf(inside)}`, `pod${uidOf(inside)}/${id}`])
    t.same(await cgroup(vm, group, ['pids.max']), { 'pids.max': '200' }, `--pod-pids-limit, in ${group}`);

  const pids = {
    daemon: await mainPid(),
    conmon: await vm.sh(
      `cat /run/podwire/containers/${id}/conmon.pid 2>/dev/null || pgrep -f 'conmon.*${id}'`,
    ),
    pause: await vm.sh('cat /run/podwire/sandboxes/inside-*/pause.pid'),
  };
  const service = '/system.slice/podwired.service';
  t.match(await cgroupOf(vm, pids.daemon), service, 'podwired lives in the service');
  t.comment(`conmon lives in ${await cgroupOf(vm, pids.conmon)}, pause in ${await cgroupOf(vm, pids.pause)}`);
  t.match(await cgroupOf(vm, pids.pause), `/podwire/pod${uidOf(inside)}/pause`, 'pause lives in the Pod');
  const unchanged = async (what: string): Promise<void> => {
    const now = await until(vm, 'inside', isRunning);
    t.same(now.status?.containerStatuses, inside.status?.containerStatuses, `${what}: the container runs on`);
    const web = await until(vm, 'web', isRunning);
    t.same(web.status?.containerStatuses, before.status?.containerStatuses, `${what}: so do older ones`);
  };
  await vm.sh('systemctl restart podwired');
  await untilReady(vm);
  await unchanged('restart');
  await vm.sh('systemctl stop podwired');
  t.equal(await vm.sh(`ps -o comm= -p ${pids.conmon}`), 'conmon', 'stop: conmon goes on');
  t.match(await vm.sh(fetchPage(ipOf(adopted))), /Hello from Pod web/, 'stop: the web server goes on');
  await vm.sh('systemctl start podwired');
  await untilReady(vm);
  await unchanged('stop and start');
  const killed = await mainPid();
  await vm.sh('systemctl kill -s KILL --kill-whom=main podwired');
  await eventually('another podwired', mainPid, (pid) => pid !== '0' && pid !== killed);
  await untilReady(vm);
  await unchanged('kill -9, and systemd starts it again');
});

t.test('an orderly reboot: the service brings the Pods back by itself', async (t) => {
  const which = ['web', 'client', 'inside'];
  const before = await Promise.all(which.map((name) => getPod(vm, name)));
  t.comment(`shut down and booted in ${(await vm.reboot()).toFixed(1)} s`);
  await untilReady(vm);
  const pods: Pod[] = [];
  for (const [at, name] of which.entries()) pods.push(await until(vm, name, runsAnew(before[at])));
  t.same(pods.map(restarts), before.map(oneMore), 'restart counts have grown by one');
  await examplesWork(t, 'the page comes');
  await nothingLeaked(t, pods);
});

t.test('the same by runc', async (t) => {
  await vm.sh('systemctl disable --now podwired');
  t.match(await vm.out(['/opt/podwire/bin/podwire', 'up', '--runtime', 'runc']), /ready/);
  const resources = { requests: { cpu: '250m' }, limits: { cpu: '500m', memory: '48Mi' } };
  await create(vm, pod('byrunc', [shell('a', sleeper, { resources })]));
  const byRunc = await until(vm, 'byrunc', isRunning);
  const group = `pod${uidOf(byRunc)}/${containerIds(byRunc).a}`;
  t.same(
    await cgroup(vm, group, ['memory.max', 'cpu.max', 'cpu.weight']),
    { 'memory.max': `${48 << 20}`, 'cpu.max': '50000 100000', 'cpu.weight': '10' },
    'limits',
  );
  const { web } = await examplesWork(t, 'containers of crun and runc side by side');
  t.match(await inPod(vm, 'byrunc', fetchPage(ipOf(web))), /Hello from Pod web/);
  await vm.podwire('apply', '-f', '/opt/podwire/examples/limits.yaml');
  const dead = await until(vm, 'limits', (p) => p?.status?.phase === 'Failed');
  t.match(dead.status?.containerStatuses?.[0]?.state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
});

t.test('down --pods leaves nothing', async (t) => {
  t.not((await traces(vm)).length, 0, 'there is something to take down');
  const { exitCode, stdout, stderr } = await vm.podwire('down', '--pods');
  t.equal(exitCode, 0, stdout + stderr);
  t.same(await traces(vm), [], 'nothing is left');
  t.equal(await vm.sh('systemctl is-system-running || true'), 'running', 'systemd is content');
});
