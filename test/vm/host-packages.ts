// What tests with VMs need of this machine, and getting it: qemu, debootstrap, a few small tools; for Vagrant its own.
// Assumes Debian or Ubuntu with apt for the installation; elsewhere it only tells what is missing.
// Costs nothing when everything is there: it looks at files.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';

export interface HostPackage {
  readonly name: string;
  /** A program by name, or a file by its whole path, that shows it is there. */
  readonly program: string;
}

/** For VMs by qemu alone. */
export const vmPackages: readonly HostPackage[] = [
  { name: 'qemu-system-x86', program: 'qemu-system-x86_64' },
  { name: 'qemu-utils', program: 'qemu-img' },
  { name: 'debootstrap', program: 'debootstrap' },
  { name: 'cpio', program: 'cpio' },
  { name: 'openssh-client', program: 'ssh' },
  { name: 'e2fsprogs', program: 'mke2fs' },
  { name: 'iproute2', program: 'ip' },
  { name: 'util-linux', program: 'setpriv' },
];

/** For `vagrant up` with libvirt, without the packages that would start libvirt on this machine. */
export const vagrantPackages: readonly HostPackage[] = [
  ...vmPackages,
  { name: 'vagrant', program: 'vagrant' },
  { name: 'vagrant-libvirt', program: '/usr/share/vagrant-plugins/plugins.d/vagrant-libvirt.json' },
  { name: 'libvirt-daemon', program: 'libvirtd' },
  { name: 'libvirt-daemon-driver-qemu', program: 'virt-qemu-run' },
  { name: 'libvirt-clients', program: 'virsh' },
  { name: 'dnsmasq-base', program: 'dnsmasq' },
  { name: 'iptables', program: 'iptables' },
  { name: 'rsync', program: 'rsync' },
];

/** Installs what is missing. Gives why tests with VMs cannot run here, or undefined when they can. */
export async function prepareHost(
  needed: readonly HostPackage[],
  say: (text: string) => void,
): Promise<string | undefined> {
  if (process.arch !== 'x64') return `the test VM is an x86-64 machine, this one is ${process.arch}`;
  if (process.getuid?.() !== 0) return 'they need root (sudo)';
  const missing = needed.filter((item) => !onPath(item.program));
  if (missing.length === 0) return undefined;
  const names = missing.map((item) => item.name);
  if (!onPath('apt-get')) return `these programs are missing: ${programs(missing)}`;
  say(`Debian packages: installing ${names.join(' ')} …`);
  const apt = ['apt-get', '-y', '-q', '-o', 'DPkg::Lock::Timeout=180'] as const;
  const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_MODE: 'l' };
  const install = [...apt, 'install', '--no-install-recommends', ...names] as const;
  try {
    await run({ argv: install, env, timeoutMs: 300_000 });
  } catch {
    say('  that failed: apt-get update, then once more …');
    try {
      await run({ argv: [...apt, 'update'], env, timeoutMs: 120_000 });
      await run({ argv: install, env, timeoutMs: 300_000 });
    } catch (error) {
      say(`  ${error instanceof Error ? error.message.slice(-600) : error}`);
    }
  }
  const still = missing.filter((item) => !onPath(item.program));
  return still.length === 0 ? undefined : `${programs(still)} could not be installed`;
}

const programs = (items: ReadonlyArray<{ program: string }>): string =>
  items.map((item) => item.program).join(', ');

const onPath = (program: string): boolean =>
  (program.startsWith('/') && existsSync(program)) ||
  [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'].some(
    (folder) => folder !== '' && existsSync(join(folder, program)),
  );
