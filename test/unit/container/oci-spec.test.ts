// config.json: one golden text for the plain container, and what each wish changes in it.
import t from 'tap';
import { defaultCapabilities } from '../../../lib/container/oci/capabilities.ts';
import type { ContainerConfig, SecurityConfig } from '../../../lib/container/cri.ts';
import { parseImageConfig } from '../../../lib/container/image/config.ts';
import {
  buildOciSpec,
  commandLine,
  type SandboxMounts,
  type SpecInput,
} from '../../../lib/container/oci/spec.ts';
import { stopSignalNumber } from '../../../lib/container/oci/stop-signal.ts';

const capabilities = defaultCapabilities.map((name) => `CAP_${name}`);
const security: SecurityConfig = {
  privileged: false,
  readOnlyRootFilesystem: false,
  allowPrivilegeEscalation: true,
  runAsNonRoot: false,
  supplementalGroups: [],
  capabilitiesAdd: [],
  capabilitiesDrop: [],
  seccomp: 'RuntimeDefault',
};
const config: ContainerConfig = {
  name: 'web',
  attempt: 0,
  image: 'nginx',
  env: [{ name: 'A', value: '1=2' }],
  mounts: [],
  security,
  resources: {},
  tty: false,
  stdin: false,
  logPath: '/log',
  hash: 'h',
};
const sandbox: SandboxMounts = {
  id: 'pod-1',
  hostNetwork: false,
  netnsPath: '/run/netns/pod-1',
  hostIpc: false,
  ipcPath: '/s/ipc',
  utsPath: '/s/uts',
  hostPid: false,
  hostsPath: '/s/hosts',
  resolvConfPath: '/s/resolv.conf',
  hostnamePath: '/s/hostname',
  shmPath: '/s/shm',
  cgroupParent: 'podwire/podx',
};
const input: SpecInput = {
  config,
  image: parseImageConfig({
    config: { Entrypoint: ['/entry'], Cmd: ['run'], Env: ['PATH=/bin', 'B=image', 'A=image'] },
  }),
  sandbox,
  hostname: 'web-0',
  rootfsPath: '/r',
  cgroupsPath: '/podwire/podx/c',
  cgroupVersion: 'v2',
  user: { uid: 1, gid: 2, additionalGids: [3] },
  capabilities,
  devices: [],
  hidden: [],
  annotations: { a: 'b' },
};

t.test('the plain container', async (t) => {
  t.same(buildOciSpec(input), {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 1, gid: 2, additionalGids: [3] },
      args: ['/entry', 'run'],
      env: ['PATH=/bin', 'HOSTNAME=web-0', 'B=image', 'A=1=2'],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: false,
    },
    root: { path: '/r', readonly: false },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      {
        destination: '/dev/mqueue',
        type: 'mqueue',
        source: 'mqueue',
        options: ['nosuid', 'noexec', 'nodev'],
      },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
      {
        destination: '/dev/shm',
        type: 'bind',
        source: '/s/shm',
        options: ['rbind', 'rprivate', 'rw', 'nosuid', 'nodev', 'noexec'],
      },
      { destination: '/etc/hosts', type: 'bind', source: '/s/hosts', options: ['rbind', 'rprivate', 'ro'] },
      {
        destination: '/etc/hostname',
        type: 'bind',
        source: '/s/hostname',
        options: ['rbind', 'rprivate', 'ro'],
      },
      {
        destination: '/etc/resolv.conf',
        type: 'bind',
        source: '/s/resolv.conf',
        options: ['rbind', 'rprivate', 'ro'],
      },
    ],
    annotations: { a: 'b' },
    linux: {
      namespaces: [
        { type: 'pid' },
        { type: 'network', path: '/run/netns/pod-1' },
        { type: 'ipc', path: '/s/ipc' },
        { type: 'uts', path: '/s/uts' },
        { type: 'mount' },
        { type: 'cgroup' },
      ],
      cgroupsPath: '/podwire/podx/c',
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      maskedPaths: [
        '/proc/acpi',
        '/proc/asound',
        '/proc/interrupts',
        '/proc/kcore',
        '/proc/keys',
        '/proc/latency_stats',
        '/proc/sched_debug',
        '/proc/scsi',
        '/proc/timer_list',
        '/proc/timer_stats',
        '/sys/devices/virtual/powercap',
        '/sys/firmware',
      ],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
      rootfsPropagation: 'rprivate',
    },
  });
});

