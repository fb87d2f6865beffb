// Between stored texts and objects: parses each revision once, and what was just written not at all.
// Assumes objects are frozen and so can be shared. Holds the newest two revisions of each live key (not of events):
// O(live objects) memory, as the watch cache of Kubernetes' apiserver.
import type { ApiObject } from '../../api/types.ts';
import type { StoreEntry } from '../../store/store.ts';
import { deepFreeze } from './objects.ts';

interface Cached {
  readonly revision: number;
  readonly object: ApiObject;
  readonly before?: { readonly revision: number; readonly object: ApiObject } | undefined;
}

/** The text to store: the revision is the store's to tell, so it is not part of it. */
export function encode(object: ApiObject): string {
  const { resourceVersion: _told, ...metadata } = object.metadata;
  return JSON.stringify({ ...object, metadata });
}

export class ObjectCache {
  readonly #cached = new Map<string, Cached>();
  #told: { key: string; revision: number; object: ApiObject } | undefined;
  readonly #expected = new Map<string, { value: string; object: ApiObject }>();

  /** Announces a write: when the store tells of it, `object` need not be parsed from `value`. */
  expect(key: string, value: string, object: ApiObject): void {
    this.#expected.set(key, { value, object });
  }

  forgetExpected(key: string): void {
    this.#expected.delete(key);
  }

  /** The object of an entry that is stored now, with its resourceVersion, frozen. */
  decode(entry: StoreEntry): ApiObject {
    const known = this.#find(entry);
    if (known) return known;
    const object = this.#parse(entry);
    if (!entry.key.startsWith('/registry/events/')) this.#remember(entry, object);
    return object;
  }

  /**
   * The same of an entry that a watch tells of: it may be long gone, so only what is being written just now is kept, and of
   * all else the latest, as each watch asks for it in turn.
   */
  decodeTold(entry: StoreEntry): ApiObject {
    if (this.#expected.get(entry.key)?.value === entry.value) return this.decode(entry);
    const known = this.#find(entry);
    if (known) return known;
    const { key, revision } = entry;
    if (this.#told?.key !== key || this.#told.revision !== revision)
      this.#told = { key, revision, object: this.#parse(entry) };
    return this.#told.object;
  }

  /** The key was deleted at that revision, by whomever. */
  drop(key: string, revision: number): void {
    const hit = this.#cached.get(key);
    if (hit && hit.revision <= revision) this.#cached.delete(key); // else it is there again
  }

  clear(): void {
    this.#cached.clear();
  }

  #find({ key, revision }: StoreEntry): ApiObject | undefined {
    const hit = this.#cached.get(key);
    if (hit?.revision === revision) return hit.object;
    return hit?.before?.revision === revision ? hit.before.object : undefined;
  }

  #parse(entry: StoreEntry): ApiObject {
    const expected = this.#expected.get(entry.key);
    const plain: ApiObject = expected?.value === entry.value ? expected.object : JSON.parse(entry.value);
    const metadata = { ...plain.metadata, resourceVersion: String(entry.revision) };
    return deepFreeze({ ...plain, metadata });
  }

  #remember(entry: StoreEntry, object: ApiObject): void {
    const hit = this.#cached.get(entry.key);
    if (hit && hit.revision > entry.revision) return; // history told again: not worth keeping
    const before = hit && { revision: hit.revision, object: hit.object };
    this.#cached.set(entry.key, { revision: entry.revision, object, before });
  }
}
