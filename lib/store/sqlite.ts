// The embedded store: one SQLite file in WAL mode, through node:sqlite. Survives kill -9 at any instant.
// Assumes one process (it locks the file). `log` holds a row a write, `kv` points at each key's newest row.
// A write costs two rows and, with durability 'disk', one fsync (0.3 ms on the reference machine, 0.03 ms without).
import { chmodSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { messageOf } from '../exec/errors.ts';
import {
  type Store,
  type StoreEntry,
  StoreError,
  type StoreEvent,
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

/** @throws StoreError STORE_LOCKED, STORE_CORRUPT or STORE_FAILED when it cannot be opened. */
export function openSqliteStore(options: SqliteStoreOptions): Store {
  try {
    return new SqliteStore(options);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw toStoreError(error, options.path);
  }
}

function toStoreError(error: unknown, path: string): StoreError {
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
  return new StoreError('STORE_FAILED', `${path}: ${messageOf(error)}`, { cause: error });
}

class SqliteStore implements Store {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #now: () => number;
  readonly #hub = new WatchHub();
  readonly #sql: ReturnType<typeof prepare>;
  readonly #sweeper: NodeJS.Timeout;
  #synchronous: 'FULL' | 'NORMAL' = 'FULL';
  #revision: number;
  #compacted: number;

  constructor({ path, now = Date.now, sweepMs = 30_000 }: SqliteStoreOptions) {
    this.#path = path;
    this.#now = now;
    this.#db = open(path);
    this.#sql = prepare(this.#db);
    this.#compacted = (this.#sql.compacted.get() as { value: number }).value;
    const newest = (this.#sql.newest.get() as { revision: number | null }).revision ?? 0;
    // A compaction may have dropped the newest rows, if they were deletions: revisions never run backwards.
    this.#revision = Math.max(newest, this.#compacted);
    this.#sweeper = setInterval(() => this.#sweep(), sweepMs).unref();
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
    return this.#write({ key, value, expected: options.expected, options });
  }

  async delete(key: string, options: WriteOptions & { expected: number }): Promise<StoreEntry> {
    return this.#write({ key, expected: options.expected, options });
  }

  async revision(): Promise<number> {
    return this.#revision;
  }

  watch(prefix: string, afterRevision: number, watcher: StoreWatcher): () => void {
    if (afterRevision < this.#compacted || afterRevision > this.#revision) {
      const kept = `${this.#compacted} to ${this.#revision}`;
      watcher.error(new StoreError('STORE_COMPACTED', `revision ${afterRevision} is not kept; ${kept} are`));
      return () => {};
    }
    if (afterRevision < this.#revision) {
      const rows = this.#try(() =>
        this.#sql.since.all(afterRevision, prefix, `${prefix}\u{10ffff}`),
      ) as unknown as LogRow[];
      if (rows.length > 0) watcher.events(rows.map(eventOf));
    }
    return this.#hub.add(prefix, this.#revision, watcher);
  }

  async compact(revision: number): Promise<void> {
    const upTo = Math.min(revision, this.#revision);
    if (upTo <= this.#compacted) return;
    this.#transaction('NORMAL', () => {
      this.#sql.dropSuperseded.run(this.#compacted, upTo);
      this.#sql.dropDeleted.run(upTo);
      this.#sql.setCompacted.run(upTo);
    });
    this.#compacted = upTo;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#hub.close();
    if (this.#db.isOpen) this.#db.close();
  }

  /** The one way to write: no `value` deletes, no `expected` creates. Commits, then tells the watchers. */
  #write(write: { key: string; value?: string; expected?: number; options: WriteOptions }): StoreEntry {
    const { key, value, expected, options } = write;
    const old = this.#try(() => this.#sql.get.get(key)) as Row | undefined;
    checkExpected(key, old, expected);
    const revision = this.#revision + 1;
    const createRevision = old?.create_revision ?? revision;
    const entry = { key, value: value ?? old!.value, revision, createRevision };
    const expires = options.ttlSeconds === undefined ? null : this.#now() + options.ttlSeconds * 1000;
    this.#transaction(options.durability === 'process' ? 'NORMAL' : 'FULL', () => {
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

  #transaction(synchronous: 'FULL' | 'NORMAL', work: () => void): void {
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
      checkOwner(db, path);
      db.exec(`BEGIN IMMEDIATE; ${setUp} COMMIT;`);
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

function checkOwner(db: DatabaseSync, path: string): void {
  const read = (pragma: string): number =>
    Object.values(db.prepare(`PRAGMA ${pragma}`).get() ?? {})[0] as number;
  const [owner, version] = [read('application_id'), read('user_version')];
  if (owner === 0 && version === 0) return; // new
  if (owner !== applicationId)
    throw new StoreError('STORE_CORRUPT', `${path}: an SQLite file, but not a store of podwire`);
  if (version !== schemaVersion)
    throw new StoreError(
      'STORE_CORRUPT',
      `${path}: made by another version of podwire (format ${version}, this one reads ${schemaVersion})`,
    );
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