const build = (config: Partial<ContainerConfig>, more: Partial<SpecInput> = {}) =>
  buildOciSpec({ ...input, ...more, config: { ...input.config, ...config } });
const secure = (more: Partial<SecurityConfig>) => ({ security: { ...security, ...more } });
const mountAt = (spec: ReturnType<typeof build>, path: string) =>
  spec.mounts.filter((mount) => mount.destination === path);

t.test('limits', async (t) => {
  const resources = { cpuShares: 512, cpuQuota: 50_000, memoryLimit: 1 << 20, pidsLimit: 9 };
  const v2 = build({ resources }).linux.resources;
  t.match(v2, {
    cpu: { shares: 512, quota: 50_000, period: 100_000 },
    memory: { limit: 1 << 20 },
    pids: { limit: 9 },
  });
  t.same(v2.unified, { 'memory.oom.group': '1' });
  t.equal(build({ resources }, { cgroupVersion: 'v1' }).linux.resources.unified, undefined);
});

t.test('privileged', async (t) => {
  const device = { path: '/dev/x', type: 'c', major: 1, minor: 2, fileMode: 0o600, uid: 0, gid: 0 } as const;
  const spec = build(secure({ privileged: true }), { devices: [device] });
  t.same(spec.linux.maskedPaths, []);
  t.same(spec.linux.readonlyPaths, []);
  t.same(spec.linux.devices, [device]);
  t.same(spec.linux.resources.devices, [{ allow: true, access: 'rwm' }]);
  for (const path of ['/sys', '/sys/fs/cgroup']) t.ok(mountAt(spec, path)[0]!.options.includes('rw'), path);
  t.notOk(spec.linux.namespaces.some(({ type }) => type === 'cgroup'));
});

t.test('namespaces of the machine and of the Pod', async (t) => {
  const { netnsPath, ipcPath, utsPath, ...rest } = sandbox;
  const host = build(
    {},
    { sandbox: { ...rest, hostNetwork: true, hostIpc: true, hostPid: true }, cgroupVersion: 'v1' },
  );
  t.same(host.linux.namespaces, [{ type: 'mount' }]);
  const shared = build({}, { sandbox: { ...sandbox, pidPath: '/s/pid' } });
  t.same(shared.linux.namespaces[0], { type: 'pid', path: '/s/pid' });
});

t.test('volumes: after what they lie in, in place of defaults, with their propagation', async (t) => {
  const spec = build({
    mounts: [
      { hostPath: '/h/deep', containerPath: '/data/a/b', readOnly: true },
      { hostPath: '/h/data', containerPath: '/data/', readOnly: false, propagation: 'rslave' },
      { hostPath: '/h/hosts', containerPath: '/etc/hosts', readOnly: false },
      { hostPath: '/h/up', containerPath: '/x/../y', readOnly: false },
    ],
  });
  const asked = spec.mounts.filter(({ source }) => source.startsWith('/h/'));
  t.same(
    asked.map(({ destination, source, options }) => [destination, source, ...options]),
    [
      ['/data', '/h/data', 'rbind', 'rslave', 'rw'],
      ['/y', '/h/up', 'rbind', 'rprivate', 'rw'],
      ['/etc/hosts', '/h/hosts', 'rbind', 'rprivate', 'rw'],
      ['/data/a/b', '/h/deep', 'rbind', 'rprivate', 'ro'],
    ],
  );
  t.equal(mountAt(spec, '/etc/hosts').length, 1);
  t.equal(spec.linux.rootfsPropagation, 'rslave');
  const shared = { hostPath: '/h', containerPath: '/s', readOnly: false, propagation: 'rshared' } as const;
  t.equal(build({ mounts: [shared] }).linux.rootfsPropagation, 'rshared');
  const wide = ['/etc', '/dev'].map((at) => ({ hostPath: `/h${at}`, containerPath: at, readOnly: false }));
  const places = build({ mounts: wide }).mounts.map(({ destination }) => destination);
  const isAfter = (one: string, other: string) => t.ok(places.indexOf(one) > places.indexOf(other), one);
  isAfter('/etc/hosts', '/etc');
  isAfter('/etc/resolv.conf', '/etc');
  isAfter('/dev/shm', '/dev');
});

