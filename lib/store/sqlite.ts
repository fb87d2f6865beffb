// The embedded store: one SQLite file in WAL mode, through node:sqlite. Survives kill -9 at any instant.
// Assumes one process (it locks the file). `log` holds a row a write, `kv` points at each key's newest row.
// A write costs two rows and, with durability 'disk', one fsync (0.3 ms on the reference machine, 0.03 ms without).
import { chmodSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { Ballast } from './ballast.ts';
import { toStoreError } from './sqlite-errors.ts';
import {
  isStoreError,
  type Store,
  type StoreEntry,
  StoreError,
  type StoreEvent,
  type StoreWatch,
  type StoreWatcher,
  type WriteOptions,
} from './store.ts';
import { WatchHub } from './watch-hub.ts';

const schemaVersion = 1;
const applicationId = 0x70777264; // "pwrd"
const setUp = `
  CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    previous INTEGER,
    deleted INTEGER NOT NULL,
    value TEXT NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS kv (
    key TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    expires INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS kv_expires ON kv (expires) WHERE expires IS NOT NULL;
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT OR IGNORE INTO meta VALUES ('compacted', 0);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

export interface SqliteStoreOptions {
  /** The file, made when missing (mode 0600); ':memory:' for tests. */
  path: string;
  /** Milliseconds since the epoch; injected by tests of ttl. */
  now?: () => number;
  /** How often expired keys are looked for; 30 000 ms unless told. */
  sweepMs?: number;
  /** Told what failed while nobody waited (the sweep on a full disk); it is tried again. */
  onError?: (error: unknown) => void;
}

// Not TRUNCATE: what the log's file occupies stays ours, and no other process can take it from us on a full disk.
const checkpoint = 'PRAGMA wal_checkpoint(RESTART)';

type Synchronous = 'FULL' | 'NORMAL';
/** What a write may take on a full disk: only what is free, or what is held back for this, too. */
type Room = 'free' | 'reserved';

interface Write {
  readonly key: string;
  readonly value?: string;
  readonly expected?: number;
  readonly options: WriteOptions;
  readonly room?: Room;
}

interface Row {
  key: string;
  value: string;
  revision: number;
  create_revision: number;
}
interface LogRow extends Row {
  deleted: number;
  previous_value: string | null;
  previous_revision: number | null;
}

/** @throws StoreError STORE_LOCKED, STORE_CORRUPT, STORE_FULL or STORE_FAILED when it cannot be opened. */
export function openSqliteStore(options: SqliteStoreOptions): Store {
  const { path } = options;
  const ballast = path === ':memory:' ? undefined : new Ballast(path);
  try {
    return new SqliteStore(options, ballast);
  } catch (error) {
    const first = toStoreError(error, path);
    if (first.code !== 'STORE_FULL' || !ballast?.drop()) throw first;
  }
  try {
    return new SqliteStore(options, ballast);
  } catch (error) {
    throw toStoreError(error, path);
  }
}

class SqliteStore implements Store {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #now: () => number;
  readonly #hub = new WatchHub();
  readonly #sql: ReturnType<typeof prepare>;
  readonly #sweeper: NodeJS.Timeout;
  readonly #ballast: Ballast | undefined;
  /** No room is held back. */
  #tight: boolean;
  #synchronous: Synchronous = 'FULL';
  #revision: number;
  #compacted: number;

  constructor(options: SqliteStoreOptions, ballast: Ballast | undefined) {
    const { path, now = Date.now, sweepMs = 30_000, onError = () => {} } = options;
    this.#path = path;
    this.#now = now;
    this.#ballast = ballast;
    this.#db = open(path);
    this.#sql = prepare(this.#db);
    this.#compacted = (this.#sql.compacted.get() as { value: number }).value;
    const newest = (this.#sql.newest.get() as { revision: number | null }).revision ?? 0;
    // A compaction may have dropped the newest rows, if they were deletions: revisions never run backwards.
    this.#revision = Math.max(newest, this.#compacted);
    this.#tight = ballast !== undefined && !ballast.fill();
    this.#sweeper = setInterval(() => {
      try {
        this.#sweep();
      } catch (error) {
        onError(toStoreError(error, path)); // a timer's error would end the daemon
      }
    }, sweepMs).unref();
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    const row = this.#try(() => this.#sql.get.get(key)) as Row | undefined;
    return row && entryOf(row);
  }

  async list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }> {
    const rows = this.#try(() => this.#sql.list.all(prefix, `${prefix}\u{10ffff}`)) as unknown as Row[];
    return { entries: rows.map(entryOf), revision: this.#revision };
  }

  async create(key: string, value: string, options: WriteOptions = {}): Promise<StoreEntry> {
    return this.#write({ key, value, options });
  }

  async update(
    key: string,
    value: string,
    options: WriteOptions & { expected: number },
  ): Promise<StoreEntry> {
    const room = options.durability === 'process' ? 'free' : 'reserved'; // a status can wait for room, a wish cannot
    return this.#write({ key, value, expected: options.expected, options, room });
  }

  async delete(key: string, options: WriteOptions & { expected: number }): Promise<StoreEntry> {
    return this.#write({ key, expected: options.expected, options, room: 'reserved' });
  }

  async revision(): Promise<number> {
    return this.#revision;
  }

  watch(prefix: string, afterRevision: number, watcher: StoreWatcher): StoreWatch {
    if (afterRevision < this.#compacted || afterRevision > this.#revision) {
      const kept = `${this.#compacted} to ${this.#revision}`;
      watcher.error(new StoreError('STORE_COMPACTED', `revision ${afterRevision} is not kept; ${kept} are`));
      return { stop: () => {}, revision: () => afterRevision };
    }
    if (afterRevision < this.#revision) {
      const rows = this.#try(() =>
        this.#sql.since.all(afterRevision, prefix, `${prefix}\u{10ffff}`),
      ) as unknown as LogRow[];
      if (rows.length > 0) watcher.events(rows.map(eventOf));
    }
    return this.#hub.add(prefix, this.#revision, watcher, () => this.#revision);
  }

  async compact(revision: number): Promise<void> {
    const upTo = Math.min(revision, this.#revision);
    if (upTo <= this.#compacted) return;
    this.#forgetUpTo(upTo);
    if (this.#ballast?.fill()) this.#tight = false;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#hub.close();
    if (this.#db.isOpen) this.#db.close();
  }

  /** The one way to write: no `value` deletes, no `expected` creates. Commits, then tells the watchers. */
  #write(write: Write): StoreEntry {
    const { key, value, expected, options, room = 'free' } = write;
    const old = this.#try(() => this.#sql.get.get(key)) as Row | undefined;
    checkExpected(key, old, expected);
    if (options.whileAt) this.#checkStill(options.whileAt);
    const revision = this.#revision + 1;
    const createRevision = old?.create_revision ?? revision;
    const entry = { key, value: value ?? old!.value, revision, createRevision };
    const expires = options.ttlSeconds === undefined ? null : this.#now() + options.ttlSeconds * 1000;
    this.#transactionInRoom(options.durability === 'process' ? 'NORMAL' : 'FULL', room, () => {
      this.#sql.log.run(
        revision,
        key,
        createRevision,
        old?.revision ?? null,
        value === undefined ? 1 : 0,
        entry.value,
      );
      if (value === undefined) this.#sql.remove.run(key);
      else this.#sql.put.run(key, revision, expires);
    });
    this.#revision = revision;
    const type = value === undefined ? 'delete' : 'put';
    this.#hub.tell({ type, entry, ...(old ? { previous: entryOf(old) } : {}) });
    return entry;
  }

  #checkStill({ key, revision }: NonNullable<WriteOptions['whileAt']>): void {
    const found = this.#try(() => this.#sql.get.get(key)) as Row | undefined;
    if (found?.revision !== revision)
      throw new StoreError('STORE_MOVED', `${key}: is no longer at ${revision}`);
  }

  /** On a full disk once more after each way to make room. */
  #transactionInRoom(synchronous: Synchronous, room: Room, work: () => void): void {
    const ways = this.#makeRoom(room);
    // What each deletion leaves in the history is room for the next one: so all can be deleted on a full disk.
    if (this.#tight && room === 'reserved') this.#tryOnFullDisk(() => this.#forgetUpTo(this.#revision));
    for (;;)
      try {
        this.#transaction(synchronous, work);
        // The database's file grows now, while there is room, or its log could never be used anew.
        if (this.#tight) this.#tryOnFullDisk(() => this.#db.exec(checkpoint));
        return;
      } catch (error) {
        if (!isStoreError(error, 'STORE_FULL') || ways.next().done) throw error;
      }
  }

  /**
   * What the log's file holds goes into the database, and the file is used anew. Then, for what may: the ballast, which
   * lets that succeed, and the history (who wants to watch from an old revision must read anew).
   */
  *#makeRoom(room: Room): Generator<void> {
    this.#tryOnFullDisk(() => this.#db.exec(checkpoint));
    yield;
    if (room === 'free') return;
    this.#tight = true;
    this.#ballast?.drop();
    this.#tryOnFullDisk(() => this.#db.exec(checkpoint));
    this.#tryOnFullDisk(() => this.#forgetUpTo(this.#revision));
    this.#tryOnFullDisk(() => this.#db.exec(checkpoint));
    yield;
  }

  #tryOnFullDisk(work: () => void): void {
    try {
      this.#try(work);
    } catch (error) {
      if (!isStoreError(error, 'STORE_FULL')) throw error;
    }
  }

  #forgetUpTo(revision: number): void {
    this.#transaction('NORMAL', () => {
      this.#sql.dropSuperseded.run(this.#compacted, revision);
      this.#sql.dropDeleted.run(revision);
      this.#sql.setCompacted.run(revision);
    });
    this.#compacted = revision;
  }

  #transaction(synchronous: Synchronous, work: () => void): void {
    this.#try(() => {
      if (synchronous !== this.#synchronous) {
        this.#db.exec(`PRAGMA synchronous = ${synchronous}`);
        this.#synchronous = synchronous;
      }
      this.#sql.begin.run();
      try {
        work();
        this.#sql.commit.run();
      } catch (error) {
        if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
        throw error;
      }
    });
  }

  #try<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw toStoreError(error, this.#path);
    }
  }

  #sweep(): void {
    const rows = this.#sql.expired.all(this.#now()) as unknown as { key: string; revision: number }[];
    for (const { key, revision } of rows)
      this.#write({ key, expected: revision, options: { durability: 'process' } });
  }
}

