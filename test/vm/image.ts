// The disk, kernel and initrd of the test VMs: Debian 12 with systemd, its own kernel, and what podwire needs.
// Assumes root and a Debian mirror among apt's sources. No loop mount: mke2fs copies a folder into the file system.
// Made once in about 90 s, then kept under a hash of this recipe; a VM's own disk is a thin layer over it.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { parseAptSources } from './apt-sources.ts';

export interface VmImage {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
  /** The folder that the disk was filled from: other disks are made from copies of it. */
  readonly root: string;
  /** Private key of root's only way in. */
  readonly sshKey: string;
}

type Say = (text: string) => void;

const release = 'bookworm';

/** A machine that boots, by debootstrap. */
const machinePackages = [
  ...[
    'systemd-sysv',
    'udev',
    'dbus',
    'libpam-systemd',
    'kmod',
    'procps',
    'openssh-server',
    'ca-certificates',
  ],
  ...['linux-image-cloud-amd64', 'busybox-static', 'iproute2'],
];

/** What podwire needs, and what tests look with; by apt, for debootstrap cannot choose between alternatives. */
const morePackages = [
  ...[
    'crun',
    'runc',
    'conmon',
    'catatonit',
    'nftables',
    'skopeo',
    'umoci',
    'conntrack',
    'mount',
    'libatomic1',
  ],
  'wireguard-tools',
  ...['iputils-ping', 'netcat-openbsd', 'tcpdump', 'socat', 'iperf3', 'ethtool', 'sudo', 'rsync'],
];

/** Timers and services that would only take a test's time. */
const masked = [
  ...[
    'apt-daily.timer',
    'apt-daily-upgrade.timer',
    'dpkg-db-backup.timer',
    'fstrim.timer',
    'e2scrub_all.timer',
  ],
  ...['e2scrub_reap.service', 'systemd-pstore.service', 'systemd-timesyncd.service', 'getty@tty1.service'],
  ...[
    'sys-kernel-debug.mount',
    'sys-kernel-tracing.mount',
    'dev-hugepages.mount',
    'systemd-sysusers.service',
  ],
  ...['serial-getty@ttyS0.service', 'systemd-networkd-wait-online.service', 'nftables.service'],
];

const diskBytes = 4 * 1024 ** 3;

/** Where images and runs are kept. */
export const cacheFolder = (): string => process.env.PODWIRE_VM_CACHE ?? '/var/cache/podwire-test-vm';

/** The parts of an image in its folder. */
export const imageIn = (folder: string): VmImage => ({
  disk: join(folder, 'disk.img'),
  kernel: join(folder, 'vmlinuz'),
  initrd: join(folder, 'initrd'),
  root: join(folder, 'root'),
  sshKey: join(folder, 'ssh-key'),
});

/** Gives the folder of the image, and makes it when this recipe has not been made yet. */
export async function ensureImage(say: Say): Promise<string> {
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  const recipe = createHash('sha256')
    .update(readFileSync(import.meta.filename))
    .digest('hex')
    .slice(0, 12);
  const folder = join(cache, `image-${recipe}`);
  if (existsSync(folder)) {
    const now = new Date();
    utimesSync(folder, now, now);
    say(`image: ${folder} is there`);
    return folder;
  }
  removeOld(cache);
  const making = join(cache, `making-${process.pid}`);
  mkdirSync(making, { mode: 0o700 });
  try {
    await makeImage(making, say);
    if (!existsSync(folder)) renameSync(making, folder);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return folder;
}

const twoWeeksMs = 14 * 24 * 3600 * 1000;

/** Images of older recipes that nobody used for two weeks. */
function removeOld(cache: string): void {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (name.startsWith('image-') && Date.now() - statSync(path).mtimeMs > twoWeeksMs)
      rmSync(path, { recursive: true });
  }
}

