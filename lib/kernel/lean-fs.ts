// The few functions of node:fs that a plugin's run needs, straight from the C library: loading node:fs takes bun 1 ms of a
// run of 6. The build of the compiled plugins puts this in place of node:fs; everything else uses the real one.
// Assumes paths of plain strings. What is seldom asked for, and every failure but "not there" and "exists" (which are no
// surprise, and so must be cheap), goes to node:fs itself, whose results and errors are then the real ones.
import type * as NodeFs from 'node:fs';
import { loadLibc } from './libc.ts';

type Fs = typeof NodeFs;

const libc = loadLibc();
const real = (): Fs => process.getBuiltinModule('node:fs');

// Source: fcntl.h, unistd.h, linux/stat.h.
const readOnly = 0;
const writeOnly = 0o1;
const readWrite = 0o2;
const creat = 0o100;
const trunc = 0o1000;
const append = 0o2000;
const pathOnly = 0o10000000;
const closeOnExec = 0o2000000;
const emptyPath = 0x1000;
const here = -100; // AT_FDCWD

export const constants = { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 };

const told: Readonly<Record<number, readonly [code: string, text: string]>> = {
  2: ['ENOENT', 'no such file or directory'],
  17: ['EEXIST', 'file already exists'],
};

/** The error as node:fs has it; undefined where node:fs shall make it itself. */
function expected(errno: number, syscall: string, path: string): Error | undefined {
  const [code, text] = told[errno] ?? [];
  if (code === undefined) return undefined;
  return Object.assign(new Error(`${code}: ${text}, ${syscall} '${path}'`), {
    errno: -errno,
    code,
    syscall,
    path,
  });
}

/** The C function's result; node:fs instead where there is no C library, or where the failure is not an expected one. */
function calling<T>(
  syscall: string,
  path: string,
  ways: { lean(c: NonNullable<typeof libc>): number; done(result: number): T; real(): T },
): T {
  if (!libc) return ways.real();
  const result = ways.lean(libc);
  if (result >= 0) return ways.done(result);
  const error = expected(-result, syscall, path);
  if (error) throw error;
  return ways.real();
}

const nothing = (): void => {};

export const existsSync = (path: string): boolean =>
  libc && !path.includes('\0') ? libc.access(path, constants.F_OK) === 0 : real().existsSync(path);

export const accessSync = (path: string, mode: number = constants.F_OK): void =>
  calling('access', path, {
    lean: (c) => c.access(path, mode),
    done: nothing,
    real: () => real().accessSync(path, mode),
  });

const openFlags: Readonly<Record<string, number>> = {
  r: readOnly,
  'r+': readWrite,
  w: writeOnly | creat | trunc,
  a: writeOnly | creat | append,
};

export function openSync(path: string, flag = 'r', mode = 0o666): number {
  const bits = openFlags[flag];
  if (bits === undefined) return real().openSync(path, flag, mode);
  return calling('open', path, {
    lean: (c) => c.open(path, bits | closeOnExec, mode),
    done: (fd) => fd,
    real: () => real().openSync(path, flag, mode),
  });
}

export const closeSync = (fd: number): void =>
  calling('close', String(fd), {
    lean: (c) => c.close(fd),
    done: nothing,
    real: () => real().closeSync(fd),
  });

export const readSync = (
  fd: number,
  into: Buffer,
  offset = 0,
  length = into.length - offset,
  position: number | null = null,
): number =>
  position === null
    ? calling('read', String(fd), {
        lean: (c) => c.read(fd, into.subarray(offset, offset + length), length),
        done: (count) => count,
        real: () => real().readSync(fd, into, offset, length, position),
      })
    : real().readSync(fd, into, offset, length, position);

export const writeSync = (fd: number, bytes: Uint8Array, offset = 0): number =>
  calling('write', String(fd), {
    lean: (c) => c.write(fd, bytes.subarray(offset), bytes.length - offset),
    done: (count) => count,
    real: () => real().writeSync(fd, bytes, offset),
  });

export function readFileSync(path: string, encoding?: 'utf8'): string | Buffer {
  if (!libc || encoding === undefined) return real().readFileSync(path, { encoding: encoding ?? null });
  const fd = openSync(path);
  try {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.allocUnsafe(4096);
      const count = readSync(fd, chunk);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
    }
    return (chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)).toString('utf8');
  } finally {
    closeSync(fd);
  }
}

