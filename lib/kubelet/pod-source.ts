// The Pods of a node as the API tells them: a watch, and a list anew whenever that breaks.
// Assumes one follower a kubelet. O(changes); a broken watch costs one list.
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Client, WatchEvent } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';

export interface PodSourceOptions {
  readonly client: Client;
  readonly nodeName: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onEvent: (event: WatchEvent<Pod>) => void;
  /** All that there are, after a watch that broke. */
  readonly onList: (pods: readonly Pod[]) => void;
}

const retryMs = 1000;

export class PodSource {
  readonly #options: PodSourceOptions;

  constructor(options: PodSourceOptions) {
    this.#options = options;
  }

  list(): Promise<{ items: Pod[]; resourceVersion: string }> {
    return this.#options.client.list('pods', { fieldSelector: this.#fieldSelector });
  }

  /** Tells what changes after that revision; resolves when the signal aborts. */
  async follow(from: string): Promise<void> {
    const { client, log, signal, onEvent } = this.#options;
    const fieldSelector = this.#fieldSelector;
    let resourceVersion: string | undefined = from;
    while (!signal.aborted) {
      try {
        for await (const event of client.watch('pods', { fieldSelector, resourceVersion, signal })) {
          resourceVersion = event.object.metadata.resourceVersion;
          onEvent(event);
        }
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error }, `watch of pods broke: ${messageOf(error)}; listing again`);
        if (!isReason(error, 'Expired') && !isReason(error, 'Gone')) await setTimeout(retryMs);
        resourceVersion = undefined;
        while (resourceVersion === undefined && !signal.aborted) {
          resourceVersion = await this.#relist();
          if (resourceVersion === undefined) await setTimeout(retryMs);
        }
      }
    }
  }

  async #relist(): Promise<string | undefined> {
    try {
      const { items, resourceVersion } = await this.list();
      this.#options.onList(items);
      return resourceVersion;
    } catch (error) {
      this.#options.log.warn({ err: error }, 'list of pods failed');
      return undefined;
    }
  }

  get #fieldSelector(): string {
    return `spec.nodeName=${this.#options.nodeName}`;
  }
}
