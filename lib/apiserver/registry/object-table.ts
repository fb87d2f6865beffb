// Objects over the store: reads, writes and removes one, and tries again when another writer came between.
// Assumes only tables like it write the store's /registry/ keys, be it in several processes. What it returns is frozen and shared.
// One store operation a call; texts are parsed once a revision (ObjectCache).
import type { ObjectKey } from '../../api/client.ts';
import type { ApiObject, Kinds, Resource } from '../../api/types.ts';
import {
  isStoreError,
  type Store,
  type StoreEntry,
  type StoreWatch,
  type WriteOptions,
} from '../../store/store.ts';
import { notFoundError, staleError } from '../api-errors.ts';
import { keyOf, prefixOf } from './keys.ts';
import { encode, ObjectCache } from './object-cache.ts';

const attempts = 8;
/** For what is computed again after a power cut, so that its record need not wait for the disk. */
export const relaxed: WriteOptions = { durability: 'process' };

/** Written again and again by who made them: a power cut may cost the newest. */
const isFleeting = (resource: Resource): boolean => resource === 'events' || resource === 'leases';

export class ObjectTable {
  readonly store: Store;
  readonly #cache = new ObjectCache();
  readonly #eventTtlSeconds: number;
  #deletions: StoreWatch | undefined;
  #isClosed = false;

  constructor(store: Store, eventTtlSeconds: number) {
    this.store = store;
    this.#eventTtlSeconds = eventTtlSeconds;
  }

  /** Forgets what other processes delete, as long as it stands. What they change is known by its revision. */
  async followDeletions(onError: (error: unknown) => void): Promise<void> {
    if (this.#isClosed) return;
    this.#deletions = this.store.watch('/registry/', await this.store.revision(), {
      events: (events) => {
        for (const { type, entry } of events)
          if (type === 'delete') this.#cache.drop(entry.key, entry.revision);
      },
      error: () => {
        this.#cache.clear(); // what was deleted meanwhile is not known
        this.followDeletions(onError).catch(onError);
      },
    });
    if (this.#isClosed) this.#deletions.stop();
  }

  close(): void {
    this.#isClosed = true;
    this.#deletions?.stop();
  }

  /** @throws ApiError NotFound. */
  async entry(resource: Resource, key: ObjectKey): Promise<StoreEntry> {
    const entry = await this.store.get(keyOf(resource, key));
    if (!entry) throw notFoundError(resource, key.name);
    return entry;
  }

  readonly decode = (entry: StoreEntry): ApiObject => this.#cache.decode(entry);
  /** Of an entry that a watch tells of. */
  readonly decodeTold = (entry: StoreEntry): ApiObject => this.#cache.decodeTold(entry);

  async list<R extends Resource>(
    resource: R,
    namespace?: string | undefined,
  ): Promise<{ items: Kinds[R][]; revision: number }> {
    const { entries, revision } = await this.store.list(prefixOf(resource, namespace));
    return { items: entries.map((entry) => this.decode(entry) as Kinds[R]), revision };
  }

  /** Writes over `old`, or creates; writes nothing when nothing changed. @throws StoreError STORE_CONFLICT. */
  async put<T extends ApiObject>(
    resource: Resource,
    object: T,
    write: { old?: StoreEntry; options?: WriteOptions } = {},
  ): Promise<T> {
    const key = keyOf(resource, object.metadata);
    const value = encode(object);
    const { old } = write;
    if (old?.value === value && resource !== 'events') return this.decode(old) as T;
    const options = {
      ...write.options,
      ...(isFleeting(resource) ? relaxed : {}),
      ...(resource === 'events' ? { ttlSeconds: this.#eventTtlSeconds } : {}),
    };
    this.#cache.expect(key, value, object);
    try {
      const entry = old
        ? await this.store.update(key, value, { ...options, expected: old.revision })
        : await this.store.create(key, value, options);
      return this.decode(entry) as T;
    } finally {
      this.#cache.forgetExpected(key);
    }
  }

  async remove(resource: Resource, entry: StoreEntry): Promise<ApiObject> {
    // The wish to delete, if it had to wait, is on the disk already; after a power cut it is fulfilled again.
    const awaited = this.decode(entry).metadata.deletionTimestamp !== undefined;
    const options = awaited || isFleeting(resource) ? relaxed : {};
    const deleted = await this.store.delete(entry.key, { ...options, expected: entry.revision });
    const gone = this.decode(deleted);
    this.#cache.drop(entry.key, deleted.revision);
    return gone;
  }

  /** Reads, works, and begins anew when another write came between. @throws ApiError NotFound, Conflict. */
  async retry<T>(resource: Resource, key: ObjectKey, work: (entry: StoreEntry) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const entry = await this.entry(resource, key);
      try {
        return await work(entry);
      } catch (error) {
        if (isStoreError(error, 'STORE_NOT_FOUND')) throw notFoundError(resource, key.name);
        if (!isStoreError(error, 'STORE_CONFLICT')) throw error;
        if (attempt === attempts) throw staleError(resource, key.name);
      }
    }
  }
}
