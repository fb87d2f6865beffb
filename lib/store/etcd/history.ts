// The newest writes, kept for who asks where they have been: watches that begin a little back, writes nobody answered.
// Assumes it is told all writes below the prefix, in order. Bounded: 4,096 writes or 8 million characters.
import { StoreError, type StoreEvent } from '../store.ts';

const maxEvents = 4096;
const maxCharacters = 8_000_000;

interface Waiting {
  readonly revision: number;
  readonly done: () => void;
}

const sizeOf = ({ entry, previous }: StoreEvent): number =>
  entry.value.length + (previous?.value.length ?? 0) + 200;

export class History {
  #events: StoreEvent[] = [];
  #characters = 0;
  /** All writes above this one, up to `revision`, are here. */
  #oldest: number;
  #revision: number;
  #waiting: Waiting[] = [];

  constructor(revision: number) {
    this.#oldest = revision;
    this.#revision = revision;
  }

  /** Of the newest write that is known here; the store may be ahead. */
  get revision(): number {
    return this.#revision;
  }

  add(event: StoreEvent): void {
    this.#events.push(event);
    this.#characters += sizeOf(event);
    this.#revision = event.entry.revision;
    if (this.#events.length > maxEvents || this.#characters > maxCharacters) this.#dropOldest();
    this.#wake();
  }

  /** What was between is not known: begins anew. */
  restart(revision: number): void {
    this.#events = [];
    this.#characters = 0;
    this.#oldest = revision;
    this.#revision = revision;
    this.#wake();
  }

  /** All writes above `after`; undefined when not all of them are kept here. */
  since(after: number): StoreEvent[] | undefined {
    if (after < this.#oldest) return undefined;
    const first = this.#events.findLastIndex(({ entry }) => entry.revision <= after);
    return this.#events.slice(first + 1);
  }

  /** Waits until the write of this revision is known. @throws StoreError STORE_UNAVAILABLE after `ms`. */
  reached(revision: number, ms: number): Promise<void> {
    if (this.#revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waiting = this.#waiting.filter((one) => one !== waiting);
        reject(new StoreError('STORE_UNAVAILABLE', `etcd: no member has told of revision ${revision}`));
      }, ms);
      const waiting = {
        revision,
        done: () => {
          clearTimeout(late);
          resolve();
        },
      };
      this.#waiting.push(waiting);
    });
  }

  #dropOldest(): void {
    const dropped = this.#events.splice(0, Math.ceil(this.#events.length / 4));
    this.#oldest = dropped.at(-1)!.entry.revision;
    for (const event of dropped) this.#characters -= sizeOf(event);
  }

  #wake(): void {
    const reached = this.#waiting.filter(({ revision }) => revision <= this.#revision);
    if (reached.length === 0) return;
    this.#waiting = this.#waiting.filter(({ revision }) => revision > this.#revision);
    for (const { done } of reached) done();
  }
}
