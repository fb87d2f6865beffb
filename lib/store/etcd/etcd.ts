// The store over etcd v3, for several API servers at once: revisions are etcd's own, a write is one transaction.
// Assumes all keys below the prefix are written by podwire. Reads are linearizable: what any server has acknowledged is seen.
// One watch for all watchers of a process: a write is told and decoded once, O(watchers) to hand out.
//
// A write that was sent and not answered (a member died, the network broke) is neither repeated blindly nor given up:
// 1. the fence is renewed, after which that attempt can no longer be applied, if it has not been;
// 2. the shared watch is waited for up to the fence's revision; 3. if the write stands in the history it is done, else it is
// tried again. When that cannot be found out in time it is STORE_UNCERTAIN.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, PodwireError } from '../../exec/errors.ts';
import {
  isStoreError,
  type Store,
  type StoreEntry,
  StoreError,
  type StoreEvent,
  type StoreWatch,
  type StoreWatcher,
  type WriteOptions,
} from '../store.ts';
import { WatchHub } from '../watch-hub.ts';
import { Connection, type TlsFiles } from './connection.ts';
import { compactedKey, encodeKey, entryOf, isReserved, rangeOf, reserved } from './decode.ts';
import type { EtcdAddress } from './endpoints.ts';
import { CallError, isCompacted, isLeaseGone, isRefusal, toStoreError } from './errors.ts';
import { Fence } from './fence.ts';
import { History } from './history.ts';
import { Leases } from './leases.ts';
import { RemoteWatch } from './remote-watch.ts';
import type { TxnResponse } from './rpc.ts';
import { didWrite, type Fencing, outcomeOf, transactionOf, type Write } from './write.ts';

export interface EtcdStoreOptions extends EtcdAddress {
  /** Contents of the files, with `tls`. */
  readonly files?: TlsFiles;
  /** How long one member may take to answer; 2500 ms unless told. */
  readonly attemptMs?: number;
  /** How long a call may take over all members; 10 000 ms unless told. */
  readonly callMs?: number;
  /** Told of members that do not answer at the start. */
  readonly onWarning?: (message: string) => void;
}

const pageSize = 1000;
/** Never there: to ask for the revision. */
const probeKey = `${reserved}probe`;

/** @throws PodwireError DATASTORE_UNREACHABLE, DATASTORE_TLS. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<Store> {
  const { endpoints, tls, prefix, files = {}, attemptMs = 2500, callMs = 10_000 } = options;
  const connection = await Connection.open({ endpoints, tls: tls ? files : undefined, attemptMs, callMs });
  try {
    const revision = await probe(connection, options);
    return new EtcdStore(connection, prefix, revision);
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * The revision now. Each member is asked, so that a wrong address is told even if others answer; and again for a while when none
 * does: after a boot etcd may be coming up just now, too.
 */
async function probe(
  connection: Connection,
  { endpoints, prefix, onWarning = () => {} }: EtcdStoreOptions,
): Promise<number> {
  for (const until = Date.now() + connection.callMs; ; await sleep(200)) {
    const answers = await connection.askAll('Range', { key: encodeKey(prefix, probeKey) });
    const faults = answers.flatMap((answer, at) =>
      answer.status === 'rejected' ? [`${endpoints[at]}: ${messageOf(answer.reason)}`] : [],
    );
    const revisions = answers.flatMap((answer) =>
      answer.status === 'fulfilled' ? [Number(answer.value.header.revision)] : [],
    );
    if (revisions.length > 0) {
      for (const fault of faults) onWarning(`etcd ${fault}; going on with the others`);
      return Math.max(...revisions);
    }
    const isRefused = answers.every((one) => one.status === 'rejected' && isRefusal(one.reason));
    if (Date.now() < until && !isRefused) continue;
    throw new PodwireError(
      'DATASTORE_UNREACHABLE',
      `etcd answers at none of its endpoints (${faults.join('; ')}). Is it running, has it a majority of its members, and do --datastore and its certificates fit?`,
    );
  }
}

class EtcdStore implements Store {
  readonly #connection: Connection;
  readonly #prefix: string;
  readonly #hub = new WatchHub();
  readonly #history: History;
  readonly #leases: Leases;
  readonly #fence: Fence;
  readonly #catchingUp = new Set<RemoteWatch>();
  #shared: RemoteWatch;
  /** The record of the last compaction, as it was found at the last call: 5 minutes ago. */
  #compaction: number | undefined;
  #closed = false;

  constructor(connection: Connection, prefix: string, revision: number) {
    this.#connection = connection;
    this.#prefix = prefix;
    this.#history = new History(revision);
    this.#leases = new Leases(connection);
    this.#fence = new Fence(connection, this.#leases, prefix);
    this.#shared = this.#follow(revision);
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    const { kvs } = await this.#try(`read ${key}`, () =>
      this.#connection.call('Range', { key: encodeKey(this.#prefix, key) }),
    );
    return kvs[0] && entryOf(this.#prefix, kvs[0]);
  }

