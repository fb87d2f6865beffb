// One write as etcd's transaction, and what its answer says. The key must be as expected and the fence unmoved.
// Assumes expected 0 stands for "not there". Pure.
import { type StoreEntry, StoreError, type StoreEvent, type WriteOptions } from '../store.ts';
import { encodeKey, entryOf } from './decode.ts';
import type { Compare, RequestOp, TxnRequest, TxnResponse } from './rpc.ts';

export interface Write {
  readonly key: string;
  /** Absent: it is deleted. */
  readonly value?: string | undefined;
  /** 0: it must not be there. */
  readonly expected: number;
  readonly ttlSeconds?: number | undefined;
  readonly whileAt?: WriteOptions['whileAt'] | undefined;
}

export interface Fencing {
  readonly prefix: string;
  readonly fenceKey: Buffer;
  readonly fence: number;
  readonly lease?: string | undefined;
}

export type Outcome =
  | { readonly entry: StoreEntry }
  | { readonly refusal: StoreError }
  /** Nothing was decided: the fence had moved. 0: it is gone. */
  | { readonly fence: number };

const isAt = (key: Buffer, modRevision: number): Compare => ({
  result: 'EQUAL',
  target: 'MOD',
  key,
  modRevision,
});

export function transactionOf(write: Write, { prefix, fenceKey, fence, lease }: Fencing): TxnRequest {
  const key = encodeKey(prefix, write.key);
  const look: RequestOp = { requestRange: { key, keysOnly: true } };
  const change: RequestOp =
    write.value === undefined
      ? { requestDeleteRange: { key, prevKv: true } }
      : { requestPut: { key, value: Buffer.from(write.value), ...(lease ? { lease } : {}) } };
  return {
    compare: [
      isAt(key, write.expected),
      isAt(fenceKey, fence),
      ...(write.whileAt ? [isAt(encodeKey(prefix, write.whileAt.key), write.whileAt.revision)] : []),
    ],
    success: write.value === undefined ? [change] : [change, look],
    failure: [look, { requestRange: { key: fenceKey, keysOnly: true } }],
  };
}

export function outcomeOf(write: Write, reply: TxnResponse, { prefix, fence }: Fencing): Outcome {
  const [first, second] = reply.responses;
  if (reply.succeeded) {
    if (write.value === undefined) {
      const [last] = first!.responseDeleteRange!.prevKvs;
      return { entry: { ...entryOf(prefix, last!), revision: Number(reply.header.revision) } };
    }
    return { entry: { ...entryOf(prefix, second!.responseRange!.kvs[0]!), value: write.value } };
  }
  const fenceNow = Number(second!.responseRange!.kvs[0]?.modRevision ?? 0);
  if (fenceNow !== fence) return { fence: fenceNow };
  const found = first!.responseRange!.kvs[0];
  return { refusal: refusalOf(write, found && Number(found.modRevision)) };
}

function refusalOf({ key, expected, whileAt }: Write, found: number | undefined): StoreError {
  if ((found ?? 0) === expected && whileAt)
    return new StoreError('STORE_MOVED', `${whileAt.key}: is no longer at ${whileAt.revision}`);
  if (expected === 0) return new StoreError('STORE_CONFLICT', `${key}: exists`);
  if (found === undefined) return new StoreError('STORE_NOT_FOUND', `${key}: not found`);
  return new StoreError('STORE_CONFLICT', `${key}: is at revision ${found}, not ${expected}`);
}

/**
 * Whether the history shows this write. Only one write can follow `expected`; one of another process with the very same value
 * is the same to everybody, and so it is to us.
 */
export function didWrite(write: Write, { type, entry, previous }: StoreEvent): boolean {
  if (entry.key !== write.key || (previous?.revision ?? 0) !== write.expected) return false;
  return write.value === undefined ? type === 'delete' : type === 'put' && entry.value === write.value;
}
