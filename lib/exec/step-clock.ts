// Where the time of one Pod's start or stop goes: named steps with their start and length.
// Assumes steps may overlap. A handful of entries a Pod.

export interface Step {
  readonly name: string;
  /** Milliseconds since the clock was made. */
  readonly start: number;
  /** Milliseconds. */
  readonly ms: number;
}

/** Collects steps. A failed step is kept too, so that an error can be read beside its cost. */
export class StepClock {
  readonly steps: Step[] = [];
  readonly #origin = performance.now();

  /** Runs `work` and writes down how long it took. */
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.steps.push({ name, start: round(start - this.#origin), ms: round(performance.now() - start) });
    }
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
