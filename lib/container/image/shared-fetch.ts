// One fetch for all who want the same thing: whoever comes later waits for the one under way, and hears how far it is. Who
// gives up waits no longer; when nobody waits any more the fetch itself is given up. A map entry a fetch.
import { ImageError } from '../errors.ts';

export type Tell = (line: string) => void;

export interface Wanting {
  readonly onProgress?: Tell | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface Shared<T> {
  readonly result: Promise<T>;
  readonly listeners: Set<Tell>;
  readonly stop: AbortController;
  waiting: number;
}

export class SharedFetches<T> {
  readonly #under = new Map<string, Shared<T>>();

  /** @throws what the fetch throws; ImageError ErrImagePull when the signal aborts */
  async join(
    key: string,
    { onProgress = () => {}, signal }: Wanting,
    fetch: (signal: AbortSignal, tell: Tell) => Promise<T>,
  ): Promise<T> {
    const shared = this.#under.get(key) ?? this.#begin(key, fetch);
    shared.waiting++;
    shared.listeners.add(onProgress);
    try {
      return await unlessAborted(key, shared.result, signal);
    } finally {
      shared.listeners.delete(onProgress);
      if (--shared.waiting === 0) {
        this.#end(key, shared);
        shared.stop.abort();
      }
    }
  }

  #begin(key: string, fetch: (signal: AbortSignal, tell: Tell) => Promise<T>): Shared<T> {
    const stop = new AbortController();
    const listeners = new Set<Tell>();
    const tell: Tell = (line) => {
      for (const listener of listeners) listener(line);
    };
    const shared: Shared<T> = { result: fetch(stop.signal, tell), listeners, stop, waiting: 0 };
    shared.result.catch(() => {}); // the last who waited may have given up
    this.#under.set(key, shared);
    return shared;
  }

  /** Who comes now begins anew. */
  #end(key: string, shared: Shared<T>): void {
    if (this.#under.get(key) === shared) this.#under.delete(key);
  }
}

async function unlessAborted<T>(key: string, result: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) return result;
  let giveUp = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    giveUp = () => reject(new ImageError('ErrImagePull', key, `image ${key}: the pull was given up`));
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp);
  });
  try {
    return await Promise.race([result, aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
