// Hands each committed write to those who watch its key, in order, within the same turn of the event loop.
// Assumes watchers only queue what they are told; one that throws loses its watch and harms no other.
// O(watchers) a write.
import { StoreError, type StoreEvent, type StoreWatch, type StoreWatcher } from './store.ts';

interface Registration {
  readonly prefix: string;
  /** What has been told already when the watch began. */
  readonly after: number;
  readonly watcher: StoreWatcher;
}

export class WatchHub {
  readonly #registrations = new Set<Registration>();
  /** Writes made by a watcher while it is being told: told afterwards, so that all see one order. */
  readonly #waiting: StoreEvent[] = [];
  #telling = false;

  /** `reached`: up to where the hub has told. */
  add(prefix: string, after: number, watcher: StoreWatcher, reached: () => number): StoreWatch {
    const registration = { prefix, after, watcher };
    this.#registrations.add(registration);
    return {
      stop: () => void this.#registrations.delete(registration),
      revision: () => Math.max(after, reached()),
    };
  }

  tell(event: StoreEvent): void {
    this.#waiting.push(event);
    if (this.#telling) return;
    this.#telling = true;
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
        this.#tellAll(next);
    } finally {
      this.#telling = false;
    }
  }

  close(): void {
    this.failAll(new StoreError('STORE_FAILED', 'the store has been closed'));
  }

  /** Ends all watches; new ones may begin. */
  failAll(error: unknown): void {
    const ended = [...this.#registrations];
    this.#registrations.clear();
    for (const { watcher } of ended) watcher.error(error);
  }

  #tellAll(event: StoreEvent): void {
    for (const registration of [...this.#registrations]) {
      if (!event.entry.key.startsWith(registration.prefix) || event.entry.revision <= registration.after)
        continue;
      if (!this.#registrations.has(registration)) continue;
      try {
        registration.watcher.events([event]);
      } catch (error) {
        this.#registrations.delete(registration);
        registration.watcher.error(error);
      }
    }
  }
}