t.test("what is hidden comes before the Pod's own files and volumes", async (t) => {
  const hidden = [
    { path: '/run', writable: true },
    { path: '/var/lib/podwire', writable: false },
  ];
  const spec = build(
    { mounts: [{ hostPath: '/h', containerPath: '/run/secrets', readOnly: true }] },
    { hidden },
  );
  const places = spec.mounts.map(({ destination }) => destination);
  t.ok(places.indexOf('/run') < places.indexOf('/etc/resolv.conf'));
  t.ok(places.indexOf('/run') < places.indexOf('/run/secrets'));
  t.notOk(mountAt(spec, '/run')[0]!.options.includes('ro'));
  t.ok(mountAt(spec, '/var/lib/podwire')[0]!.options.includes('ro'));
});

t.test('other wishes', async (t) => {
  t.equal(build(secure({ allowPrivilegeEscalation: false })).process.noNewPrivileges, true);
  const readOnly = build(secure({ readOnlyRootFilesystem: true }));
  t.equal(readOnly.root.readonly, true);
  const tty = build({ tty: true });
  t.equal(tty.process.terminal, true);
  t.ok(tty.process.env.includes('TERM=xterm'));
  t.equal(build({ workingDir: '/w' }).process.cwd, '/w');
  t.equal(build({}, { image: { ...input.image, WorkingDir: '/i' } }).process.cwd, '/i');
});

const image = { ...input.image, Entrypoint: ['e'], Cmd: ['c'] };
const lines = [
  { name: 'of the image', ask: {}, want: ['e', 'c'] },
  { name: 'command drops CMD', ask: { command: ['x'] }, want: ['x'] },
  { name: 'args replace CMD', ask: { args: ['y'] }, want: ['e', 'y'] },
  { name: 'both', ask: { command: ['x'], args: ['y'] }, want: ['x', 'y'] },
  { name: 'empty lists are none', ask: { command: [], args: [] }, want: ['e', 'c'] },
];
for (const c of lines)
  t.test(`command line: ${c.name}`, async (t) =>
    t.same(commandLine({ image: 'i', ...c.ask }, image), c.want),
  );
t.test('no command anywhere', async (t) => {
  t.throws(() => commandLine({ image: 'scratchy' }, parseImageConfig({})), {
    message: /no command: the image scratchy/,
  });
});

for (const [text, want] of [
  ['', 15],
  ['SIGQUIT', 3],
  ['quit', 3],
  ['9', 9],
  ['SIGRTMIN+3', 37],
  ['RTMAX-1', 63],
  ['nonsense', 15],
  ['0', 15],
  ['65', 15],
] as const)
  t.test(`stop signal ${JSON.stringify(text)}`, async (t) => t.equal(stopSignalNumber(text), want));

t.test('an image config of another shape names the field', async (t) => {
  t.throws(() => parseImageConfig({ config: { Cmd: 'sh' } }), { message: /config\.Cmd/ });
  t.throws(() => parseImageConfig({ config: { User: 5 } }), { message: /config\.User/ });
});

t.test('a user namespace of its own', async (t) => {
  const userns = { path: '/s/user', ids: { first: 131072, length: 65536 } };
  const { linux } = buildOciSpec({ ...input, sandbox: { ...sandbox, userns } });
  const mappings = [{ containerID: 0, hostID: 131072, size: 65536 }];
  t.same([linux.uidMappings, linux.gidMappings], [mappings, mappings]);
  t.same(linux.namespaces[0], { type: 'user', path: '/s/user' });
  const { linux: plain } = buildOciSpec(input);
  t.notOk('uidMappings' in plain || 'gidMappings' in plain);
  t.notOk(plain.namespaces.some(({ type }) => type === 'user'));
});

t.test('an unmasked /proc', async (t) => {
  const { linux } = buildOciSpec({
    ...input,
    config: { ...config, security: { ...security, unmaskedProc: true } },
  });
  t.same([linux.maskedPaths, linux.readonlyPaths], [[], []]);
});

t.test('what a mount in a user namespace may not lose', async (t) => {
  const mount = { hostPath: '/v', containerPath: '/v', readOnly: true, lockedOptions: ['nosuid', 'nodev'] };
  const { mounts } = buildOciSpec({ ...input, config: { ...config, mounts: [mount] } });
  const volume = mounts.find(({ destination }) => destination === '/v');
  t.same(volume?.options, ['rbind', 'rprivate', 'ro', 'nosuid', 'nodev']);
  const { mounts: own } = buildOciSpec({ ...input, sandbox: { ...sandbox, lockedOptions: ['nodev'] } });
  const hosts = own.find(({ destination }) => destination === '/etc/hosts');
  t.same(hosts?.options, ['rbind', 'rprivate', 'ro', 'nodev']);
});
