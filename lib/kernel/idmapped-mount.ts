// Shows a file or folder at a second place with the owners that a user namespace gives it: idmapped mounts.
// Assumes root, Linux 5.12 (tmpfs: 6.3), and node:ffi: no program of Debian 12 makes such a mount. There is no way around
// what is missing, so it is told by name. Three system calls a mount, 20 microseconds.
import { closeSync, openSync } from 'node:fs';
import { constants, release } from 'node:os';
import { KernelError } from './errors.ts';
import { type Libc, loadLibc } from './libc.ts';
import { mountOf } from './mount.ts';

export interface MountCopy {
  readonly source: string;
  /** An empty folder, or a file where the source is none. */
  readonly target: string;
  /** File that holds a user namespace: the ids on disk become those that it gives them. Absent: as they are. */
  readonly userns?: string;
  /** With what is mounted below it (whose owners stay as they are). */
  readonly recursive?: boolean;
}

// Source: linux/mount.h, linux/fcntl.h.
const openTreeClone = 1;
const openTreeCloseOnExec = 0o2000000;
const atRecursive = 0x8000;
const atEmptyPath = 0x1000;
const moveFromDescriptor = 4;
const attributeIdmap = 0x100000n;
const propagatePrivate = 1n << 18n;
const propagateSlave = 1n << 19n;
const here = -100;

/** @throws KernelError that says what this machine lacks; nothing is mounted then */
export function copyMount(copy: MountCopy): void {
  const libc = loadLibc();
  if (!libc)
    throw new KernelError(
      'EOPNOTSUPP',
      copy.source,
      `${copy.source}: hostUsers: false needs idmapped mounts, which this Node cannot make (it has no node:ffi)`,
    );
  const recursive = copy.recursive ? atRecursive : 0;
  const tree = libc.openTree(here, copy.source, openTreeClone | openTreeCloseOnExec | recursive);
  if (tree < 0) throw failure(-tree, `${copy.source}: open_tree`);
  try {
    // A copy of a shared mount is its peer: what is unmounted below the one would vanish below the other, the machine's.
    setAttributes(libc, tree, {
      values: [0n, 0n, copy.recursive ? propagateSlave : propagatePrivate, 0n],
      flags: recursive,
      what: `${copy.source}: mount_setattr`,
    });
    if (copy.userns !== undefined) mapIds(libc, tree, { ...copy, userns: copy.userns });
    const moved = libc.moveMount(tree, '', copy.target, moveFromDescriptor);
    if (moved < 0) throw failure(-moved, `${copy.target}: move_mount`);
  } finally {
    closeSync(tree);
  }
}

function mapIds(libc: Libc, tree: number, { source, userns }: { source: string; userns: string }): void {
  const namespace = openSync(userns, 'r');
  try {
    const what = `${source}: hostUsers: false needs the owners of its files mapped`;
    const values = [attributeIdmap, 0n, 0n, BigInt(namespace)] as const;
    setAttributes(libc, tree, { values, flags: 0, what, because: () => cannotMap(source, what) });
  } finally {
    closeSync(namespace);
  }
}

interface Attributes {
  /** struct mount_attr: attr_set, attr_clr, propagation, userns_fd */
  readonly values: readonly [bigint, bigint, bigint, bigint];
  readonly flags: number;
  readonly what: string;
  /** Of EINVAL. */
  readonly because?: () => string;
}

function setAttributes(libc: Libc, tree: number, { values, flags, what, because }: Attributes): void {
  const attributes = new Uint8Array(new BigUint64Array(values).buffer);
  const errno = -libc.mountSetattr(tree, '', atEmptyPath | flags, attributes);
  if (errno <= 0) return;
  if (errno === constants.errno.ENOSYS)
    throw failure(errno, `${what}: Linux ${release()} is too old (5.12 can)`);
  throw failure(errno, errno === constants.errno.EINVAL && because ? because() : what);
}

function cannotMap(source: string, what: string): string {
  return `${what}, and Linux ${release()} cannot do that on ${mountOf(source).type} (ext4, xfs and btrfs: 5.15, tmpfs: 6.3)`;
}

const names = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

function failure(errno: number, what: string): KernelError {
  const name = names.get(errno) ?? `errno ${errno}`;
  const code = name === 'EINVAL' || name === 'EPERM' || name === 'ENOENT' ? name : 'EUNKNOWN';
  return new KernelError(code, what, `${what}: ${name}`);
}
