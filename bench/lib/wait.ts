// Waiting for a daemon that is coming up, and reading what it said when it does not.
// Assumes that asking is cheap; asks every 50 ms.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';

/** Asks until it does not throw. @throws PodwireError PEER_TIMEOUT with the last reason */
export async function until(what: string, timeoutMs: number, ask: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (performance.now() > end)
        throw new PodwireError('PEER_TIMEOUT', `${what}: not within ${timeoutMs} ms: ${messageOf(error)}`);
      await sleep(50);
    }
  }
}

/** The last lines of a log; '' where there is none. */
export function tailOf(file: string, lines = 15): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}

/** Ends a daemon that may have ended by itself. */
export async function endProcess(
  daemon: { pid: number; ended: Promise<unknown> },
  signal: NodeJS.Signals,
): Promise<void> {
  try {
    process.kill(daemon.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
  await Promise.race([daemon.ended, sleep(30_000, undefined, { ref: false })]);
}
