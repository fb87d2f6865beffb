// Who may run when: one operation a container at a time, and GC only while nothing else runs.
// Assumes all operations of this machine's runtime go through one Gate (one process). A waiting GC holds newcomers back.

export class Gate {
  readonly #tails = new Map<string, Promise<unknown>>();
  #exclusive: Promise<unknown> = Promise.resolve();

  /** Runs `work` after what was asked earlier for the same key. */
  async shared<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = [this.#tails.get(key), this.#exclusive];
    return this.#enter(key, before, work);
  }

  /** Runs `work` when everything asked earlier is over; what is asked later waits for it. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    const running = Promise.allSettled([...this.#tails.values(), this.#exclusive]);
    const turn = running.then(work);
    this.#exclusive = turn.catch(() => {});
    return turn;
  }

  async #enter<T>(
    key: string,
    before: ReadonlyArray<Promise<unknown> | undefined>,
    work: () => Promise<T>,
  ): Promise<T> {
    const turn = Promise.allSettled(before).then(work);
    const tail = turn.catch(() => {});
    this.#tails.set(key, tail);
    try {
      return await turn;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
