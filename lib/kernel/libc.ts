// System calls made in this process, by the C library's syscall(2): through bun:ffi in bun, node:ffi in Node. For what has
// no way else (netlink sockets, setns, flock), and what costs less so (a plugin's files: bun takes 1 ms to load node:fs).
// Assumes Linux on x86-64 or arm64. None of it may be there: undefined then, and every user has a way without. One symbol
// for all calls, as each that is looked up costs 15 µs of a plugin's 5 ms; a call costs 1-3 µs.
import { encodeText } from './text.ts';

/** Each function gives what the call gives, or where that failed the errno as a negative number. */
export interface Libc {
  open(path: string, flags: number, mode: number): number;
  close(fd: number): number;
  read(fd: number, into: Uint8Array, length: number): number;
  write(fd: number, bytes: Uint8Array, length: number): number;
  access(path: string, mode: number): number;
  statx(dir: number, path: string, flags: number, mask: number, into: Uint8Array): number;
  statfs(path: string, into: Uint8Array): number;
  readlink(path: string, into: Uint8Array, length: number): number;
  link(from: string, to: string): number;
  unlink(path: string): number;
  rename(from: string, to: string): number;
  flock(fd: number, operation: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): number;
  connect(fd: number, address: Uint8Array): number;
  shutdown(fd: number, how: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  send(fd: number, bytes: Uint8Array, length: number): number;
  recv(fd: number, into: Uint8Array, length: number, flags: number): number;
  setns(fd: number, type: number): number;
  openTree(dir: number, path: string, flags: number): number;
  mountSetattr(fd: number, path: string, flags: number, attributes: Uint8Array): number;
  moveMount(fd: number, from: string, to: string, flags: number): number;
  /** Ends the process at once: nothing that is buffered or registered for the end happens any more. */
  exit(code: number): number;
}

/** Since Linux 5 a call has the same number everywhere. */
const newer = { open_tree: 428, move_mount: 429, mount_setattr: 442 } as const;

/** Calls that both machines have, so without open(2), link(2) and the like, which arm64 has not. Source: asm/unistd.h. */
const numbers = {
  x64: {
    read: 0,
    write: 1,
    close: 3,
    socket: 41,
    connect: 42,
    sendto: 44,
    recvfrom: 45,
    shutdown: 48,
    bind: 49,
    setsockopt: 54,
    flock: 73,
    statfs: 137,
    exit_group: 231,
    openat: 257,
    unlinkat: 263,
    linkat: 265,
    readlinkat: 267,
    faccessat: 269,
    setns: 308,
    renameat2: 316,
    statx: 332,
    ...newer,
  },
  arm64: {
    read: 63,
    write: 64,
    close: 57,
    socket: 198,
    bind: 200,
    connect: 203,
    sendto: 206,
    recvfrom: 207,
    setsockopt: 208,
    shutdown: 210,
    flock: 32,
    statfs: 43,
    exit_group: 94,
    openat: 56,
    unlinkat: 35,
    linkat: 37,
    readlinkat: 78,
    faccessat: 48,
    setns: 268,
    renameat2: 276,
    statx: 291,
    ...newer,
  },
} as const;

const here = -100; // AT_FDCWD

type Argument = number | Uint8Array;
type SystemCall = (number: number, ...values: Argument[]) => number;

let cached: { libc: Libc | undefined } | undefined;

/** The calls, or undefined where they cannot be made (PODWIRE_NO_FFI=1 says so, too). Found out once. */
export function loadLibc(): Libc | undefined {
  cached ??= { libc: load() };
  return cached.libc;
}

function load(): Libc | undefined {
  const { arch, platform, env } = process;
  if (env.PODWIRE_NO_FFI || platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) return undefined;
  try {
    const libc = calls('Bun' in globalThis ? fromBun() : fromNode(), numbers[arch]);
    // A call that must fail in a known way shows that numbers, arguments and errno really pass.
    return libc.close(-1) === -9 ? libc : undefined;
  } catch {
    return undefined;
  }
}

/** A C string. @throws TypeError for a text that a NUL would cut short */
function text(value: string): Uint8Array {
  if (value.includes('\0')) throw new TypeError('a path holds a NUL character');
  return encodeText(`${value}\0`);
}

type Numbers = (typeof numbers)[keyof typeof numbers];

function calls(call: SystemCall, nr: Numbers): Libc {
  return {
    open: (path, flags, mode) => call(nr.openat, here, text(path), flags, mode),
    close: (fd) => call(nr.close, fd),
    read: (fd, into, length) => call(nr.read, fd, into, length),
    write: (fd, bytes, length) => call(nr.write, fd, bytes, length),
    access: (path, mode) => call(nr.faccessat, here, text(path), mode),
    statx: (dir, path, flags, mask, into) => call(nr.statx, dir, text(path), flags, mask, into),
    statfs: (path, into) => call(nr.statfs, text(path), into),
    readlink: (path, into, length) => call(nr.readlinkat, here, text(path), into, length),
    link: (from, to) => call(nr.linkat, here, text(from), here, text(to)),
    unlink: (path) => call(nr.unlinkat, here, text(path)),
    rename: (from, to) => call(nr.renameat2, here, text(from), here, text(to)),
    flock: (fd, operation) => call(nr.flock, fd, operation),
    socket: (domain, type, protocol) => call(nr.socket, domain, type, protocol),
    bind: (fd, address) => call(nr.bind, fd, address, address.length),
    connect: (fd, address) => call(nr.connect, fd, address, address.length),
    shutdown: (fd, how) => call(nr.shutdown, fd, how),
    setsockopt: (fd, level, name, value) => call(nr.setsockopt, fd, level, name, value, value.length),
    send: (fd, bytes, length) => call(nr.sendto, fd, bytes, length),
    recv: (fd, into, length, flags) => call(nr.recvfrom, fd, into, length, flags),
    setns: (fd, type) => call(nr.setns, fd, type),
    openTree: (dir, path, flags) => call(nr.open_tree, dir, text(path), flags),
    mountSetattr: (fd, path, flags, attributes) =>
      call(nr.mount_setattr, fd, text(path), flags, attributes, attributes.length),
    moveMount: (fd, from, to, flags) => call(nr.move_mount, fd, text(from), here, text(to), flags),
    exit: (code) => call(nr.exit_group, code),
  };
}

interface BunFfi {
  dlopen(
    file: string,
    symbols: object,
  ): { symbols: { syscall(...values: Argument[]): number; __errno_location(): number } };
  read: { i32(pointer: number, offset: number): number };
}

/**
 * 'ptr' takes numbers as they are, and the bytes of a typed array. Bun.FFI is what bun:ffi stands on: loading that module
 * takes 0.3 ms more.
 */
function fromBun(): SystemCall {
  const name = 'bun:ffi'; // not a literal: only bun knows the module
  const direct = (globalThis as { Bun?: { FFI?: BunFfi } }).Bun?.FFI;
  const { dlopen, read } = direct ?? (process.getBuiltinModule(name as 'fs') as unknown as BunFfi);
  const { symbols } = dlopen('libc.so.6', {
    syscall: { args: ['i32', 'ptr', 'ptr', 'ptr', 'ptr', 'ptr', 'ptr'], returns: 'i32' },
    __errno_location: { args: [], returns: 'ptr' },
  });
  const { syscall } = symbols;
  const errno = symbols.__errno_location();
  return (number, a = 0, b = 0, c = 0, d = 0, e = 0) => {
    const result = syscall(number, a, b, c, d, e, 0);
    return result < 0 ? -read.i32(errno, 0) : result;
  };
}

function fromNode(): SystemCall {
  const { emitWarning } = process;
  process.emitWarning = () => {}; // node:ffi announces that it is experimental; the trial in load() makes that safe
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const { functions } = ffi.dlopen(null, {
      syscall: {
        return: 'i64',
        arguments: ['i64', 'pointer', 'pointer', 'pointer', 'pointer', 'pointer', 'pointer'],
      },
      __errno_location: { return: 'pointer', arguments: [] },
    });
    const { syscall } = functions;
    const errno = functions.__errno_location();
    // Bytes are handed over themselves, not as their address: so they live until the call is over.
    const pass = (value: Argument): bigint | Uint8Array =>
      typeof value === 'number' ? BigInt.asUintN(64, BigInt(value)) : value;
    return (number, a = 0, b = 0, c = 0, d = 0, e = 0) => {
      const result = syscall(BigInt(number), pass(a), pass(b), pass(c), pass(d), pass(e), 0n);
      return result < 0n ? -ffi.getInt32(errno as bigint, 0) : Number(result);
    };
  } finally {
    process.emitWarning = emitWarning;
  }
}
