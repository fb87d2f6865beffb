// What SQLite's result codes mean to a person, in the store's codes. Pure.
// Assumes node:sqlite's errors, which carry the extended code as `errcode`; its low byte is the primary one.
// Source: sqlite3.h (BUSY 5, LOCKED 6, CORRUPT 11, FULL 13, NOTADB 26).
import { messageOf } from '../exec/errors.ts';
import { StoreError } from './store.ts';

export function toStoreError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  const number = ((error as { errcode?: number }).errcode ?? 0) & 0xff;
  if (number === 5 || number === 6)
    return new StoreError(
      'STORE_LOCKED',
      `${path}: another process has this store open (is podwired running already?)`,
      { cause: error },
    );
  if (number === 11 || number === 26)
    return new StoreError(
      'STORE_CORRUPT',
      `${path}: not a store of podwire, or damaged: ${messageOf(error)}; move it away to begin with an empty one`,
      { cause: error },
    );
  if (number === 13)
    return new StoreError(
      'STORE_FULL',
      `${path}: the disk is full and nothing was written: delete objects or free space there, then try again`,
      { cause: error },
    );
  return new StoreError('STORE_FAILED', `${path}: ${messageOf(error)}`, { cause: error });
}
