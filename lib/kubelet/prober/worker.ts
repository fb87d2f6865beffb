// One probe of one container: runs it at its period and tells when the verdict changes.
// Assumes its owner stops it with the container. One timer; a run that is late for the next skips it.
import type { Probe } from '../../api/types.ts';
import type { ProbeResult } from '../../probe/result.ts';
import { count, emptyTally, type Verdict } from './tally.ts';

export interface WorkerOptions {
  readonly probe: Probe;
  readonly firstDelayMs: number;
  /** Asks the container. @throws when it could not be asked, which counts for nothing */
  readonly run: () => Promise<ProbeResult>;
  /** False: not now, as while the startup probe has not succeeded. */
  readonly mayRun: () => boolean;
  readonly onResult: (result: ProbeResult) => void;
  readonly onError: (error: unknown) => void;
  readonly onVerdict: (verdict: Verdict) => void;
}

export class ProbeWorker {
  readonly #options: WorkerOptions;
  readonly #notBefore: number;
  #tally = emptyTally;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #stopped = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#notBefore = Date.now() + options.firstDelayMs;
    this.#schedule(options.firstDelayMs);
  }

  /** Runs as soon as it may: what held it back is over. */
  kick(): void {
    if (this.#stopped || this.#running) return;
    this.#schedule(Math.max(0, this.#notBefore - Date.now()));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#tick(), delayMs);
    this.#timer.unref();
  }

  async #tick(): Promise<void> {
    const { probe, mayRun } = this.#options;
    const begun = Date.now();
    const periodMs = (probe.periodSeconds ?? 10) * 1000;
    if (mayRun()) {
      this.#running = true;
      await this.#runOnce();
      this.#running = false;
    }
    if (!this.#stopped) this.#schedule(Math.max(0, begun + periodMs - Date.now()));
  }

  async #runOnce(): Promise<void> {
    const { probe, run, onResult, onError, onVerdict } = this.#options;
    try {
      const result = await run();
      if (this.#stopped) return;
      onResult(result);
      const { tally, verdict } = count(
        this.#tally,
        result.outcome === 'failure' ? 'failure' : 'success',
        probe,
      );
      this.#tally = tally;
      if (verdict) onVerdict(verdict);
    } catch (error) {
      if (!this.#stopped) onError(error);
    }
  }
}
