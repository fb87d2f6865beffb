// What every Store must do, whatever stands behind it: SQLite today, etcd one day.
// Assumes makeStore gives an empty store each time. `reopen` is there where a store outlives its handle.
import type { Test } from 'tap';
import { isStoreError, type Store, type StoreErrorCode, type StoreEvent } from '../../../lib/store/store.ts';

interface Recorder {
  seen: StoreEvent[];
  errors: unknown[];
  stop: () => void;
}

export function record(store: Store, prefix: string, after: number): Recorder {
  const seen: StoreEvent[] = [];
  const errors: unknown[] = [];
  const stop = store.watch(prefix, after, {
    events: (events) => void seen.push(...events),
    error: (error) => void errors.push(error),
  });
  return { seen, errors, stop };
}

const told = (events: readonly StoreEvent[]): string[] =>
  events.map(
    ({ type, entry, previous }) =>
      `${type} ${entry.key}=${entry.value} (was ${previous?.value ?? 'nothing'})`,
  );

async function rejectsWith(t: Test, call: Promise<unknown>, code: StoreErrorCode): Promise<void> {
  await t.rejects(call, { code });
}

export function storeContract(t: Test, makeStore: () => Promise<Store>): void {
  const withStore = (name: string, body: (t: Test, store: Store) => Promise<void>): void => {
    t.test(name, async (t) => {
      const store = await makeStore();
      try {
        await body(t, store);
      } finally {
        await store.close();
      }
    });
  };

  withStore('begins empty', async (t, store) => {
    t.equal(await store.revision(), 0);
    t.strictSame(await store.list('/'), { entries: [], revision: 0 });
    t.equal(await store.get('/a'), undefined);
  });

  withStore('gives each write its revision', async (t, store) => {
    const made = await store.create('/a', '1');
    t.strictSame(made, { key: '/a', value: '1', revision: 1, createRevision: 1 });
    const changed = await store.update('/a', '2', { expected: 1 });
    t.strictSame(changed, { key: '/a', value: '2', revision: 2, createRevision: 1 });
    t.strictSame(await store.get('/a'), changed);
    t.strictSame(await store.delete('/a', { expected: 2 }), { ...changed, revision: 3 });
    t.equal(await store.get('/a'), undefined);
    t.match(await store.create('/a', '3'), { revision: 4, createRevision: 4 });
    t.equal(await store.revision(), 4);
  });

  withStore('refuses what was not expected, and changes nothing then', async (t, store) => {
    await store.create('/a', '1');
    await rejectsWith(t, store.create('/a', '2'), 'STORE_CONFLICT');
    await rejectsWith(t, store.update('/a', '2', { expected: 9 }), 'STORE_CONFLICT');
    await rejectsWith(t, store.update('/b', '2', { expected: 1 }), 'STORE_NOT_FOUND');
    await rejectsWith(t, store.delete('/a', { expected: 9 }), 'STORE_CONFLICT');
    await rejectsWith(t, store.delete('/b', { expected: 1 }), 'STORE_NOT_FOUND');
    t.equal(await store.revision(), 1);
    t.match(await store.get('/a'), { value: '1' });
  });

  withStore('lists by prefix, in order of keys', async (t, store) => {
    for (const key of ['/p/b', '/p/a', '/q/a', '/p', '/p/é', '/p/a/x']) await store.create(key, key);
    const keys = async (prefix: string): Promise<string[]> =>
      (await store.list(prefix)).entries.map(({ key }) => key);
    t.strictSame(await keys('/p/'), ['/p/a', '/p/a/x', '/p/b', '/p/é']);
    t.strictSame(await keys('/p/%'), [], 'a wildcard of the database is a plain character');
    t.equal((await store.list('/q')).revision, 6);
  });

  withStore('tells watchers what comes, at once and in order', async (t, store) => {
    const all = record(store, '/p/', 0);
    await store.create('/p/a', '1');
    t.equal(all.seen.length, 1, 'told when the write is acknowledged');
    await store.create('/q/a', 'other');
    await store.update('/p/a', '2', { expected: 1 });
    await store.delete('/p/a', { expected: 3 });
    const expected = ['put /p/a=1 (was nothing)', 'put /p/a=2 (was 1)', 'delete /p/a=2 (was 2)'];
    t.strictSame(told(all.seen), expected);
    t.strictSame(
      all.seen.map(({ entry }) => entry.revision),
      [1, 3, 4],
    );
    const replayed = record(store, '/p/', 0);
    t.strictSame(replayed.seen, all.seen, 'and tells the same to who comes later');
    t.strictSame(told(record(store, '/p/', 1).seen), expected.slice(1));
    all.stop();
    await store.create('/p/b', '1');
    t.equal(all.seen.length, 3, 'and nothing after the end');
    t.equal(replayed.seen.length, 4);
  });

  withStore('keeps one order when a watcher writes, and survives one that throws', async (t, store) => {
    const errors: unknown[] = [];
    store.watch('/', 0, {
      events: () => {
        throw new Error('careless');
      },
      error: (error) => void errors.push(error),
    });
    let answered = false;
    store.watch('/', 0, {
      events: () => {
        if (!answered) void store.create('/answer', '1');
        answered = true;
      },
      error: () => {},
    });
    const last = record(store, '/', 0);
    await store.create('/a', '1');
    t.strictSame(
      last.seen.map(({ entry }) => entry.revision),
      [1, 2],
    );
    t.match(errors, [{ message: 'careless' }]);
  });

  withStore('forgets history, never what is there', async (t, store) => {
    await store.create('/a', '1');
    await store.update('/a', '2', { expected: 1 });
    await store.create('/b', '1');
    await store.delete('/b', { expected: 3 });
    await store.compact(4);
    t.match(await store.get('/a'), { value: '2', revision: 2, createRevision: 1 });
    for (const revision of [0, 3]) {
      const { errors } = record(store, '/', revision);
      t.ok(isStoreError(errors[0], 'STORE_COMPACTED'), `revision ${revision} is gone`);
    }
    t.ok(isStoreError(record(store, '/', 99).errors[0], 'STORE_COMPACTED'), 'as is the future');
    const kept = record(store, '/', 4);
    await store.update('/a', '3', { expected: 2 });
    t.strictSame(told(kept.seen), ['put /a=3 (was 2)']);
    t.strictSame(told(record(store, '/', 4).seen), ['put /a=3 (was 2)'], 'with the value before, told later');
    await store.compact(2);
    t.equal(record(store, '/', 4).errors.length, 0, 'compaction never goes backwards');
  });

  withStore('takes both durabilities, in one order', async (t, store) => {
    await store.create('/a', '1', { durability: 'process' });
    await store.update('/a', '2', { expected: 1, durability: 'disk' });
    await store.update('/a', '3', { expected: 2, durability: 'process' });
    t.match(await store.get('/a'), { value: '3', revision: 3 });
  });

  withStore('keeps texts as they are', async (t, store) => {
    const text = `"'\\ \u0000 🦭 ${'x'.repeat(100_000)}`;
    await store.create('/odd', text);
    t.equal((await store.get('/odd'))?.value, text);
  });
}