interface WriteOptions {
  readonly mode?: number;
  readonly flag?: string;
}

export function writeFileSync(path: string, text: string, options: WriteOptions = {}): void {
  const fd = openSync(path, options.flag ?? 'w', options.mode ?? 0o666);
  try {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } finally {
    closeSync(fd);
  }
}

export const appendFileSync = (path: string, text: string, options: WriteOptions = {}): void =>
  writeFileSync(path, text, { flag: 'a', ...options });

export const linkSync = (from: string, to: string): void =>
  calling('link', to, {
    lean: (c) => c.link(from, to),
    done: nothing,
    real: () => real().linkSync(from, to),
  });

export const unlinkSync = (path: string): void =>
  calling('unlink', path, {
    lean: (c) => c.unlink(path),
    done: nothing,
    real: () => real().unlinkSync(path),
  });

export const renameSync = (from: string, to: string): void =>
  calling('rename', from, {
    lean: (c) => c.rename(from, to),
    done: nothing,
    real: () => real().renameSync(from, to),
  });

export function rmSync(path: string, options: { force?: boolean; recursive?: boolean } = {}): void {
  const result = libc && options.force && !options.recursive ? libc.unlink(path) : -1;
  if (result < 0 && result !== -2) real().rmSync(path, options); // -ENOENT is what `force` is for
}

export function mkdirSync(path: string, options: { recursive?: boolean; mode?: number } = {}): void {
  if (options.recursive && existsSync(path)) return;
  real().mkdirSync(path, options);
}

/** What plugins ask of a file's status. */
export interface Status {
  readonly dev: number;
  readonly ino: number;
  readonly mode: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isCharacterDevice(): boolean;
}

const statusBuffer = new Uint8Array(256);

/** Source: struct statx of linux/stat.h, the same on every machine. */
function statusOf(bytes: Uint8Array): Status {
  const view = new DataView(bytes.buffer);
  const mode = view.getUint16(28, true);
  const is = (type: number) => (): boolean => (mode & 0o170000) === type;
  return {
    mode,
    ino: Number(view.getBigUint64(32, true)),
    dev: view.getUint32(136, true) * 2 ** 20 + view.getUint32(140, true),
    isFile: is(0o100000),
    isDirectory: is(0o040000),
    isCharacterDevice: is(0o020000),
  };
}

export function statSync(path: string, options: { throwIfNoEntry?: boolean } = {}): Status | undefined {
  try {
    return calling<Status | undefined>('stat', path, {
      lean: (c) => c.statx(here, path, 0, 0x7ff, statusBuffer),
      done: () => statusOf(statusBuffer),
      real: () => real().statSync(path, options as { throwIfNoEntry: false }),
    });
  } catch (error) {
    if (options.throwIfNoEntry === false && (error as NodeJS.ErrnoException).code === 'ENOENT')
      return undefined;
    throw error;
  }
}

export const fstatSync = (fd: number): Status =>
  calling<Status>('fstat', String(fd), {
    lean: (c) => c.statx(fd, '', emptyPath, 0x7ff, statusBuffer),
    done: () => statusOf(statusBuffer),
    real: () => real().fstatSync(fd),
  });

/** f_type stands first in struct statfs of every 64-bit machine. */
export const statfsSync = (path: string): { type: number } =>
  calling('statfs', path, {
    lean: (c) => c.statfs(path, statusBuffer),
    done: () => ({ type: new DataView(statusBuffer.buffer).getUint32(0, true) }),
    real: () => ({ type: real().statfsSync(path).type }),
  });

export function readlinkSync(path: string): string {
  const into = Buffer.alloc(4096);
  return calling('readlink', path, {
    lean: (c) => c.readlink(path, into, into.length),
    done: (length) => into.toString('utf8', 0, length),
    real: () => real().readlinkSync(path),
  });
}

/** The kernel tells where an open file is. */
export function realpathSync(path: string): string {
  const fd = libc?.open(path, pathOnly | closeOnExec, 0) ?? -1;
  if (fd < 0) return real().realpathSync(path);
  try {
    const found = readlinkSync(`/proc/self/fd/${fd}`);
    return found.startsWith('/') && existsSync(found) ? found : real().realpathSync(path);
  } finally {
    closeSync(fd);
  }
}

export const readdirSync = (path: string): string[] => real().readdirSync(path);
