// What a container sees mounted: the kernel's file systems, the Pod's files, what must be hidden, its volumes. Pure.
// Assumes sources exist. The defaults are those of containerd's CRI plugin. Order matters: later covers earlier.
import { posix } from 'node:path';
import type { Mount } from '../cri.ts';
import type { OciMount } from './types.ts';

export interface MountInput {
  readonly privileged: boolean;
  readonly mounts: readonly Mount[];
  /** The Pod's own files, made by the sandbox. */
  readonly files: {
    readonly lockedOptions?: readonly string[];
    readonly hostsPath: string;
    readonly resolvConfPath: string;
    readonly hostnamePath: string;
    readonly shmPath: string;
  };
  /** Folders of the machine's root that the container must not read. */
  readonly hidden: readonly HiddenPath[];
}

export interface HiddenPath {
  readonly path: string;
  /** True: an empty folder to work in stands in its place; false: an empty one that cannot be written. */
  readonly writable: boolean;
}

/** All mounts in the order in which they are made. A volume at the place of a default takes that place. */
export function containerMounts(input: MountInput): OciMount[] {
  const volumes = input.mounts.map(volumeMount);
  const taken = new Set(volumes.map((mount) => mount.destination));
  const isFree = (mount: OciMount): boolean => !taken.has(mount.destination);
  const machine = [...kernelMounts(input.privileged), ...input.hidden.map(hiding)];
  // What is inside another must come after it: a volume on /etc or /dev does not cover the Pod's own files there.
  const depth = (mount: OciMount): number => mount.destination.split('/').filter(Boolean).length;
  const asked = [...podFiles(input).filter(isFree), ...volumes];
  return [...machine.filter(isFree), ...asked.sort((a, b) => depth(a) - depth(b))];
}

function kernelMounts(privileged: boolean): OciMount[] {
  const access = privileged ? 'rw' : 'ro';
  return [
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
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', access] },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['nosuid', 'noexec', 'nodev', 'relatime', access],
    },
  ];
}

function hiding({ path, writable }: HiddenPath): OciMount {
  const options = [
    'nosuid',
    'nodev',
    'mode=755',
    ...(writable ? ['size=65536k'] : ['noexec', 'ro', 'size=4k']),
  ];
  return { destination: path, type: 'tmpfs', source: 'tmpfs', options };
}

/**
 * The files are read-only, though Kubernetes lets containers write /etc/hosts: they lie on the machine's /run, and a
 * container that may write one could fill it up, for all.
 */
function podFiles({ files }: MountInput): OciMount[] {
  const bind = (destination: string, source: string, options: string[]): OciMount => ({
    destination,
    type: 'bind',
    source,
    options: ['rbind', 'rprivate', ...options],
  });
  const readOnly = ['ro', ...(files.lockedOptions ?? [])];
  return [
    // Told again: crun forgets what the mount itself has. The machine's own may be executed from.
    bind('/dev/shm', files.shmPath, [
      'rw',
      'nosuid',
      'nodev',
      ...(files.shmPath === '/dev/shm' ? [] : ['noexec']),
    ]),
    bind('/etc/hosts', files.hostsPath, readOnly),
    bind('/etc/hostname', files.hostnamePath, readOnly),
    bind('/etc/resolv.conf', files.resolvConfPath, readOnly),
  ];
}

const propagations = { private: 'rprivate', rslave: 'rslave', rshared: 'rshared' } as const;

function volumeMount(mount: Mount): OciMount {
  const access = mount.readOnly ? 'ro' : 'rw';
  return {
    destination: posix.resolve('/', mount.containerPath),
    type: 'bind',
    source: mount.hostPath,
    options: [
      'rbind',
      propagations[mount.propagation ?? 'private'],
      mount.recursiveReadOnly ? 'rro' : access,
      ...(mount.lockedOptions ?? []),
    ],
  };
}

/** The root's propagation: as wide as the widest that a volume asks for, or nothing could reach the volume. */
export function rootPropagation(mounts: readonly Mount[]): string {
  if (mounts.some((mount) => mount.propagation === 'rshared')) return 'rshared';
  return mounts.some((mount) => mount.propagation === 'rslave') ? 'rslave' : 'rprivate';
}
