// One client's watch: turns store events into ADDED, MODIFIED, DELETED for what its selectors see, and queues them.
// Assumes one reader. A reader that falls too far behind gets Expired and must list again; memory stays bounded.
// O(1) an event, and each object is parsed once for all watches (ObjectCache).
import { initialEventsEnd, type WatchEvent } from '../../api/client.ts';
import type { ApiError } from '../../api/errors.ts';
import type { Matcher } from '../../api/selectors.ts';
import type { ApiObject } from '../../api/types.ts';
import type { StoreEntry, StoreEvent } from '../../store/store.ts';
import { expiredError } from '../api-errors.ts';

const maxQueued = 10_000;

export type Decode = (entry: StoreEntry) => ApiObject;

/** What one write means to a watch with this selector; undefined: nothing. Pure but for `decode`. */
export function watchEventOf(
  event: StoreEvent,
  decode: Decode,
  matches: Matcher | undefined,
): WatchEvent<ApiObject> | undefined {
  const isNew = event.entry.revision === event.entry.createRevision;
  if (!matches) {
    if (event.type === 'delete') return { type: 'DELETED', object: decode(event.entry) };
    return { type: isNew ? 'ADDED' : 'MODIFIED', object: decode(event.entry) };
  }
  const sees = event.type === 'put' && matches(decode(event.entry));
  const saw = !isNew && event.previous !== undefined && matches(decode(event.previous));
  if (sees) return { type: saw ? 'MODIFIED' : 'ADDED', object: decode(event.entry) };
  if (!saw) return undefined;
  if (event.type === 'delete') return { type: 'DELETED', object: decode(event.entry) };
  // It left the selection: the client is told of what it last saw, at the revision at which it left.
  const last = decode(event.previous!);
  return {
    type: 'DELETED',
    object: { ...last, metadata: { ...last.metadata, resourceVersion: String(event.entry.revision) } },
  };
}

export class WatchStream implements AsyncIterable<WatchEvent<ApiObject>> {
  #queue: WatchEvent<ApiObject>[] = [];
  #wake: (() => void) | undefined;
  #failure: unknown;
  #closed = false;
  /** The newest revision this watch knows of, be it told or not seen by the selector. */
  #revision = 0;
  readonly #onClose: (() => void)[] = [];

  push(event: WatchEvent<ApiObject>, revision: number): void {
    if (this.#closed) return;
    this.#revision = revision;
    if (this.#queue.length >= maxQueued) {
      this.fail(expiredError('this watch fell too far behind; list again'));
      return;
    }
    this.#queue.push(event);
    this.#wakeUp();
  }

  /** Tells the revision reached, unless the last event has told it. */
  bookmark(revision: number, isInitialEnd: 'initial-end' | 'progress'): void {
    const initial = isInitialEnd === 'initial-end';
    if (!initial && revision <= this.#revision) return;
    const metadata = {
      resourceVersion: String(revision),
      ...(initial ? { annotations: { [initialEventsEnd]: 'true' } } : {}),
    };
    this.push({ type: 'BOOKMARK', object: { metadata } }, revision);
  }

  fail(error: ApiError | unknown): void {
    if (this.#closed) return;
    this.#failure = error;
    this.close();
  }

  /** Ends the watch: its reader gets what is queued (unless it failed), then the end. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const done of this.#onClose) done();
    this.#wakeUp();
  }

  /** The reader has gone: nothing more is told. */
  abort(): void {
    this.#queue = [];
    this.close();
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  onClose(done: () => void): void {
    if (this.#closed) done();
    else this.#onClose.push(done);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<WatchEvent<ApiObject>, void, undefined> {
    try {
      for (;;) {
        const batch = this.#queue;
        this.#queue = [];
        for (const event of batch) {
          yield event;
        }
        if (this.#queue.length > 0) continue;
        if (this.#failure !== undefined) throw this.#failure;
        if (this.#closed) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      this.close();
    }
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
