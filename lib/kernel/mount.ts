// Mounts of the machine: overlay, tmpfs, bind; and taking them away, as often as one likes.
// Assumes root, and that paths were made by us. By system call where Node can (syscall.ts), else by `mount`.
// A mount costs 0.2 ms by call and 3-4 ms by program; the list is one read of /proc/self/mountinfo.
import { readFileSync, realpathSync } from 'node:fs';
import { constants } from 'node:os';
import { type Exec, run } from '../exec/exec.ts';
import { settleAll } from '../exec/errors.ts';
import { type Errno, isAbsent, KernelError, toKernelError } from './errors.ts';
import { type Syscalls, syscalls } from './syscall.ts';

// Source: mount(2), linux/mount.h.
const flagBits = {
  ro: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  remount: 32,
  bind: 4096,
  move: 8192,
  rec: 16384,
} as const;
type Flag = keyof typeof flagBits;
const detach = 2;
const noFollow = 8;

export interface OverlaySpec {
  /** Read-only layers, the topmost first. */
  readonly lower: readonly [string, ...string[]];
  readonly upper: string;
  readonly work: string;
  readonly target: string;
}

/** The data of an overlay mount. @throws KernelError EINVAL when a path holds what overlayfs takes for syntax. */
export function overlayData(spec: OverlaySpec): string {
  for (const path of [...spec.lower, spec.upper, spec.work])
    if (/[,:\\"]/.test(path))
      throw new KernelError(
        'EINVAL',
        path,
        `${path}: overlay cannot use a path with a comma, colon, quote or backslash`,
      );
  return `lowerdir=${spec.lower.join(':')},upperdir=${spec.upper},workdir=${spec.work}`;
}

/**
 * Mounts an overlay. It is `volatile` (no sync of the upper layer, kernel 5.10) where the kernel knows that: the upper
 * layer dies with its container, and an unmount would otherwise wait for the disk. It can therefore be mounted once only.
 */
export async function mountOverlay(spec: OverlaySpec, exec?: Exec): Promise<void> {
  const data = overlayData(spec);
  const mountWith = (more: string): Promise<void> =>
    mount({ source: 'overlay', target: spec.target, type: 'overlay', flags: [], data: data + more }, exec);
  try {
    await mountWith(',volatile');
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'EINVAL') throw error;
    await mountWith('');
  }
}

/** Mounts a tmpfs; `options` in the words of tmpfs(5), e.g. `mode=0755,size=64m`, and ro, nosuid, nodev, noexec. */
export async function mountTmpfs(spec: { target: string; options: string }, exec?: Exec): Promise<void> {
  const words = spec.options.split(',').filter((word) => word !== '');
  const flags = words.filter((word): word is Flag => word in flagBits);
  const data = words.filter((word) => !(word in flagBits)).join(',');
  await mount({ source: 'tmpfs', target: spec.target, type: 'tmpfs', flags, data }, exec);
}

/** Shows `source` (file or folder) at `target` too. */
export async function bindMount(
  spec: { source: string; target: string; readOnly?: boolean },
  exec?: Exec,
): Promise<void> {
  const bind = { source: spec.source, target: spec.target, type: 'none', data: '' };
  await mount({ ...bind, flags: ['bind'] }, exec);
  if (!spec.readOnly) return;
  try {
    // The kernel ignores "ro" on the first bind; a remount sets it.
    await mount({ ...bind, flags: ['remount', 'bind', 'ro'] }, exec);
  } catch (error) {
    await unmount(spec.target, exec);
    throw error;
  }
}

/** Shows a folder with all that is mounted below it at `target` too. */
export async function bindTree(spec: { source: string; target: string }, exec?: Exec): Promise<void> {
  await mount({ ...spec, type: 'none', flags: ['bind', 'rec'], data: '' }, exec);
}

/** Takes a mount, with all below it, from one place to another. */
export async function moveMount(spec: { source: string; target: string }, exec?: Exec): Promise<void> {
  await mount({ ...spec, type: 'none', flags: ['move'], data: '' }, exec);
}

/** A kernel file system as this process' namespaces see it. */
export async function mountFresh(
  { type, target }: { type: 'proc' | 'sysfs'; target: string },
  exec?: Exec,
): Promise<void> {
  await mount({ source: type, target, type, flags: ['nosuid', 'nodev', 'noexec'], data: '' }, exec);
}

/** Unmounts the topmost mount at `target`. Repeatable: not mounted is success. A busy one is detached lazily. */
export async function unmount(target: string, exec?: Exec): Promise<void> {
  try {
    await unmountWith(target, { lazy: false }, exec);
  } catch (error) {
    // EINVAL from the call and "not mounted" from the program mean the same: there is no mount here.
    if (isAbsent(error) || (error instanceof KernelError && error.code === 'EINVAL')) return;
    if (!(error instanceof KernelError) || error.code !== 'EBUSY') throw error;
    await unmountWith(target, { lazy: true }, exec);
  }
}

/** Takes the topmost mount at `target` out of sight, with all below it, whoever uses it. Repeatable: not mounted is success. */
export async function detachTree(target: string, exec?: Exec): Promise<void> {
  try {
    await unmountWith(target, { lazy: true }, exec);
  } catch (error) {
    if (!isAbsent(error) && !(error instanceof KernelError && error.code === 'EINVAL')) throw error;
  }
}

/** Unmounts everything at and below a folder, the deepest first, going on past failures. */
export async function unmountAll(prefix: string, exec?: Exec): Promise<void> {
  const targets = listMounts(prefix).reverse();
  await settleAll(
    `unmount below ${prefix}`,
    targets.map((target) => () => unmount(target, exec)),
  );
}

/** Mount points at and below a folder, in the order they were mounted; twice when mounted twice. */
export function listMounts(prefix: string): string[] {
  return parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'))
    .map((entry) => entry.target)
    .filter((target) => target === prefix || target.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`));
}

export interface MountInfo {
  readonly target: string;
  readonly type: string;
  /** Options of this mount of it, e.g. nosuid. */
  readonly options: readonly string[];
  /** Whether what is mounted below it is seen elsewhere (shared), or only what comes from elsewhere here (slave). */
  readonly propagation: 'shared' | 'slave' | 'private';
  /** Options of the file system itself, e.g. the controllers of a cgroup hierarchy. */
  readonly superOptions: readonly string[];
}

/** The lines of /proc/PID/mountinfo. Source: proc(5). Pure. */
export function parseMountInfo(text: string): MountInfo[] {
  const entries: MountInfo[] = [];
  for (const line of text.split('\n')) {
    const [head, tail] = line.split(' - ', 2);
    const [, , , , target, options, ...optional] = head?.split(' ') ?? [];
    const [type, , superOptions] = tail?.split(' ') ?? [];
    if (target && type)
      entries.push({
        target: unescapeOctal(target),
        type,
        options: options?.split(',') ?? [],
        propagation: propagationOf(optional),
        superOptions: superOptions?.split(',') ?? [],
      });
  }
  return entries;
}

function propagationOf(optional: readonly string[]): MountInfo['propagation'] {
  if (optional.some((field) => field.startsWith('shared:'))) return 'shared';
  return optional.some((field) => field.startsWith('master:')) ? 'slave' : 'private';
}

/** The mount that a path lies on. @throws ENOENT as node:fs */
export function mountOf(path: string): MountInfo {
  const real = realpathSync(path);
  const holds = ({ target }: MountInfo): boolean =>
    target === '/' || real === target || real.startsWith(`${target}/`);
  let found: MountInfo | undefined;
  // Of two at one place the later one is on top.
  for (const entry of parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8')))
    if (holds(entry) && entry.target.length >= (found?.target.length ?? 0)) found = entry;
  if (!found) throw new KernelError('ENOENT', path, `${path}: no mount holds it`);
  return found;
}

/** Space, tab, newline and backslash stand as \040 and so on; the name's other bytes are as they are. */
const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

interface MountCall {
  readonly source: string;
  readonly target: string;
  readonly type: string;
  readonly flags: readonly Flag[];
  readonly data: string;
}

/** A caller that brings an `exec` of its own (a test) gets the programs. */
const callsFor = (exec: Exec | undefined): Syscalls | undefined =>
  exec === undefined || exec === run ? syscalls() : undefined;

async function mount(call: MountCall, exec: Exec | undefined): Promise<void> {
  const { source, target, type, flags, data } = call;
  const direct = callsFor(exec);
  if (direct) {
    const bits = flags.reduce((sum, flag) => sum | flagBits[flag], 0);
    return throwErrno(direct.mount(source, target, type, bits, data), `mount ${type} at ${target}`);
  }
  const words = flags.includes('rec') ? ['rbind'] : flags;
  const options = [...words, ...(data === '' ? [] : [data])].join(',');
  const optional = options === '' ? [] : ['-o', options];
  const argv = ['mount', '--no-canonicalize', '-t', type, ...optional, source, target] as const;
  await runMapped([...argv], `mount ${type} at ${target}`, exec);
}

async function unmountWith(target: string, how: { lazy: boolean }, exec: Exec | undefined): Promise<void> {
  const direct = callsFor(exec);
  if (direct)
    return throwErrno(direct.umount(target, noFollow | (how.lazy ? detach : 0)), `unmount ${target}`);
  await runMapped(
    ['umount', '--no-canonicalize', ...(how.lazy ? ['--lazy'] : []), target],
    `unmount ${target}`,
    exec,
  );
}

async function runMapped(argv: [string, ...string[]], what: string, exec: Exec = run): Promise<void> {
  try {
    await exec({ argv });
  } catch (error) {
    throw toKernelError(error, what);
  }
}

const errnoNames = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
const known = new Set<string>([
  'EEXIST',
  'ENOENT',
  'ENODEV',
  'ESRCH',
  'EPERM',
  'EBUSY',
  'EINVAL',
  'EOPNOTSUPP',
  'ENOSPC',
]);

function throwErrno(errno: number, what: string): void {
  if (errno === 0) return;
  const name = errnoNames.get(errno) ?? `errno ${errno}`;
  throw new KernelError(known.has(name) ? (name as Errno) : 'EUNKNOWN', what, `${what}: ${name}`);
}