  async list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }> {
    return this.#try(`list ${prefix}`, async () => {
      for (;;)
        try {
          return await this.#listPages(prefix);
        } catch (error) {
          if (!isCompacted(error)) throw error; // the pages' revision was forgotten between two of them
        }
    });
  }

  create(key: string, value: string, options: WriteOptions = {}): Promise<StoreEntry> {
    const { ttlSeconds, whileAt } = options;
    return this.#write({ key, value, expected: 0, ttlSeconds, whileAt });
  }

  update(key: string, value: string, options: WriteOptions & { expected: number }): Promise<StoreEntry> {
    return this.#write({ key, value, expected: options.expected, ttlSeconds: options.ttlSeconds });
  }

  delete(key: string, options: { expected: number } & WriteOptions): Promise<StoreEntry> {
    return this.#write({ key, expected: options.expected });
  }

  async revision(): Promise<number> {
    const { header } = await this.#try('ask for the revision', () =>
      this.#connection.call('Range', { key: encodeKey(this.#prefix, probeKey) }),
    );
    return Number(header.revision);
  }

  watch(prefix: string, afterRevision: number, watcher: StoreWatcher): StoreWatch {
    const recent = this.#history.since(afterRevision);
    if (recent === undefined) return this.#catchUp(prefix, afterRevision, watcher);
    const watch = this.#join(prefix, { after: afterRevision, recent }, watcher);
    // A server that has heard of a revision from another may be ahead of our watch, but not of etcd.
    if (afterRevision > this.#history.revision) this.#refuseFuture(afterRevision, watch, watcher);
    return watch;
  }

  async compact(revision: number): Promise<void> {
    const upTo = Math.min(revision, await this.revision());
    const record = await this.get(compactedKey);
    const wasOthers = this.#compaction !== undefined && this.#compaction !== record?.revision;
    this.#compaction = record?.revision;
    if (wasOthers || Number(record?.value ?? 0) >= upTo) return;
    try {
      // First, so that no watch begins where something may be missing.
      const write = { key: compactedKey, value: String(upTo), expected: record?.revision ?? 0 };
      this.#compaction = (await this.#write(write)).revision;
      await this.#try('compact', () => this.#connection.call('Compact', { revision: upTo }));
    } catch (error) {
      // Another process is about it, or has gone further.
      if (!isStoreError(error, 'STORE_CONFLICT') && !isStoreError(error, 'STORE_COMPACTED')) throw error;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#shared.stop();
    for (const one of this.#catchingUp) one.stop();
    this.#hub.close();
    this.#connection.close();
  }

  // ── reads ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #listPages(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }> {
    const entries: StoreEntry[] = [];
    const { key: start, rangeEnd } = rangeOf(this.#prefix + prefix);
    let key = start;
    for (let revision = 0; ; ) {
      const page = await this.#connection.call('Range', {
        key,
        rangeEnd,
        revision,
        limit: pageSize,
      });
      revision ||= Number(page.header.revision);
      for (const kv of page.kvs) {
        const entry = entryOf(this.#prefix, kv);
        if (!isReserved(entry.key)) entries.push(entry);
      }
      const last = page.kvs.at(-1);
      if (!page.more || !last) return { entries, revision };
      key = Buffer.concat([last.key, Buffer.of(0)]);
    }
  }

  // ── writes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #write(write: Write): Promise<StoreEntry> {
    const what = `write ${write.key}`;
    const until = Date.now() + this.#connection.callMs;
    for (let attempt = 1; ; attempt++) {
      const since = this.#history.revision; // whatever this attempt writes comes later
      const fencing = await this.#try(what, () => this.#prepare(write));
      const reply = await this.#send(write, fencing);
      if (reply instanceof CallError) {
        const done = await this.#findOut(write, { since, fence: fencing.fence, cause: reply });
        if (done) return done;
        if (Date.now() > until || this.#closed) throw toStoreError(reply, what);
        await this.#connection.pause(attempt);
        continue;
      }
      const outcome = reply && outcomeOf(write, reply, fencing);
      if (outcome === undefined) continue; // with a new lease
      if ('entry' in outcome) return outcome.entry;
      if ('refusal' in outcome) throw outcome.refusal;
      await this.#try(what, () => this.#fence.moved(fencing.fence, outcome.fence));
    }
  }

  async #prepare({ ttlSeconds }: Write): Promise<Fencing> {
    const fence = await this.#fence.revision();
    const lease = ttlSeconds === undefined ? undefined : await this.#leases.forSeconds(ttlSeconds);
    return { prefix: this.#prefix, fenceKey: this.#fence.key, fence, lease };
  }

  /** The answer; a CallError: nobody answered; undefined: the lease has gone. @throws StoreError when etcd refused */
  async #send(write: Write, fencing: Fencing): Promise<TxnResponse | CallError | undefined> {
    try {
      return await this.#connection.attempt('Txn', transactionOf(write, fencing));
    } catch (error) {
      if (error instanceof CallError && !isRefusal(error)) return error;
      if (!isLeaseGone(error) || write.ttlSeconds === undefined)
        throw toStoreError(error, `write ${write.key}`);
      this.#leases.forget(write.ttlSeconds);
      return undefined;
    }
  }

  /** What became of a write that nobody answered: its entry, or undefined: it was not and will not be applied. */
  async #findOut(
    write: Write,
    tried: { readonly since: number; readonly fence: number; readonly cause: CallError },
  ): Promise<StoreEntry | undefined> {
    let told: StoreEvent[] | undefined;
    let cause: unknown = tried.cause;
    try {
      const fenced = await this.#fence.renew(tried.fence);
      await this.#history.reached(fenced, this.#connection.callMs);
      told = this.#history.since(tried.since);
    } catch (error) {
      cause = error;
    }
    if (told) return told.find((event) => didWrite(write, event))?.entry;
    throw new StoreError(
      'STORE_UNCERTAIN',
      `etcd: write ${write.key}: it may or may not have been applied (${tried.cause.endpoint}: ${tried.cause.message}); read it before trying again`,
      { cause },
    );
  }

  async #try<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw toStoreError(error, what);
    }
  }

  // ── watches ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The one watch from which all that is new is handed out. */
  #follow(after: number): RemoteWatch {
    return new RemoteWatch(
      { connection: this.#connection, prefix: this.#prefix, below: '/', after },
      {
        events: (events) => {
          for (const event of events) {
            this.#history.add(event);
            if (!isReserved(event.entry.key)) this.#hub.tell(event);
          }
        },
        error: (error) => void this.#beginAnew(error),
      },
    );
  }

  /** What was missed cannot be read any more: all watchers list again, as after any gap. */
  async #beginAnew(error: unknown): Promise<void> {
    this.#hub.failAll(error);
    while (!this.#closed)
      try {
        const revision = await this.revision();
        this.#history.restart(revision);
        this.#shared = this.#follow(revision);
        return;
      } catch {
        // revision() has waited long enough for somebody to answer
      }
  }

  /** Tells what has been, and registers for what comes. */
  #join(
    prefix: string,
    from: { readonly after: number; readonly recent: readonly StoreEvent[] },
    watcher: StoreWatcher,
  ): StoreWatch {
    const after = Math.max(from.after, this.#history.revision);
    const watch = this.#hub.add(prefix, after, watcher, () => this.#history.revision);
    const missed = from.recent.filter(({ entry }) => entry.key.startsWith(prefix) && !isReserved(entry.key));
    try {
      if (missed.length > 0) watcher.events(missed);
    } catch (error) {
      watch.stop();
      watcher.error(error);
    }
    return watch;
  }

  /** Where etcd cannot be asked the watch just waits: it will be told what comes. */
  #refuseFuture(after: number, watch: StoreWatch, watcher: StoreWatcher): void {
    const check = async (): Promise<void> => {
      const revision = await this.revision();
      if (after <= revision || this.#closed) return;
      watch.stop();
      const why = `revision ${after} lies in the future; ${revision} is the newest`;
      watcher.error(new StoreError('STORE_COMPACTED', why));
    };
    check().catch(() => {});
  }

  /** A watch of its own until it has come to where the shared history begins, then one of all. */
  #catchUp(prefix: string, after: number, watcher: StoreWatcher): StoreWatch {
    let joined: StoreWatch | undefined;
    const end = (): void => {
      own.stop();
      this.#catchingUp.delete(own);
      joined?.stop();
    };
    const fail = (error: unknown): void => {
      end();
      watcher.error(error);
    };
    const events = (batch: readonly StoreEvent[]): void => {
      const told = batch.filter(({ entry }) => !isReserved(entry.key));
      try {
        if (told.length > 0) watcher.events(told);
      } catch (error) {
        fail(error);
        return;
      }
      const reached = batch.at(-1)!.entry.revision;
      const recent = this.#history.since(reached);
      if (recent === undefined || !this.#catchingUp.has(own)) return;
      end();
      joined = this.#join(prefix, { after: reached, recent }, watcher);
    };
    const where = { connection: this.#connection, prefix: this.#prefix, below: prefix, after };
    const own = new RemoteWatch(where, { events, error: fail });
    this.#catchingUp.add(own);
    return { stop: end, revision: () => joined?.revision() ?? own.revision };
  }
}
