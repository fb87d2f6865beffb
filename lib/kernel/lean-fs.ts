// The few functions of node:fs that a plugin's run needs, straight from the C library: loading node:fs takes bun 1 ms of a
// run of 6. The build of the compiled plugins puts this in place of node:fs; everything else uses the real one.
// Assumes paths of plain strings. What is seldom asked for, and every failure but "not there" and "exists" (which are no
// surprise, and so must be cheap), goes to node:fs itself, whose results and errors are then the real ones.
import type * as NodeFs from 'node:fs';
import { loadLibc } from './libc.ts';
import { decodeText, encodeText } from './text.ts';

type Fs = typeof NodeFs;

const libc = loadLibc();
/** What a call gives where there is no C library: a failure, and node:fs tells what comes of it. */
const absent = -1;
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
const basicStatus = 0x7ff;
const here = -100; // AT_FDCWD

export const constants = { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 };

const told: Readonly<Record<number, readonly [code: string, text: string]>> = {
  2: ['ENOENT', 'no such file or directory'],
  17: ['EEXIST', 'file already exists'],
};

/** Throws an expected failure as node:fs has it; returns for any other, which node:fs is to tell. */
function throwExpected(result: number, syscall: string, path: string): void {
  const [code, text] = told[-result] ?? [];
  if (code === undefined) return;
  const error = new Error(`${code}: ${text}, ${syscall} '${path}'`);
  throw Object.assign(error, { errno: result, code, syscall, path });
}

export const existsSync = (path: string): boolean =>
  libc && !path.includes('\0') ? libc.access(path, constants.F_OK) === 0 : real().existsSync(path);

export function accessSync(path: string, mode: number = constants.F_OK): void {
  const result = libc ? libc.access(path, mode) : absent;
  if (result >= 0) return;
  throwExpected(result, 'access', path);
  real().accessSync(path, mode);
}

const openFlags: Readonly<Record<string, number>> = {
  r: readOnly,
  'r+': readWrite,
  w: writeOnly | creat | trunc,
  a: writeOnly | creat | append,
};

export function openSync(path: string, flag = 'r', mode = 0o666): number {
  const bits = openFlags[flag];
  const fd = libc && bits !== undefined ? libc.open(path, bits | closeOnExec, mode) : absent;
  if (fd >= 0) return fd;
  throwExpected(fd, 'open', path);
  return real().openSync(path, flag, mode);
}

export function closeSync(fd: number): void {
  if (!libc || libc.close(fd) < 0) real().closeSync(fd);
}

export function readSync(
  fd: number,
  into: Uint8Array,
  offset = 0,
  length = into.length - offset,
  position: number | null = null,
): number {
  const count = libc && position === null ? libc.read(fd, into.subarray(offset), length) : absent;
  return count >= 0 ? count : real().readSync(fd, into, offset, length, position);
}

export function writeSync(fd: number, bytes: Uint8Array, offset = 0): number {
  const count = libc ? libc.write(fd, bytes.subarray(offset), bytes.length - offset) : absent;
  return count >= 0 ? count : real().writeSync(fd, bytes, offset);
}

export function readFileSync(path: string, encoding?: 'utf8'): string | Buffer {
  if (!libc || encoding === undefined) return real().readFileSync(path, { encoding: encoding ?? null });
  const fd = openSync(path);
  try {
    let bytes = new Uint8Array(4096);
    for (let length = 0; ; ) {
      const count = readSync(fd, bytes, length);
      length += count;
      if (count === 0) return decodeText(bytes.subarray(0, length));
      if (length === bytes.length) bytes = widened(bytes);
    }
  } finally {
    closeSync(fd);
  }
}

function widened(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const wider = new Uint8Array(bytes.length * 2);
  wider.set(bytes);
  return wider;
}

interface WriteOptions {
  readonly mode?: number;
  readonly flag?: string;
}

