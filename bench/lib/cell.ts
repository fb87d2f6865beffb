// The cell in which everything is measured: its own pid, mount and network namespaces, with its own /run, /var/lib and
// /dev/shm. When its first process dies, by whatever cause, the kernel ends all processes, mounts and links in it.
// Assumes root, util-linux and catatonit (its init, which reaps). cgroups and one folder outlive it: sweep() takes them.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { settleAll } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { type ExecSession, openSession } from '../../lib/exec/session.ts';
import { cgroupProcs, killCgroup, removeCgroup } from '../../lib/kernel/cgroup.ts';
import { bindMount, mountTmpfs } from '../../lib/kernel/mount.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';

// On disk, where every peer's state lives on a real machine; /tmp may be a tmpfs.
const parent = '/var/tmp';
const prefix = 'podwire-bench-';
const foldersOf = {
  /** Becomes /var/lib in the cell. */
  varLib: 'var-lib',
  tmp: 'tmp',
  image: 'image',
};

export interface CellPaths {
  readonly folder: string;
  /** Suffix for names that the whole machine shares (cgroups). */
  readonly id: string;
  readonly image: string;
  readonly tmp: string;
}

export function cellPaths(folder: string): CellPaths {
  const at = (name: string): string => join(folder, name);
  return {
    folder,
    id: basename(folder).slice(prefix.length),
    image: at(foldersOf.image),
    tmp: at(foldersOf.tmp),
  };
}

/** podwired's root: its run/ is a tmpfs in the cell, as /run is on a machine. */
export const podwireRoot = (folder: string): string => join(folder, 'podwire');

/** The cgroup that the bench hands to containerd as a kubelet would. Without a leading slash. */
export const peerCgroup = (id: string): string => `podwire-bench-${id}`;

/** A fresh folder, named after this process so that a later run knows whether it is in use. */
export function makeCellFolder(): string {
  const folder = mkdtempSync(join(parent, `${prefix}${process.pid}-`));
  for (const name of Object.values(foldersOf)) mkdirSync(join(folder, name), { mode: 0o755 });
  const { run: podwireRun, cgroup } = nodePaths(podwireRoot(folder));
  mkdirSync(podwireRun, { recursive: true });
  tag = cgroup;
  return folder;
}

/** Starts a program as the cell's first (after init). It dies when this process dies. */
export function enterCell(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ExecSession> {
  const namespaces = ['--net', '--mount', '--propagation', 'private', '--pid', '--fork'];
  return openSession({
    argv: [
      ...(['setpriv', '--pdeathsig', 'KILL', 'unshare'] as const),
      ...[...namespaces, '--kill-child=KILL', '--mount-proc', 'catatonit', '--'],
      ...argv,
    ],
    tty: false,
    stdin: false,
    env,
    cwd: '/',
  });
}

const pidNamespaceFile = (folder: string): string => join(folder, 'pid-namespace');

/** Inside: the mounts, and loopback up. What the machine has in the covered folders is not needed by any peer. */
export async function furnishCell(folder: string): Promise<void> {
  writeFileSync(pidNamespaceFile(folder), readlinkSync('/proc/self/ns/pid'));
  await mountTmpfs({ target: '/run', options: 'mode=0755,nosuid,nodev' });
  await mountTmpfs({ target: '/dev/shm', options: 'mode=1777,nosuid,nodev' });
  const { run: podwireRun } = nodePaths(podwireRoot(folder));
  await mountTmpfs({ target: podwireRun, options: 'mode=0755,nosuid,nodev' });
  await bindMount({ source: join(folder, foldersOf.varLib), target: '/var/lib' });
  // A sysfs shows the links of the network namespace in which it was mounted; all else of the machine's stays.
  const sysfs = join(folder, 'sysfs');
  mkdirSync(sysfs);
  await run({ argv: ['mount', '-t', 'sysfs', 'sysfs', sysfs] });
  for (const shown of ['class/net', 'devices/virtual/net'])
    await bindMount({ source: join(sysfs, shown), target: join('/sys', shown) });
  await run({ argv: ['ip', 'link', 'set', 'lo', 'up'] });
}

/** Outside: waits until no process is left in the cell. @returns pids that would not go in time */
export async function cellEmpty(folder: string, timeoutMs = 10_000): Promise<number[]> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const left = processesInCell(folder);
    if (left.length === 0 || performance.now() > end) return left;
    await sleep(50);
  }
}

export function processesInCell(folder: string): number[] {
  const namespace = ifThere(() => readFileSync(pidNamespaceFile(folder), 'utf8'));
  if (namespace === undefined) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && ifThere(() => readlinkSync(`/proc/${name}/ns/pid`)) === namespace)
    .map(Number);
}

/** What `read` gives; undefined where the file is gone or was never written. */
function ifThere(read: () => string): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Removes what outlives a cell. `libpod` tells whether podman's cgroup is ours to take. */
export async function sweep(folder: string, options: { libpod: boolean; keep: boolean }): Promise<void> {
  const { id } = cellPaths(folder);
  const groups = [nodePaths(podwireRoot(folder)).cgroup, peerCgroup(id)];
  if (options.libpod && cgroupProcs('libpod_parent').length === 0) groups.push('libpod_parent');
  await settleAll('clean up after the bench', [
    ...groups.flatMap((group) => [() => killCgroup(group), () => removeCgroup(group)]),
    () => (options.keep ? undefined : rmSync(folder, { recursive: true, force: true, maxRetries: 3 })),
  ]);
}

let tag = '';

/** Whether a name in a footprint carries one of this bench's own names. */
export const isOurs = (name: string): boolean =>
  name.includes(prefix) || name.includes('libpod') || (tag !== '' && name.includes(tag));

/** Folders of benches that were killed before they could sweep. */
export function staleCells(): string[] {
  return readdirSync(parent)
    .filter((name) => name.startsWith(prefix))
    .map((name) => join(parent, name))
    .filter((folder) => !inUse(folder) && processesInCell(folder).length === 0);
}

function inUse(folder: string): boolean {
  const pid = Number(cellPaths(folder).id.split('-')[0]);
  try {
    process.kill(pid, 0);
    return true; // it may be another program by now: then the folder waits for a later run
  } catch {
    return false;
  }
}
