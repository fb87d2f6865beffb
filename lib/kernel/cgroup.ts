// cgroups of Pods on v2, v1 and hybrid machines: find the hierarchies, make, limit, fill, kill and remove groups.
// Assumes root, and that a path is relative to the hierarchies' roots, e.g. `podwire/pod<uid>`. On v2 a group with
// children cannot hold processes: put a Pod's pause into a child. Each call is a few microsecond file writes.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { settleAll } from '../exec/errors.ts';
import { type Exec, run } from '../exec/exec.ts';
import { type CgroupWrite, type Limits, limitWrites } from './cgroup-values.ts';
import { KernelError, toKernelError } from './errors.ts';
import { readIfThere } from './files.ts';
import { type MountInfo, parseMountInfo, unmount } from './mount.ts';

export type { Limits } from './cgroup-values.ts';

export interface CgroupLayout {
  /** v2: one hierarchy with all controllers · v1: none of that kind · hybrid: both, the controllers on v1. */
  readonly mode: 'v2' | 'v1' | 'hybrid';
  /** Where cgroup2 is mounted. */
  readonly unified: string | undefined;
  /** v1 controller (or name=…) → where its hierarchy is mounted. */
  readonly v1: Readonly<Record<string, string>>;
}

const wantedV2 = ['cpu', 'memory', 'pids', 'cpuset', 'io', 'hugetlb'];
const wantedV1 = ['cpu', 'cpuacct', 'memory', 'pids', 'cpuset'];

// Without O_CREAT: asking cgroupfs to create a file that it does not have fails with EACCES, not with ENOENT.
const inPlace = { flag: 'r+' } as const;

let cached: CgroupLayout | undefined;

