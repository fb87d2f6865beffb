// Pods that wait for a place: tried at once, then after a back-off that doubles from 1 s to 10 s when something changed
// that could help, and every five minutes anyhow. One at a time, in the order in which they came.
// Assumes `work` reads the newest state itself. O(waiting) a wake-up; one timer for all.
export interface PodQueueInput {
  /** Tries one Pod (NAMESPACE/NAME); false: it waits on. Must not reject. */
  readonly work: (name: string) => Promise<boolean>;
  readonly signal: AbortSignal;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

interface Entry {
  attempts: number;
  /** When it may be tried for a change that could help. */
  backoffUntil: number;
  /** When it is tried next. */
  dueAt: number;
}

/** kube-scheduler's podInitialBackoffSeconds, podMaxBackoffSeconds and podMaxInUnschedulablePodsDuration. */
const backoffMs = { first: 1000, longest: 10_000 };
const idleMs = 300_000;

export class PodQueue {
  readonly #input: PodQueueInput;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  /** Changes seen, so that one that comes during a try counts for it. */
  #changes = 0;

  constructor(input: PodQueueInput) {
    this.#input = input;
    this.#now = input.now ?? (() => performance.now());
    input.signal.addEventListener('abort', () => clearTimeout(this.#timer));
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A Pod that waits already keeps its turn. */
  add(name: string): void {
    if (this.#entries.has(name)) return;
    this.#entries.set(name, { attempts: 0, backoffUntil: 0, dueAt: this.#now() });
    this.#plan();
  }

  remove(name: string): void {
    this.#entries.delete(name);
  }

  /** Something changed: all that wait are tried as soon as their back-off is over. */
  wake(): void {
    this.#changes++;
    if (this.#entries.size === 0) return;
    const now = this.#now();
    for (const entry of this.#entries.values())
      entry.dueAt = Math.min(entry.dueAt, Math.max(now, entry.backoffUntil));
    this.#plan();
  }

  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#running || this.#input.signal.aborted || this.#entries.size === 0) return;
    let next = Number.POSITIVE_INFINITY;
    for (const { dueAt } of this.#entries.values()) next = Math.min(next, dueAt);
    this.#timer = setTimeout(() => void this.#run(), Math.max(0, next - this.#now())).unref();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    try {
      for (const [name, entry] of [...this.#entries]) {
        if (this.#input.signal.aborted) return;
        if (entry.dueAt > this.#now() || this.#entries.get(name) !== entry) continue;
        await this.#try(name, entry);
      }
    } finally {
      this.#running = false;
      this.#plan();
    }
  }

  async #try(name: string, entry: Entry): Promise<void> {
    const seen = this.#changes;
    const isDone = await this.#input.work(name);
    if (isDone) {
      if (this.#entries.get(name) === entry) this.#entries.delete(name);
      return;
    }
    entry.backoffUntil = this.#now() + Math.min(backoffMs.first * 2 ** entry.attempts, backoffMs.longest);
    entry.attempts++;
    entry.dueAt = seen === this.#changes ? this.#now() + idleMs : entry.backoffUntil;
  }
}
