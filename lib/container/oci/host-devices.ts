// The machine's device files, for privileged containers. Assumes /dev as udev or the kernel fills it.
// One walk of /dev a privileged container, a millisecond; others never ask.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { OciDevice } from './types.ts';

// Terminals, shared memory and descriptors are the container's own. Source: containerd's list.
const skipped = new Set(['pts', 'shm', 'fd', 'mqueue', 'console', '.lxc', '.lxd-mounts', '.udev']);

/** Every character and block device below a folder. */
export function hostDevices(folder = '/dev'): OciDevice[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (skipped.has(entry.name)) return [];
    if (entry.isDirectory()) return hostDevices(path);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat
      ? [{ path, type: entry.isBlockDevice() ? 'b' : 'c', ...numbers(stat.rdev), ...owner(stat) } as const]
      : [];
  });
}

/** The kernel's packing of a device number in user space. Source: makedev(3). */
function numbers(device: number): { major: number; minor: number } {
  const number = BigInt(device);
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn)),
    minor: Number((number & 0xffn) | ((number >> 12n) & ~0xffn & 0xffffffffn)),
  };
}

const owner = (stat: { mode: number; uid: number; gid: number }) => ({
  fileMode: stat.mode & 0o777,
  uid: stat.uid,
  gid: stat.gid,
});