export function writeFileSync(path: string, text: string, options: WriteOptions = {}): void {
  const fd = openSync(path, options.flag ?? 'w', options.mode ?? 0o666);
  try {
    const bytes = encodeText(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } finally {
    closeSync(fd);
  }
}

export const appendFileSync = (path: string, text: string, options: WriteOptions = {}): void =>
  writeFileSync(path, text, { flag: 'a', ...options });

export function linkSync(from: string, to: string): void {
  const result = libc ? libc.link(from, to) : absent;
  if (result >= 0) return;
  throwExpected(result, 'link', to);
  real().linkSync(from, to);
}

export function unlinkSync(path: string): void {
  const result = libc ? libc.unlink(path) : absent;
  if (result >= 0) return;
  throwExpected(result, 'unlink', path);
  real().unlinkSync(path);
}

export function renameSync(from: string, to: string): void {
  const result = libc ? libc.rename(from, to) : absent;
  if (result >= 0) return;
  throwExpected(result, 'rename', from);
  real().renameSync(from, to);
}

export function rmSync(path: string, options: { force?: boolean; recursive?: boolean } = {}): void {
  const result = libc && options.force && !options.recursive ? libc.unlink(path) : absent;
  if (result < 0 && result !== -2) real().rmSync(path, options); // -ENOENT is what `force` is for
}

export function mkdirSync(path: string, options: { recursive?: boolean; mode?: number } = {}): void {
  if (options.recursive && existsSync(path)) return;
  real().mkdirSync(path, options);
}

/** What plugins ask of a file's status. Source: struct statx of linux/stat.h, the same on every machine. */
class Status {
  readonly dev: number;
  readonly ino: number;
  readonly mode: number;
  constructor(view: DataView) {
    this.mode = view.getUint16(28, true);
    this.ino = Number(view.getBigUint64(32, true));
    this.dev = view.getUint32(136, true) * 2 ** 20 + view.getUint32(140, true);
  }
  isFile(): boolean {
    return (this.mode & 0o170000) === 0o100000;
  }
  isDirectory(): boolean {
    return (this.mode & 0o170000) === 0o040000;
  }
  isCharacterDevice(): boolean {
    return (this.mode & 0o170000) === 0o020000;
  }
}
type AnyStatus = Pick<Status, keyof Status>;

const statusBytes = new Uint8Array(256);
const statusView = new DataView(statusBytes.buffer);

export function statSync(path: string, options: { throwIfNoEntry?: boolean } = {}): AnyStatus | undefined {
  const result = libc ? libc.statx(here, path, 0, basicStatus, statusBytes) : absent;
  if (result >= 0) return new Status(statusView);
  if (result === -2 && options.throwIfNoEntry === false) return undefined;
  throwExpected(result, 'stat', path);
  return real().statSync(path, options as { throwIfNoEntry: false });
}

export function fstatSync(fd: number): AnyStatus {
  const result = libc ? libc.statx(fd, '', emptyPath, basicStatus, statusBytes) : absent;
  return result >= 0 ? new Status(statusView) : real().fstatSync(fd);
}

/** f_type stands first in struct statfs of every 64-bit machine. */
export function statfsSync(path: string): { type: number } {
  const result = libc ? libc.statfs(path, statusBytes) : absent;
  if (result >= 0) return { type: statusView.getUint32(0, true) };
  throwExpected(result, 'statfs', path);
  return real().statfsSync(path);
}

export function readlinkSync(path: string): string {
  const into = new Uint8Array(4096);
  const length = libc ? libc.readlink(path, into, into.length) : absent;
  if (length >= 0) return decodeText(into.subarray(0, length));
  throwExpected(length, 'readlink', path);
  return real().readlinkSync(path);
}

/** The kernel tells where an open file is. */
export function realpathSync(path: string): string {
  const fd = libc ? libc.open(path, pathOnly | closeOnExec, 0) : absent;
  if (fd < 0) return real().realpathSync(path);
  try {
    const found = readlinkSync(`/proc/self/fd/${fd}`);
    return found.startsWith('/') && existsSync(found) ? found : real().realpathSync(path);
  } finally {
    closeSync(fd);
  }
}

export const readdirSync = (path: string): string[] => real().readdirSync(path);
