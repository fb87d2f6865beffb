import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import { until } from '../../until.ts';
import { record, storeContract } from './contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'podwire-store-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;
const fresh = (): string => join(folder, `${files++}.db`);

t.test('contract, on a file', async (t) =>
  storeContract(t, { makeStore: async () => openSqliteStore({ path: fresh() }) }),
);
t.test('contract, in memory', async (t) =>
  storeContract(t, { makeStore: async () => openSqliteStore({ path: ':memory:' }) }),
);

t.test('the embedded store tells before it acknowledges, and counts its own writes alone', async (t) => {
  const store = openSqliteStore({ path: ':memory:' });
  t.teardown(() => store.close());
  t.equal(await store.revision(), 0);
  const watch = record(store, '/', 0);
  const writes = store.create('/a', '1');
  t.equal(watch.seen.length, 1);
  t.match(await writes, { revision: 1 });
  t.match(await store.update('/a', '2', { expected: 1 }), { revision: 2 });
});

t.test('lasts from one opening to the next', async (t) => {
  const path = fresh();
  const first = openSqliteStore({ path });
  await first.create('/a', '1');
  await first.create('/b', '1');
  await first.delete('/b', { expected: 2 });
  await first.compact(3);
  await first.close();
  const second = openSqliteStore({ path });
  t.teardown(() => second.close());
  t.equal(await second.revision(), 3, 'even if the newest write was a deletion that is forgotten');
  t.match(await second.get('/a'), { value: '1', revision: 1 });
  t.match(await second.create('/c', '1'), { revision: 4 });
  t.equal(record(second, '/', 2).errors.length, 1, 'what was compacted stays so');
});

t.test('the file is for its owner alone', async (t) => {
  const path = fresh();
  const store = openSqliteStore({ path });
  await store.create('/a', '1');
  for (const file of [path, `${path}-wal`])
    t.equal(statSync(file).mode & 0o777, 0o600, file.slice(folder.length));
  await store.close();
  chmodSync(path, 0o644);
  await openSqliteStore({ path }).close();
  t.equal(statSync(path).mode & 0o777, 0o600, 'and becomes so again');
});

t.test('what cannot be opened is told apart', async (t) => {
  const locked = fresh();
  const store = openSqliteStore({ path: locked });
  t.teardown(() => store.close());
  const reopened = fresh();
  await openSqliteStore({ path: reopened }).close();
  const idle = openSqliteStore({ path: reopened });
  t.teardown(() => idle.close());
  const junk = fresh();
  writeFileSync(
    junk,
    'this is no database at all, but a text that is long enough to be looked at'.repeat(20),
  );
  const foreign = fresh();
  const other = new DatabaseSync(foreign);
  other.exec('CREATE TABLE theirs (x); PRAGMA user_version = 7');
  other.close();
  const future = fresh();
  await openSqliteStore({ path: future }).close();
  const newer = new DatabaseSync(future);
  newer.exec('PRAGMA user_version = 99');
  newer.close();
  const cases = [
    { name: 'open elsewhere', path: locked, code: 'STORE_LOCKED', says: /another process/ },
    { name: 'open elsewhere, and not written to', path: reopened, code: 'STORE_LOCKED', says: /another/ },
    { name: 'no database', path: junk, code: 'STORE_CORRUPT', says: /not a store of podwire/ },
    { name: "someone else's database", path: foreign, code: 'STORE_CORRUPT', says: /not a store of podwire/ },
    { name: 'another version', path: future, code: 'STORE_CORRUPT', says: /format 99/ },
    { name: 'no such folder', path: join(folder, 'no/such.db'), code: 'STORE_FAILED', says: /such\.db/ },
  ];
  for (const c of cases) {
    t.throws(() => openSqliteStore({ path: c.path }), { code: c.code, message: c.says }, c.name);
  }
});

t.test('a key with a time to live goes when it is over', async (t) => {
  let now = 1_000_000;
  const store = openSqliteStore({ path: ':memory:', now: () => now, sweepMs: 5 });
  t.teardown(() => store.close());
  await store.create('/short', '1', { ttlSeconds: 10 });
  await store.create('/renewed', '1', { ttlSeconds: 10 });
  await store.create('/lasting', '1');
  const watch = record(store, '/', 3);
  now += 8_000;
  await store.update('/renewed', '2', { expected: 2, ttlSeconds: 10 });
  now += 4_000;
  await until(() => watch.seen.length >= 2);
  t.match(
    watch.seen.map(({ type, entry }) => [type, entry.key]),
    [
      ['put', '/renewed'],
      ['delete', '/short'],
    ],
  );
  t.ok(await store.get('/renewed'));
  t.ok(await store.get('/lasting'));
});

t.test('a sweep that fails is told, and is no end of the process', async (t) => {
  const told: unknown[] = [];
  const now = (): number => {
    throw new Error('no clock');
  };
  const onError = (error: unknown): void => void told.push(error);
  const store = openSqliteStore({ path: ':memory:', now, sweepMs: 1, onError });
  t.teardown(() => store.close());
  await until(() => told.length > 0);
  t.match(told[0], { code: 'STORE_FAILED', message: /no clock/ });
});

t.test('closing ends the watches', async (t) => {
  const store = openSqliteStore({ path: ':memory:' });
  const watch = record(store, '/', 0);
  await store.close();
  t.match(watch.errors, [{ code: 'STORE_FAILED' }]);
  await store.close();
  t.pass('closing twice is no fault');
});