/** What this machine has; read once. @throws KernelError ENODEV when no cgroup hierarchy is mounted */
export function detectCgroups(): CgroupLayout {
  cached ??= layoutOf(parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')));
  return cached;
}

/** The layout that a list of mounts means. Pure. */
export function layoutOf(mounts: readonly MountInfo[]): CgroupLayout {
  const v1: Record<string, string> = {};
  let unified: string | undefined;
  for (const { target, type, superOptions } of mounts) {
    if (type === 'cgroup2') unified ??= target;
    if (type !== 'cgroup') continue;
    for (const word of superOptions)
      if (
        !['rw', 'ro', 'xattr', 'clone_children', 'noprefix'].includes(word) &&
        !word.startsWith('release_agent')
      )
        v1[word] ??= target;
  }
  const controllers = Object.keys(v1).filter((word) => !word.startsWith('name='));
  if (!unified && controllers.length === 0)
    throw new KernelError(
      'ENODEV',
      'cgroup',
      'no cgroup hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup',
    );
  if (controllers.length === 0) return { mode: 'v2', unified, v1: {} };
  return { mode: unified ? 'hybrid' : 'v1', unified, v1 };
}

/** What prepareCgroups did: folders that it made and mounted on. */
export interface CgroupPreparation {
  readonly mounted: readonly string[];
}

/**
 * On a hybrid machine crun refuses to run while the v2 hierarchy holds a controller: each is mounted as v1 instead.
 * Elsewhere it does nothing. @throws KernelError EBUSY when somebody uses that controller on v2
 */
export async function prepareCgroups(layout: CgroupLayout, exec: Exec = run): Promise<CgroupPreparation> {
  if (layout.mode !== 'hybrid' || !layout.unified) return { mounted: [] };
  const mounted: string[] = [];
  for (const controller of words(join(layout.unified, 'cgroup.controllers'))) {
    const target = join(layout.unified, '..', controller);
    try {
      mkdirSync(target, { recursive: true });
      await exec({ argv: ['mount', '-t', 'cgroup', '-o', controller, 'cgroup', target] });
    } catch (error) {
      throw toKernelError(error, `mount cgroup controller ${controller} as v1 at ${target}`);
    }
    mounted.push(target);
  }
  if (mounted.length > 0) cached = undefined;
  return { mounted };
}

/** Takes back what prepareCgroups did. Repeatable. */
export async function undoPrepareCgroups(done: CgroupPreparation, exec?: Exec): Promise<void> {
  cached = undefined;
  await settleAll(
    'unmount cgroup hierarchies',
    done.mounted.map((target) => async () => {
      await unmount(target, exec);
      rmdirSync(target);
    }),
  );
}

/** Makes a group and its ancestors, with the controllers switched on, and sets its limits. Repeatable. */
export function ensureCgroup(path: string, limits: Limits): void {
  const layout = detectCgroups();
  if (layout.mode === 'v2') ensureUnified(layout.unified!, path);
  else {
    const wanted = limits.hugepageLimits ? [...wantedV1, 'hugetlb'] : wantedV1;
    for (const controller of wanted) if (layout.v1[controller]) ensureV1(layout.v1[controller], path);
  }
  setCgroupLimits(path, limits);
}

/** Sets limits of a group that stands. @throws KernelError EBUSY when more is in use than memory is given */
export function setCgroupLimits(path: string, limits: Limits): void {
  const layout = detectCgroups();
  for (const write of limitWrites(limits, layout.mode === 'v2' ? 'v2' : 'v1'))
    writeLimit(layout, path, write);
}

/** Moves a process into a group, in every hierarchy where the group stands. */
export function attach(path: string, pid: number): void {
  const groups = groupsOf(path);
  if (groups.length === 0) throw new KernelError('ENOENT', path, `cgroup ${path}: not there`);
  for (const group of groups) writeFileSync(join(group, 'cgroup.procs'), `${pid}`, inPlace);
}

/**
 * Makes the next moves between groups cheap: the first after a pause waits 5-20 ms for an RCU grace period (the kernel's
 * threadgroup lock), those within some ms after it do not. Called when a Pod's start begins, the wait passes beside the
 * other work. It moves this process to where it is already, in a thread of the pool; it never fails.
 * Source: kernel/cgroup/cgroup.c (cgroup_attach_lock), kernel/rcu/sync.c.
 */
export async function warmCgroupMoves(): Promise<void> {
  try {
    // Read anew: somebody may have moved podwire, and a move to where it was would be a real one.
    const ownGroup = findOwnGroup(detectCgroups(), readFileSync('/proc/self/cgroup', 'utf8'));
    if (ownGroup) await writeFile(join(ownGroup, 'cgroup.procs'), `${process.pid}`, inPlace);
  } catch {
    // Only speed is lost.
  }
}

/** The folder of the group of a process, by its /proc/PID/cgroup; the unified one where there is one. Pure. */
export function findOwnGroup(layout: CgroupLayout, text: string): string | undefined {
  for (const line of text.split('\n').reverse()) {
    const [id, controllers, ...path] = line.split(':');
    const root = id === '0' ? layout.unified : layout.v1[controllers?.split(',')[0] ?? ''];
    if (root && path.length > 0) return join(root, path.join(':'));
  }
  return undefined;
}

/** Kills every process in a group and below it; resolves when none is left. Repeatable, absent is fine. */
export async function killCgroup(path: string): Promise<void> {
  const { mode, unified } = detectCgroups();
  const killFile = mode === 'v2' ? join(unified!, path, 'cgroup.kill') : undefined;
  for (const wait of retryWaits) {
    const pids = cgroupProcs(path);
    if (pids.length === 0) return;
    if (!killFile || !writeIfThere(killFile, '1')) for (const pid of pids) killQuietly(pid);
    await sleep(wait);
  }
  const left = cgroupProcs(path);
  if (left.length > 0)
    throw new KernelError(
      'EBUSY',
      path,
      `cgroup ${path}: processes ${left.join(', ')} do not die after SIGKILL`,
    );
}

/** Removes a group with everything below it, in every hierarchy. Repeatable; waits shortly for dying processes. */
export async function removeCgroup(path: string): Promise<void> {
  for (const group of groupsOf(path)) await removeTree(group);
}

/** Pids in a group and below it. */
export function cgroupProcs(path: string): number[] {
  const { unified, v1 } = detectCgroups();
  const order = [v1.pids, v1.memory, v1.freezer, v1.cpu, v1['name=systemd'], unified];
  const root = order.find((at) => at !== undefined && existsSync(join(at, path)));
  return root ? procsBelow(join(root, path)) : [];
}

/** How many processes of a group (and below it, on v2) the kernel killed for want of memory; 0 when it is gone. */
export function oomKills(path: string): number {
  const { mode, unified, v1 } = detectCgroups();
  const file =
    mode === 'v2'
      ? join(unified!, path, 'memory.events')
      : v1.memory && join(v1.memory, path, 'memory.oom_control');
  const text = file ? readIfThere(file, gone) : undefined;
  return Number(text?.match(/^oom_kill (\d+)$/m)?.[1] ?? 0);
}

// Milliseconds between tries: most processes are gone after the first; the sum is about a second.
const retryWaits = [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

function ensureUnified(root: string, path: string): void {
  let at = root;
  for (const name of path.split('/').filter(Boolean)) {
    const enabled = words(join(at, 'cgroup.subtree_control'));
    const offered = words(join(at, 'cgroup.controllers'));
    // One write each: a single one that the kernel refuses would refuse all of them.
    for (const controller of wantedV2)
      if (offered.includes(controller) && !enabled.includes(controller))
        writeIfAllowed(join(at, 'cgroup.subtree_control'), `+${controller}`);
    at = join(at, name);
    mkdirIfAbsent(at);
  }
}

function ensureV1(root: string, path: string): void {
  let at = root;
  for (const name of path.split('/').filter(Boolean)) {
    const parent = at;
    at = join(at, name);
    // A new cpuset is empty and takes no process until it has cpus and memory nodes: its parent's.
    if (mkdirIfAbsent(at) && existsSync(join(at, 'cpuset.cpus')))
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        writeFileSync(join(at, file), readFileSync(join(parent, file), 'utf8'), inPlace);
  }
}

function writeLimit(layout: CgroupLayout, path: string, write: CgroupWrite): void {
  const root = layout.mode === 'v2' ? layout.unified : layout.v1[write.controller];
  const file = root && join(root, path, write.file);
  try {
    if (!file) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    writeFileSync(file, write.value, inPlace);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new KernelError(
        'EOPNOTSUPP',
        path,
        `cgroup ${path}: this machine has no ${write.controller} controller for ${write.file}=${write.value}`,
        { cause: error },
      );
    const errno = code === 'EBUSY' || code === 'EINVAL' || code === 'EPERM' ? code : 'EUNKNOWN';
    throw new KernelError(errno, path, `cgroup ${path}: ${write.file}=${write.value}: ${code}`, {
      cause: error,
    });
  }
}

/** The folders of a group: one on v2, one a v1 hierarchy (and the unified one of a hybrid machine). */
function groupsOf(path: string): string[] {
  const { unified, v1 } = detectCgroups();
  const roots = new Set([...Object.values(v1), ...(unified ? [unified] : [])]);
  return [...roots].map((root) => join(root, path)).filter((group) => existsSync(group));
}

function procsBelow(group: string): number[] {
  // Zero stands for a process of a pid namespace that we cannot see.
  const own = words(join(group, 'cgroup.procs'))
    .map(Number)
    .filter((pid) => pid > 0);
  return [...own, ...childrenOf(group).flatMap(procsBelow)];
}

async function removeTree(group: string): Promise<void> {
  for (const child of childrenOf(group)) await removeTree(child);
  let busy: unknown;
  for (const wait of [0, ...retryWaits]) {
    if (wait > 0) await sleep(wait);
    try {
      return rmdirSync(group);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY') throw error;
      busy = error;
    }
  }
  throw new KernelError('EBUSY', group, `cgroup ${group}: still holds processes, not removed`, {
    cause: busy,
  });
}

function childrenOf(group: string): string[] {
  try {
    const entries = readdirSync(group, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(group, entry.name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

// A file that was opened before its group was removed answers ENODEV.
const gone = ['ENOENT', 'ENODEV'];

const words = (file: string): string[] => (readIfThere(file, gone) ?? '').split(/\s+/).filter(Boolean);

/** False when the file is not there: the kernel is older than it, or the group is gone. */
function writeIfThere(file: string, text: string): boolean {
  if (!existsSync(file)) return false;
  try {
    writeFileSync(file, text, inPlace);
    return true;
  } catch (error) {
    if (gone.includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** A controller that cannot be switched on (in use elsewhere) shows later as the missing file of a limit. */
function writeIfAllowed(file: string, text: string): void {
  try {
    writeFileSync(file, text, inPlace);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EBUSY' && code !== 'EINVAL' && code !== 'ENOENT' && code !== 'EOPNOTSUPP') throw error;
  }
}

/** True when this call made it. */
function mkdirIfAbsent(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o755 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
