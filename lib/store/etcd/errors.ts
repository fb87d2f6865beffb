// What an etcd call's failure means: whether anything can have been written, whether another member may know better.
// Assumes gRPC's status codes as etcd uses them (api/v3rpc/rpctypes/error.go). Pure.
import { messageOf } from '../../exec/errors.ts';
import { StoreError } from '../store.ts';

/** gRPC's numbers. */
export const status = {
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** A call that failed at one endpoint. */
export class CallError extends Error {
  readonly status: number;
  readonly endpoint: string;
  constructor(status: number, endpoint: string, details: string) {
    super(details);
    this.name = 'CallError';
    this.status = status;
    this.endpoint = endpoint;
  }
}

/** etcd's own words, in which it says that it did not do what was asked. */
const refusals: ReadonlySet<number> = new Set([
  status.invalidArgument,
  status.notFound,
  status.permissionDenied,
  status.resourceExhausted,
  status.failedPrecondition,
  status.outOfRange,
  status.unimplemented,
  status.unauthenticated,
]);

/** The server has decided: asking again, or somebody else, gives the same answer. */
export const isRefusal = (error: unknown): error is CallError =>
  error instanceof CallError && refusals.has(error.status);

/** A lease that has run out between its grant and its use. */
export const isLeaseGone = (error: unknown): boolean =>
  error instanceof CallError && error.status === status.notFound;

export const isCompacted = (error: unknown): boolean =>
  error instanceof CallError && error.status === status.outOfRange;

export function toStoreError(error: unknown, what: string): StoreError {
  if (error instanceof StoreError) return error;
  if (!(error instanceof CallError))
    return new StoreError('STORE_FAILED', `etcd: ${what}: ${messageOf(error)}`, { cause: error });
  const where = `etcd ${error.endpoint}: ${what}: ${error.message}`;
  if (isCompacted(error)) return new StoreError('STORE_COMPACTED', where, { cause: error });
  if (error.status === status.resourceExhausted)
    return new StoreError(
      'STORE_FULL',
      `${where} (when its space is used up: compact, defragment, then etcdctl alarm disarm)`,
      { cause: error },
    );
  if (isRefusal(error)) return new StoreError('STORE_FAILED', where, { cause: error });
  return new StoreError('STORE_UNAVAILABLE', where, { cause: error });
}
