// What the machine has left of what Pods share: memory, disk, processes. Thin: a few files of /proc, a statfs a disk.
// Assumes one machine a node; nodes that share one see the same. Well under a millisecond.
import { existsSync } from 'node:fs';
import { fileSystemFigures } from '../../kernel/disk.ts';
import { readIfThere } from '../../kernel/files.ts';
import type { Figure, Figures } from './thresholds.ts';

/** `nodefs`: where volumes and logs are. `imagefs`: where images and what containers write are. */
export function readFigures(folders: { readonly nodefs: string; readonly imagefs: string }): Figures {
  const meminfo = readIfThere('/proc/meminfo') ?? '';
  const kib = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1]) * 1024;
  const memory = { available: kib('MemAvailable'), capacity: kib('MemTotal') };
  return {
    ...(memory.available >= 0 ? { 'memory.available': memory } : {}),
    ...disk('nodefs', folders.nodefs),
    ...disk('imagefs', existsSync(folders.imagefs) ? folders.imagefs : folders.nodefs),
    ...pids(),
  };
}

function disk(name: 'nodefs' | 'imagefs', folder: string): Figures {
  const { capacity, available, inodes, inodesFree } = fileSystemFigures(folder);
  // A file system without a fixed number of files (btrfs) cannot run out of them.
  const files: Figure | undefined = inodes > 0 ? { available: inodesFree, capacity: inodes } : undefined;
  return {
    [`${name}.available`]: { available, capacity },
    ...(files ? { [`${name}.inodesFree`]: files } : {}),
  };
}

function pids(): Figures {
  const limits = ['pid_max', 'threads-max'].map((name) => Number(readIfThere(`/proc/sys/kernel/${name}`)));
  const capacity = Math.min(...limits);
  const used = Number(/\d+\/(\d+)/.exec(readIfThere('/proc/loadavg') ?? '')?.[1]);
  return capacity > 0 && used >= 0 ? { 'pid.available': { available: capacity - used, capacity } } : {};
}
