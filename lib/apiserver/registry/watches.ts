// All watches of the registry: opens each on the store, keeps them, and tells those that wait where history stands.
// Assumes streams are read by one client each. O(watches) a bookmark round.
import type { WatchOptions } from '../../api/client.ts';
import { parseSelectors } from '../../api/selectors.ts';
import type { Resource } from '../../api/types.ts';
import { isStoreError, type StoreWatch } from '../../store/store.ts';
import { expiredError } from '../api-errors.ts';
import { parseRevision, prefixOf } from './keys.ts';
import type { ObjectTable } from './object-table.ts';
import { WatchStream, watchEventOf } from './watch-stream.ts';

export class Watches {
  readonly #table: ObjectTable;
  readonly #open = new Map<WatchStream, StoreWatch>();

  constructor(table: ObjectTable) {
    this.#table = table;
  }

  /** The watch stands when this resolves. @throws ApiError BadRequest (selectors, revision), Expired. */
  async open(resource: Resource, options: WatchOptions): Promise<WatchStream> {
    const matches = parseSelectors(resource, options);
    const stream = new WatchStream();
    let from = parseRevision(options.resourceVersion);
    if (from === undefined) {
      const { items, revision } = await this.#table.list(resource, options.namespace);
      for (const object of items)
        if (!matches || matches(object)) stream.push({ type: 'ADDED', object }, revision);
      stream.bookmark(revision, 'initial-end');
      from = revision;
    }
    let failure: unknown;
    const watch = this.#table.store.watch(prefixOf(resource, options.namespace), from, {
      events: (events) => {
        for (const event of events) {
          const told = watchEventOf(event, this.#table.decodeTold, matches);
          if (told) stream.push(told, event.entry.revision);
        }
      },
      error: (error) => {
        failure = isStoreError(error, 'STORE_COMPACTED') ? expiredError(error.message) : error;
        stream.fail(failure);
      },
    });
    if (failure !== undefined) throw failure;
    this.#keep(stream, options.signal, watch);
    return stream;
  }

  /** Each watch is told how far it has come: further than its last event, as others' writes count, too. */
  async bookmarks(): Promise<void> {
    for (const [stream, watch] of this.#open) stream.bookmark(watch.revision(), 'progress');
  }

  close(): void {
    for (const stream of [...this.#open.keys()]) stream.close();
  }

  #keep(stream: WatchStream, signal: AbortSignal, watch: StoreWatch): void {
    const abort = (): void => stream.abort();
    this.#open.set(stream, watch);
    signal.addEventListener('abort', abort, { once: true });
    stream.onClose(() => {
      watch.stop();
      this.#open.delete(stream);
      signal.removeEventListener('abort', abort);
    });
    if (signal.aborted) stream.abort();
  }
}
