// One worker a Pod UID: one sync running, at most one pending (the latest state wins), so that a Pod's steps never
// race with themselves while different Pods go on side by side.
// Assumes `sync` reads the newest state itself. O(1) a wake-up; an idle worker is a map entry.
import type { Logger } from 'pino';
import { messageOf } from '../exec/errors.ts';

/** Milliseconds until the Pod wants to be synced again; 'done' ends the worker; undefined waits for an event. */
export type SyncOutcome = number | 'done' | undefined;

interface Worker {
  running: boolean;
  pending: boolean;
  failures: number;
  lastError?: string | undefined;
  timer?: NodeJS.Timeout | undefined;
}

// A longer one would fire at once; waking early only means one more look.
const longestTimer = 2 ** 31 - 1;

export class PodWorkers {
  readonly #workers = new Map<string, Worker>();
  readonly #sync: (uid: string) => Promise<SyncOutcome>;
  readonly #log: Logger;
  readonly #idle: Array<() => void> = [];
  #closed = false;

  constructor(sync: (uid: string) => Promise<SyncOutcome>, log: Logger) {
    this.#sync = sync;
    this.#log = log;
  }

  /** Why the last sync failed; undefined when it did not. */
  lastError(uid: string): string | undefined {
    return this.#workers.get(uid)?.lastError;
  }

  /** Wakes the Pod's worker, making it if need be. */
  wake(uid: string): void {
    if (this.#closed) return;
    let worker = this.#workers.get(uid);
    if (!worker) {
      worker = { running: false, pending: false, failures: 0 };
      this.#workers.set(uid, worker);
    }
    if (worker.running) worker.pending = true;
    else void this.#run(uid, worker);
  }

  /** Starts nothing new and resolves when no sync runs any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const worker of this.#workers.values()) clearTimeout(worker.timer);
    if ([...this.#workers.values()].some((worker) => worker.running))
      await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #run(uid: string, worker: Worker): Promise<void> {
    worker.running = true;
    let outcome: SyncOutcome;
    do {
      clearTimeout(worker.timer);
      worker.pending = false;
      try {
        outcome = await this.#sync(uid);
        worker.failures = 0;
        worker.lastError = undefined;
      } catch (error) {
        // A sync reports its own failures as events and status; what comes here is retried, ever more slowly.
        worker.failures += 1;
        worker.lastError = messageOf(error);
        outcome = Math.min(500 * 2 ** worker.failures, 30_000);
        this.#log.error({ podUid: uid, err: error, retryMs: outcome }, `sync failed: ${messageOf(error)}`);
      }
    } while (worker.pending && !this.#closed);
    worker.running = false;
    if (outcome === 'done') this.#workers.delete(uid);
    else if (outcome !== undefined && !this.#closed)
      worker.timer = setTimeout(() => this.wake(uid), Math.min(outcome, longestTimer));
    if (this.#closed && ![...this.#workers.values()].some((other) => other.running))
      for (const resolve of this.#idle.splice(0)) resolve();
  }
}
