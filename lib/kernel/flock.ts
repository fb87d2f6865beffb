// flock(2): a lock that the kernel drops with its holder, so a killed process never leaves it behind.
// Assumes a C library reached by bun:ffi or node:ffi (0.2 ms); where neither works, util-linux' `flock` locks our file
// descriptor for us (2 ms a try). One file descriptor a lock.
import { closeSync, openSync } from 'node:fs';
import { runOnFd } from '../exec/run-sync.ts';
import { KernelError } from './errors.ts';

/** flock(fd, operation): 0, or -1. */
type Flock = (fd: number, operation: number) => number;

const exclusiveNow = 2 | 4; // LOCK_EX | LOCK_NB: a blocked system call could not be given up

let found: Flock | undefined;

function libcFlock(): Flock {
  found ??= load();
  return found;
}

function load(): Flock {
  try {
    return process.versions.bun ? fromBun() : fromNode();
  } catch {
    return byProgram;
  }
}

/** The lock belongs to the open file, which the child shares with us: it stays ours when the child is gone. */
const byProgram: Flock = (fd) => runOnFd(['flock', '-x', '-n', '3'], fd);

function fromBun(): Flock {
  const name = 'bun:ffi'; // not a literal: only bun knows the module
  const ffi = process.getBuiltinModule(name as 'fs') as unknown as {
    dlopen(file: string, symbols: object): { symbols: { flock: Flock } };
  };
  return ffi.dlopen('libc.so.6', { flock: { args: ['i32', 'i32'], returns: 'i32' } }).symbols.flock;
}

function fromNode(): Flock {
  const { emitWarning } = process;
  process.emitWarning = () => {}; // node:ffi announces that it is experimental; the fallback makes that safe
  try {
    const ffi = process.getBuiltinModule('node:ffi');
    const { functions } = ffi.dlopen(null, { flock: { return: 'i32', arguments: ['i32', 'i32'] } });
    return functions.flock as unknown as Flock;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/**
 * Runs `work` while holding the lock on `file` (made where it is missing).
 * @throws KernelError EBUSY when somebody else holds it for all of `timeoutMs`
 */
export async function withFileLock<T>(file: string, work: () => T | Promise<T>, timeoutMs = 10_000): Promise<T> {
  const flock = libcFlock();
  const fd = openSync(file, 'a', 0o640);
  try {
    const until = performance.now() + timeoutMs;
    while (flock(fd, exclusiveNow) !== 0) {
      if (performance.now() > until)
        throw new KernelError('EBUSY', file, `${file}: locked by another process for ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}
