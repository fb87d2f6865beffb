// Keeps the logs of a CRI runtime's containers from growing for ever, as conmon does by itself for our own: one that has
// reached its size is begun anew. Assumes the runtime reopens a log when told. A look at every log every 10 s.
import { renameSync, rmSync, statSync } from 'node:fs';
import type { ContainerStatus } from '../container/cri.ts';
import { containerLogMaxBytes } from '../container/conmon.ts';
import { messageOf } from '../exec/errors.ts';

const lookMs = 10_000;

export interface LogLimiterOptions {
  readonly containers: () => readonly ContainerStatus[];
  /** Makes the runtime write into a new file of the log's name. */
  readonly reopen: (containerId: string) => Promise<void>;
  readonly warn: (message: string, error: unknown) => void;
  readonly maxBytes?: number;
}

export class LogLimiter {
  readonly #options: LogLimiterOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogLimiterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async look(): Promise<void> {
    const { containers, warn, maxBytes = containerLogMaxBytes } = this.#options;
    for (const { id, name, state, logPath } of containers()) {
      if (state !== 'running' || logPath === '') continue;
      const size = statSync(logPath, { throwIfNoEntry: false })?.size ?? 0;
      if (size < maxBytes) continue;
      await this.#beginAnew(id, logPath).catch((error: unknown) =>
        warn(`log of container ${name} was not begun anew: ${messageOf(error)}`, error),
      );
    }
  }

  async #beginAnew(id: string, logPath: string): Promise<void> {
    const aside = `${logPath}.full`;
    renameSync(logPath, aside);
    try {
      await this.#options.reopen(id);
    } catch (error) {
      renameSync(aside, logPath); // it goes on in the old one
      throw error;
    }
    rmSync(aside, { force: true });
  }
}
