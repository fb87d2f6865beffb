// An informer: all objects of one resource in memory, kept current by one list and a watch, for loops that decide by them.
// Assumes handlers only note what changed and return. Objects are shared with whoever else has them: never changed.
// O(objects) at the start and after a watch that broke, O(changes) between.
import { setTimeout } from 'node:timers/promises';
import type { Client, ListOptions } from './client.ts';
import { isReason } from './errors.ts';
import type { ApiObject, Kinds, Resource } from './types.ts';

/** `now` is undefined when it is gone, `before` when it is new. */
export type ChangeHandler<T> = (now: T | undefined, before: T | undefined) => void;

export interface InformerOptions<R extends Resource> {
  readonly client: Client;
  readonly resource: R;
  readonly select?: ListOptions;
  /** Told of a list or watch that failed; it is tried again. */
  readonly onError?: (error: unknown) => void;
}

/** NAMESPACE/NAME, or NAME where there is no namespace. */
export const objectName = ({ metadata: { namespace, name } }: ApiObject): string =>
  namespace ? `${namespace}/${name}` : name;

const retryMs = 1000;

export class Informer<R extends Resource> {
  readonly #options: InformerOptions<R>;
  readonly #objects = new Map<string, Kinds[R]>();
  readonly #handlers: ChangeHandler<Kinds[R]>[] = [];

  constructor(options: InformerOptions<R>) {
    this.#options = options;
  }

  /** Told of each change, also of what the first list finds when it is set before start. */
  onChange(handler: ChangeHandler<Kinds[R]>): void {
    this.#handlers.push(handler);
  }

  /** Undefined when there is none of that name (see objectName). */
  get(name: string): Kinds[R] | undefined {
    return this.#objects.get(name);
  }

  get items(): IterableIterator<Kinds[R]> {
    return this.#objects.values();
  }

  get size(): number {
    return this.#objects.size;
  }

  /** Resolves when everything there is has been told; the watch goes on until the signal aborts. @throws ApiError of the list */
  async start(signal: AbortSignal): Promise<void> {
    const resourceVersion = await this.#list();
    void this.#follow(resourceVersion, signal);
  }

  async #list(): Promise<string> {
    const { client, resource, select } = this.#options;
    const { items, resourceVersion } = await client.list(resource, select);
    const gone = new Set(this.#objects.keys());
    for (const object of items) {
      gone.delete(objectName(object));
      this.#set(object);
    }
    for (const name of gone) this.#remove(name);
    return resourceVersion;
  }

  async #follow(from: string, signal: AbortSignal): Promise<void> {
    const { client, resource, select, onError } = this.#options;
    let resourceVersion: string | undefined = from;
    while (!signal.aborted) {
      try {
        resourceVersion ??= await this.#list();
        for await (const event of client.watch(resource, { ...select, resourceVersion, signal })) {
          resourceVersion = event.object.metadata.resourceVersion;
          if (event.type === 'BOOKMARK') continue;
          const object = event.object as Kinds[R];
          if (event.type === 'DELETED') this.#remove(objectName(object));
          else this.#set(object);
        }
      } catch (error) {
        if (signal.aborted) return;
        resourceVersion = undefined; // what was missed shows in a list
        if (isReason(error, 'Expired') || isReason(error, 'Gone')) continue;
        onError?.(error);
        await setTimeout(retryMs, undefined, { signal }).catch(() => {});
      }
    }
  }

  #set(object: Kinds[R]): void {
    const name = objectName(object);
    const before = this.#objects.get(name);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#objects.set(name, object);
    // An object made anew under the same name is another one: the old one has gone.
    const same = before?.metadata.uid === object.metadata.uid;
    if (before && !same) this.#tell(undefined, before);
    this.#tell(object, same ? before : undefined);
  }

  #remove(name: string): void {
    const before = this.#objects.get(name);
    if (!before) return;
    this.#objects.delete(name);
    this.#tell(undefined, before);
  }

  #tell(now: Kinds[R] | undefined, before: Kinds[R] | undefined): void {
    for (const handler of this.#handlers) handler(now, before);
  }
}
