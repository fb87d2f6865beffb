// Waits for what comes by itself, so that no test depends on how fast the machine is.
// Assumes the caller asserts the answer, or what it waited for. A look every few milliseconds, for half a minute at most.
import { setTimeout as sleep } from 'node:timers/promises';

const longestMs = 30_000;

/** True as soon as it holds; false when it never did. */
export async function until(holds: () => unknown): Promise<boolean> {
  for (const end = performance.now() + longestMs; performance.now() < end; await sleep(5))
    if (await holds()) return true;
  return Boolean(await holds());
}
