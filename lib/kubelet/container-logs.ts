// Looks after the logs of running containers: every ten seconds those that are full are put aside, one after the other.
// Assumes the runtime's records name the logs. A look is one stat a container.
// Source: kubelet's ContainerLogManager (containerLogMaxSize, containerLogMaxFiles, containerLogMonitorInterval 10s).
import type { RuntimeService } from '../container/cri.ts';
import { type LogLimits, rotateLog } from '../container/log-rotation.ts';

const lookMs = 10_000;

export interface ContainerLogsOptions {
  readonly runtime: RuntimeService;
  readonly limits: LogLimits;
  /** A log that could not be put aside; the next look tries again. */
  readonly onError: (error: unknown) => void;
}

export class ContainerLogs {
  readonly #options: ContainerLogsOptions;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: ContainerLogsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#looking = this.look().finally(() => {
        if (!this.#closed) this.start();
      });
    }, lookMs).unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  async look(): Promise<void> {
    const { runtime, limits, onError } = this.#options;
    for (const { id, logPath, state } of runtime.listContainers()) {
      if (state !== 'running' || this.#closed) continue;
      const reopen = (): Promise<void> => runtime.reopenContainerLog(id);
      await rotateLog({ path: logPath, limits, reopen }).catch((error) => {
        if (runtime.listContainers().some((one) => one.id === id && one.state === 'running')) onError(error);
      });
    }
  }
}