function open(path: string): DatabaseSync {
  const before = process.umask(0o077);
  try {
    const db = new DatabaseSync(path, { timeout: 0 });
    try {
      // An exclusive lock needs no shared-memory file, and a second daemon is refused at once.
      db.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA cache_size = -512; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 4194304;`);
      if (isNew(db, path)) db.exec(`BEGIN IMMEDIATE; ${setUp} COMMIT;`);
    } catch (error) {
      db.close();
      throw error;
    }
    if (path !== ':memory:') chmodSync(path, 0o600);
    return db;
  } finally {
    process.umask(before);
  }
}

/** False for a store of this version. @throws StoreError STORE_CORRUPT for anything else */
function isNew(db: DatabaseSync, path: string): boolean {
  const read = (pragma: string): number =>
    Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] as number;
  const [owner, version] = [read('application_id'), read('user_version')];
  if (owner === 0 && version === 0) return true;
  if (owner !== applicationId)
    throw new StoreError('STORE_CORRUPT', `${path}: an SQLite file, but not a store of podwire`);
  if (version !== schemaVersion)
    throw new StoreError(
      'STORE_CORRUPT',
      `${path}: made by another version of podwire (format ${version}, this one reads ${schemaVersion})`,
    );
  return false;
}

function prepare(db: DatabaseSync) {
  const entry = 'kv.key, log.value, log.revision, log.create_revision';
  const sql = (text: string): StatementSync => db.prepare(text);
  return {
    begin: sql('BEGIN IMMEDIATE'),
    commit: sql('COMMIT'),
    get: sql(`SELECT ${entry} FROM kv JOIN log USING (revision) WHERE kv.key = ?`),
    list: sql(
      `SELECT ${entry} FROM kv JOIN log USING (revision) WHERE kv.key >= ? AND kv.key < ? ORDER BY kv.key`,
    ),
    log: sql(
      'INSERT INTO log (revision, key, create_revision, previous, deleted, value) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    put: sql(
      'INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, expires = excluded.expires',
    ),
    remove: sql('DELETE FROM kv WHERE key = ?'),
    newest: sql('SELECT max(revision) AS revision FROM log'),
    since: sql(`SELECT log.key, log.value, log.revision, log.create_revision, log.deleted,
        before.value AS previous_value, before.revision AS previous_revision
      FROM log LEFT JOIN log AS before ON before.revision = log.previous
      WHERE log.revision > ? AND log.key >= ? AND log.key < ? ORDER BY log.revision`),
    expired: sql('SELECT key, revision FROM kv WHERE expires <= ? ORDER BY expires LIMIT 1000'),
    compacted: sql("SELECT value FROM meta WHERE name = 'compacted'"),
    setCompacted: sql("UPDATE meta SET value = ? WHERE name = 'compacted'"),
    // What a write up to then replaced; what was current at that time stays, as the previous value of later writes.
    dropSuperseded: sql(
      'DELETE FROM log WHERE revision IN (SELECT previous FROM log WHERE revision > ? AND revision <= ? AND previous IS NOT NULL)',
    ),
    dropDeleted: sql('DELETE FROM log WHERE deleted = 1 AND revision <= ?'),
  };
}

function checkExpected(key: string, old: Row | undefined, expected: number | undefined): void {
  if (expected === undefined) {
    if (old) throw new StoreError('STORE_CONFLICT', `${key}: exists`);
  } else if (!old) throw new StoreError('STORE_NOT_FOUND', `${key}: not found`);
  else if (old.revision !== expected)
    throw new StoreError('STORE_CONFLICT', `${key}: is at revision ${old.revision}, not ${expected}`);
}

const entryOf = (row: Row): StoreEntry => ({
  key: row.key,
  value: row.value,
  revision: row.revision,
  createRevision: row.create_revision,
});

function eventOf(row: LogRow): StoreEvent {
  const entry = entryOf(row);
  const { previous_value: value, previous_revision: revision } = row;
  const previous = value !== null && revision !== null ? { ...entry, value, revision } : undefined;
  return { type: row.deleted ? 'delete' : 'put', entry, ...(previous ? { previous } : {}) };
}
