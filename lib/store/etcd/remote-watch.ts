// Follows all writes below a prefix from a revision on, over broken streams and lost members: none missed, none twice.
// Assumes etcd sends a revision whole and in order. It goes on after the last revision it told, at the next member.
// One gRPC stream.
import { setTimeout as sleep } from 'node:timers/promises';
import { StoreError, type StoreEvent } from '../store.ts';
import type { Connection, WatchCall } from './connection.ts';
import { compactedKey, encodeKey, eventOf, rangeOf } from './decode.ts';
import { toStoreError } from './errors.ts';
import type { WatchResponse } from './rpc.ts';

export interface RemoteWatcher {
  /** All events of one or more revisions. */
  events(events: readonly StoreEvent[]): void;
  /** The watch is over: STORE_COMPACTED, as history was forgotten while nobody could be asked. */
  error(error: unknown): void;
}

export interface RemoteWatchOptions {
  readonly connection: Connection;
  /** The cluster's own, before every key. */
  readonly prefix: string;
  /** What the keys below it begin with. */
  readonly below: string;
  readonly after: number;
}

const pauseMs = 100;

const forgotten = (revision: number, compacted: number): StoreError =>
  new StoreError('STORE_COMPACTED', `revision ${revision} is not kept; those from ${compacted} on are`);

export class RemoteWatch {
  readonly #options: RemoteWatchOptions;
  readonly #watcher: RemoteWatcher;
  #revision: number;
  #stream: WatchCall | undefined;
  #stopped = false;

  constructor(options: RemoteWatchOptions, watcher: RemoteWatcher) {
    this.#options = options;
    this.#watcher = watcher;
    this.#revision = options.after;
    void this.#run();
  }

  /** Of the newest write told. */
  get revision(): number {
    return this.#revision;
  }

  stop(): void {
    this.#stopped = true;
    this.#stream?.cancel();
  }

  async #run(): Promise<void> {
    while (!this.#stopped && !this.#options.connection.isClosed) {
      try {
        await this.#checkKept();
        if (!this.#stopped) await this.#followOnce();
      } catch (error) {
        if (this.#stopped) return;
        if (error instanceof StoreError) {
          this.#stopped = true;
          return this.#watcher.error(error);
        }
      }
      if (!this.#stopped) await sleep(pauseMs);
    }
  }

  /**
   * etcd refuses a watch that begins before a compaction, but not one that begins right at it: and of those a deletion may be
   * missing (it is mended in newer ones). @throws StoreError STORE_COMPACTED
   */
  async #checkKept(): Promise<void> {
    const { connection, prefix } = this.#options;
    const { kvs } = await connection.call('Range', { key: encodeKey(prefix, compactedKey) });
    const compacted = Number(kvs[0]?.value ?? 0);
    if (this.#revision < compacted) throw forgotten(this.#revision, compacted);
  }

  /** Until this stream ends, by whatever. @throws StoreError what another stream would not mend */
  #followOnce(): Promise<void> {
    const { connection, prefix, below } = this.#options;
    const { stream, leave } = connection.watch();
    this.#stream = stream;
    return new Promise((resolve, reject) => {
      let ended = false;
      const end = (error?: unknown): void => {
        ended = true;
        stream.cancel();
        if (error === undefined) resolve();
        else reject(error);
      };
      stream.on('error', () => {
        if (!this.#stopped && !ended) leave();
        end();
      });
      stream.on('end', () => end());
      stream.on('data', (reply: WatchResponse) => {
        if (ended || this.#stopped) return;
        try {
          if (this.#take(reply)) return;
          leave();
          end();
        } catch (error) {
          end(toStoreError(error, 'watch'));
        }
      });
      stream.write({
        createRequest: { ...rangeOf(prefix + below), startRevision: this.#revision + 1, prevKv: true },
      });
    });
  }

  /** False when the member has ended the watch. @throws StoreError STORE_COMPACTED */
  #take(reply: WatchResponse): boolean {
    if (Number(reply.compactRevision) > 0) throw forgotten(this.#revision, Number(reply.compactRevision));
    if (reply.canceled) return false;
    const fresh = reply.events.filter(({ kv }) => Number(kv.modRevision) > this.#revision);
    if (fresh.length === 0) return true;
    const events = fresh.map((event) => eventOf(this.#options.prefix, event));
    this.#revision = events.at(-1)!.entry.revision;
    this.#watcher.events(events);
    return true;
  }
}