async function makeImage(folder: string, say: Say): Promise<void> {
  const image = imageIn(folder);
  const { root } = image;
  const began = performance.now();
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(0)} s`;
  say(`image: Debian ${release} from ${mirror()}, once (one to two minutes) …`);
  await run({
    argv: [
      'debootstrap',
      '--variant=minbase',
      `--include=${machinePackages.join(',')}`,
      release,
      root,
      mirror(),
    ],
    env: proxies(),
    timeoutMs: 600_000,
  });
  await aptInstall(root);
  say(`image: packages are in (${seconds()})`);
  await run({
    argv: ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'podwire-test-vm', '-f', image.sshKey],
  });
  await configure(root, readFileSync(`${image.sshKey}.pub`, 'utf8'));
  const version = readdirSync(join(root, 'lib/modules'))[0] ?? '';
  copyFileSync(join(root, 'boot', `vmlinuz-${version}`), image.kernel);
  await makeInitrd(folder, root, version);
  slim(root);
  await makeDisk({ from: root, disk: image.disk, bytes: diskBytes, label: 'root' });
  rmSync(join(folder, 'initrd-root'), { recursive: true });
  say(`image: made in ${seconds()}, kept in ${cacheFolder()}`);
}

/** Adds packages in the unfinished root; nothing is started there. */
async function aptInstall(root: string): Promise<void> {
  const noStart = join(root, 'usr/sbin/policy-rc.d');
  writeFileSync(noStart, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  for (const file of ['etc/resolv.conf', 'etc/hosts']) copyFileSync(join('/', file), join(root, file));
  const apt = ['chroot', root, 'apt-get', '-y', '-q', '--no-install-recommends', 'install'] as const;
  await run({
    argv: [...apt, ...morePackages],
    env: { ...proxies(), DEBIAN_FRONTEND: 'noninteractive' },
    timeoutMs: 600_000,
  });
  rmSync(noStart);
  writeFileSync(join(root, 'etc/resolv.conf'), '');
}

const proxies = (): Record<string, string> =>
  Object.fromEntries(
    ['http_proxy', 'https_proxy', 'no_proxy'].flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );

/** The machine's own Debian mirror, unless told. @throws Error when apt knows none */
function mirror(): string {
  const told = process.env.PODWIRE_VM_MIRROR;
  if (told) return told;
  const files = globSync(['/etc/apt/sources.list', '/etc/apt/sources.list.d/*.{list,sources}']).sort();
  const found = files.flatMap((file) => parseAptSources(readFileSync(file, 'utf8')));
  const debian = found.find((source) => /\/debian\/?$/.test(source.uri));
  if (debian) return debian.uri;
  throw new Error('no Debian mirror among apt sources: set PODWIRE_VM_MIRROR to one');
}

/** An ext4 file system in a sparse file, filled from a folder. */
export async function makeDisk(disk: {
  readonly from: string;
  readonly disk: string;
  readonly bytes: number;
  readonly label: string;
}): Promise<void> {
  await run({ argv: ['truncate', '-s', String(disk.bytes), disk.disk] });
  const lazy = ['-E', 'lazy_itable_init=1,lazy_journal_init=1'];
  await run({
    argv: ['mke2fs', '-q', '-F', '-t', 'ext4', ...lazy, '-L', disk.label, '-d', disk.from, disk.disk],
    timeoutMs: 120_000,
  });
}

async function configure(root: string, publicKey: string): Promise<void> {
  const write = (path: string, text: string, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    chmodSync(join(root, path), mode);
  };
  write('etc/fstab', '/dev/vda / ext4 noatime 0 1\n/dev/vdb /opt/podwire ext4 ro,noatime,nofail 0 0\n');
  mkdirSync(join(root, 'opt/podwire'), { recursive: true });
  write('etc/hostname', 'vm\n');
  write('etc/hosts', '127.0.0.1 localhost\n127.0.1.1 vm\n');
  write('etc/machine-id', `${'5'.repeat(32)}\n`); // each VM is told its own
  write('etc/profile.d/podwire.sh', 'PATH=$PATH:/opt/podwire/bin\n');
  write(
    'etc/ssh/sshd_config.d/test.conf',
    'UseDNS no\nPermitRootLogin prohibit-password\nHostKey /etc/ssh/ssh_host_ed25519_key\nMaxSessions 50\n',
  );
  mkdirSync(join(root, 'root/.ssh'), { recursive: true, mode: 0o700 });
  write('root/.ssh/authorized_keys', publicKey, 0o600);
  // The harness waits for this word on the serial console.
  write(
    'etc/systemd/system/vm-ready.service',
    [
      '[Unit]\nDescription=Tell the harness that ssh answers\nAfter=ssh.service opt-podwire.mount\n',
      '[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo VM-READY > /dev/ttyS0"\n',
      '[Install]\nWantedBy=multi-user.target\n',
    ].join('\n'),
  );
  const systemctl = (...args: string[]) => run({ argv: ['chroot', root, 'systemctl', ...args] });
  // `ip=` on the kernel's command line becomes networkd's configuration.
  await systemctl('enable', 'systemd-networkd', 'systemd-network-generator', 'ssh', 'vm-ready');
  await systemctl('mask', ...masked);
}

const initScript = `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do $B insmod /modules/$m; done
n=0; while [ ! -b /dev/vda ] && [ $n -lt 500 ]; do $B usleep 10000; n=$((n+1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /root || exec $B sh
for d in proc sys dev; do $B mount --move /$d /root/$d; done
exec $B switch_root /root /sbin/init
`;

/** Just enough to mount the disk: busybox and the virtio block driver. */
async function makeInitrd(folder: string, root: string, version: string): Promise<void> {
  const at = join(folder, 'initrd-root');
  for (const name of ['bin', 'modules', 'proc', 'sys', 'dev', 'root'])
    mkdirSync(join(at, name), { recursive: true });
  copyFileSync(join(root, 'bin/busybox'), join(at, 'bin/busybox'));
  writeFileSync(join(at, 'init'), initScript);
  chmodSync(join(at, 'init'), 0o755);
  const { stdout } = await run({
    argv: [
      'chroot',
      root,
      'modprobe',
      '-a',
      '-S',
      version,
      '--show-depends',
      'virtio_pci',
      'virtio_blk',
      'ext4',
    ],
  });
  const modules = [...new Set([...stdout.matchAll(/^insmod (\S+)/gm)].map(([, path]) => path!))];
  for (const path of modules) copyFileSync(join(root, path), join(at, 'modules', basename(path)));
  writeFileSync(join(at, 'modules/order'), modules.map((path) => `${basename(path)}\n`).join(''));
  const list = readdirSync(at, { recursive: true }) as string[];
  await run({
    argv: ['cpio', '-o', '-H', 'newc', '--quiet', '-F', join(folder, 'initrd')],
    input: ['.', ...list].join('\n'),
    cwd: at,
  });
}

/** What no test reads. */
function slim(root: string): void {
  const contents = ['var/cache/apt/archives/*.deb', 'var/lib/apt/lists/*', 'boot/initrd.img*'];
  const folders = ['usr/share/doc/*', 'usr/share/man/*', 'usr/share/locale/*', 'usr/share/info/*'];
  for (const path of globSync([...contents, ...folders], { cwd: root }))
    rmSync(join(root, path), { recursive: true, force: true });
}
