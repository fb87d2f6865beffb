// The contract of what keeps the API's objects: keys, values, one revision a write, watches from any kept revision.
// Assumes etcd's semantics, so that etcd can stand behind it: compare-and-set by revision, compaction, leases (ttl).
// Values are opaque texts. get and write are O(log n), list and watch are O(what they tell).
import { PodwireError } from '../exec/errors.ts';

export interface StoreEntry {
  readonly key: string;
  readonly value: string;
  /** Revision of the write that made this value. */
  readonly revision: number;
  /** Revision of the write that made the key. */
  readonly createRevision: number;
}

export interface StoreEvent {
  /** 'put' covers the first write, too: then entry.revision is entry.createRevision. */
  readonly type: 'put' | 'delete';
  /** What is stored now; for 'delete' the last value, under the revision of the deletion. */
  readonly entry: StoreEntry;
  /** What was stored before. */
  readonly previous?: StoreEntry;
}

export interface WriteOptions {
  /**
   * For create: what was decided by another key (its namespace) holds only while that is at this revision; else STORE_MOVED and
   * nothing is written.
   */
  readonly whileAt?: { readonly key: string; readonly revision: number };
  /** Seconds from now after which the store deletes the key by itself (an etcd lease); absent: never. */
  readonly ttlSeconds?: number;
  /**
   * 'disk' (default): acknowledged when it is on the disk, so that a power cut keeps it. 'process': a kill of the
   * process keeps it, a power cut may lose the newest of these (never an older one before a newer one). For what is
   * computed again after a boot: status and events.
   */
  readonly durability?: 'disk' | 'process';
}

export interface StoreWatcher {
  /**
   * One write after another in order of revision, each key's history complete. The embedded store calls it before the write is
   * acknowledged, etcd as soon as it has heard of it.
   */
  events(events: readonly StoreEvent[]): void;
  /** The watch has ended by a failure (StoreError); nothing follows. */
  error(error: unknown): void;
}

/** A watch that stands. */
export interface StoreWatch {
  stop(): void;
  /** All writes up to this revision that the watch is about have been told: it can be resumed from there. */
  revision(): number;
}

export type StoreErrorCode =
  /** The key is there already, or its revision is not the expected one. */
  | 'STORE_CONFLICT'
  | 'STORE_NOT_FOUND'
  /** The key of `whileAt` has changed: look at it again. */
  | 'STORE_MOVED'
  /** The revision asked for has been compacted away, or lies in the future. */
  | 'STORE_COMPACTED'
  /** Another process has it open. */
  | 'STORE_LOCKED'
  /** The file is not a store of ours, or damaged. */
  | 'STORE_CORRUPT'
  /** The disk is full: nothing was written. */
  | 'STORE_FULL'
  /** Nobody answers (etcd without a majority, or unreachable): nothing was written. */
  | 'STORE_UNAVAILABLE'
  /** Nobody said whether a write was applied, and it could not be found out: read before trying again. */
  | 'STORE_UNCERTAIN'
  | 'STORE_FAILED';

export class StoreError extends PodwireError {
  declare readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}

export function isStoreError(error: unknown, code: StoreErrorCode): error is StoreError {
  return error instanceof StoreError && error.code === code;
}

/** All calls reject with StoreError. */
export interface Store {
  get(key: string): Promise<StoreEntry | undefined>;
  /** All keys with that prefix, in order of keys, and the revision at which this was true. */
  list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }>;
  /** STORE_CONFLICT when the key is there. */
  create(key: string, value: string, options?: WriteOptions): Promise<StoreEntry>;
  /** STORE_CONFLICT when its revision is not `expected`, STORE_NOT_FOUND when it is gone. */
  update(key: string, value: string, options: WriteOptions & { expected: number }): Promise<StoreEntry>;
  /** Gives the deletion's revision and the last value. STORE_CONFLICT and STORE_NOT_FOUND as update. */
  delete(key: string, options: { expected: number } & WriteOptions): Promise<StoreEntry>;
  /**
   * Tells every write with a revision above `afterRevision`: first those that have been, then those to come.
   * Rejections go to watcher.error, at once or later: STORE_COMPACTED.
   */
  watch(prefix: string, afterRevision: number, watcher: StoreWatcher): StoreWatch;
  /** Of the newest write, by anybody. Where nothing was written it is what the store begins with (SQLite 0, etcd 1). */
  revision(): Promise<number>;
  /**
   * Forgets what was overwritten or deleted up to this revision; watches may begin there or later. Of several processes that call
   * it again and again one does it: nothing is done when another has since the last call.
   */
  compact(revision: number): Promise<void>;
  close(): Promise<void>;
}
