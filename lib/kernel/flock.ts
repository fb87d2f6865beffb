// flock(2): a lock that the kernel drops with its holder, so a killed process never leaves it behind.
// Assumes the C library can be called; where it cannot, util-linux' `flock` locks our file descriptor for us (2 ms a try).
// One file descriptor a lock.
import { closeSync, openSync } from 'node:fs';
import { runOnFd } from '../exec/run-sync.ts';
import { KernelError } from './errors.ts';
import { loadLibc } from './libc.ts';

const exclusiveNow = 2 | 4; // LOCK_EX | LOCK_NB: a blocked system call could not be given up

/** The lock belongs to the open file, which a child shares with us: it stays ours when the child is gone. */
function tryLock(fd: number): boolean {
  const libc = loadLibc();
  return (libc ? libc.flock(fd, exclusiveNow) : runOnFd(['flock', '-x', '-n', '3'], fd)) === 0;
}

/**
 * Runs `work` while holding the lock on `file` (made where it is missing).
 * @throws KernelError EBUSY when somebody else holds it for all of `timeoutMs`
 */
export async function withFileLock<T>(
  file: string,
  work: () => T | Promise<T>,
  timeoutMs = 10_000,
): Promise<T> {
  const fd = openSync(file, 'a', 0o640);
  try {
    const until = performance.now() + timeoutMs;
    while (!tryLock(fd)) {
      if (performance.now() > until)
        throw new KernelError('EBUSY', file, `${file}: locked by another process for ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}
