// Between stored texts and objects: parses each revision once, and what was just written not at all.
// Assumes objects are frozen and so can be shared. Holds the newest two revisions of each live key (not of events):
// O(live objects) memory, as the watch cache of Kubernetes' apiserver.
import type { ApiObject } from '../api/types.ts';
import type { StoreEntry } from '../store/store.ts';
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
  readonly #expected = new Map<string, { value: string; object: ApiObject }>();

  /** Announces a write: when the store tells of it, `object` need not be parsed from `value`. */
  expect(key: string, value: string, object: ApiObject): void {
    this.#expected.set(key, { value, object });
  }

  forgetExpected(key: string): void {
    this.#expected.delete(key);
  }

  /** The object of an entry, with its resourceVersion, frozen. */
  decode(entry: StoreEntry): ApiObject {
    const hit = this.#cached.get(entry.key);
    if (hit?.revision === entry.revision) return hit.object;
    if (hit?.before?.revision === entry.revision) return hit.before.object;
    const expected = this.#expected.get(entry.key);
    const plain: ApiObject = expected?.value === entry.value ? expected.object : JSON.parse(entry.value);
    const metadata = { ...plain.metadata, resourceVersion: String(entry.revision) };
    const object = deepFreeze({ ...plain, metadata });
    if (!entry.key.startsWith('/registry/events/')) this.#remember(entry, object, hit);
    return object;
  }

  drop(key: string): void {
    this.#cached.delete(key);
  }

  #remember(entry: StoreEntry, object: ApiObject, hit: Cached | undefined): void {
    if (hit && hit.revision > entry.revision) return; // history told again: not worth keeping
    const before = hit && { revision: hit.revision, object: hit.object };
    this.#cached.set(entry.key, { revision: entry.revision, object, before });
  }
}
