// Exponential back-off by key, as kubelet's for crashing containers and failing pulls. Pure but for its own table.
// Assumes milliseconds from one clock. O(1) a call; entries are dropped with their Pod.
// Source: k8s.io/client-go/util/flowcontrol.Backoff (Next, IsInBackOffSince); 10 s doubling to 5 min.

interface Entry {
  delay: number;
  lastUpdate: number;
}

export class Backoff {
  readonly #entries = new Map<string, Entry>();
  readonly #initial: number;
  readonly #max: number;
  constructor(initialMs = 10_000, maxMs = 300_000) {
    this.#initial = initialMs;
    this.#max = maxMs;
  }

  /** Milliseconds to wait until `eventTime + delay` is reached; 0 when the key is free to go. */
  remaining(key: string, eventTime: number, now: number): number {
    const entry = this.#entries.get(key);
    if (!entry || this.#expired(entry, eventTime)) return 0;
    return Math.max(0, eventTime + entry.delay - now);
  }

  /** Records one more try at `now` after something that happened at `eventTime`. */
  next(key: string, eventTime: number, now: number): void {
    const entry = this.#entries.get(key);
    if (!entry || this.#expired(entry, eventTime))
      this.#entries.set(key, { delay: this.#initial, lastUpdate: now });
    else this.#entries.set(key, { delay: Math.min(entry.delay * 2, this.#max), lastUpdate: now });
  }

  /** The present delay, for messages. */
  delay(key: string): number {
    return this.#entries.get(key)?.delay ?? 0;
  }

  /** Forgets all keys that begin with `prefix`. */
  forget(prefix: string): void {
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key);
  }

  // What ran well for twice the longest delay (10 min) starts afresh.
  #expired(entry: Entry, eventTime: number): boolean {
    return eventTime - entry.lastUpdate > 2 * this.#max;
  }
}
