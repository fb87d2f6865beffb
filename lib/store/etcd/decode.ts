// Between etcd's messages and the store's: keys with and without the prefix, entries, events, and what a watch's range is.
// Assumes values are UTF-8. Keys of ours that are no store's keys begin with `/.` after the prefix. Pure.
import type { StoreEntry, StoreEvent } from '../store.ts';
import { StoreError } from '../store.ts';
import type { KeyValue, RemoteEvent } from './rpc.ts';

/** Where the prefix's own bookkeeping is: no store key begins so. */
export const reserved = '/.';

/** Holds the revision of the last compaction. */
export const compactedKey = `${reserved}compacted`;

export const isReserved = (key: string): boolean => key.startsWith(reserved);

export const encodeKey = (prefix: string, key: string): Buffer => Buffer.from(prefix + key);

/** All keys that begin with this text. */
export function rangeOf(start: string): { key: Buffer; rangeEnd: Buffer } {
  const key = Buffer.from(start);
  const rangeEnd = Buffer.from(key);
  const last = rangeEnd.length - 1;
  rangeEnd[last] = rangeEnd[last]! + 1; // UTF-8 has no byte 0xff, so this never overflows
  return { key, rangeEnd };
}

export function entryOf(prefix: string, kv: KeyValue): StoreEntry {
  return {
    key: kv.key.toString().slice(prefix.length),
    value: kv.value.toString(),
    revision: Number(kv.modRevision),
    createRevision: Number(kv.createRevision),
  };
}

/** @throws StoreError STORE_COMPACTED when the value before is no longer kept. */
export function eventOf(prefix: string, { type, kv, prevKv }: RemoteEvent): StoreEvent {
  const written = entryOf(prefix, kv);
  const previous = prevKv ? entryOf(prefix, prevKv) : undefined;
  if (type === 'PUT' && (previous || written.revision === written.createRevision))
    return { type: 'put', entry: written, ...(previous ? { previous } : {}) };
  if (!previous)
    throw new StoreError('STORE_COMPACTED', `what ${written.key} was before ${written.revision} is not kept`);
  return { type: 'delete', entry: { ...previous, revision: written.revision }, previous };
}
