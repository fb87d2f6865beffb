// What every Store must do, whatever stands behind it: SQLite or etcd.
// Assumes makeStore gives an empty store each time. Revisions grow, but need not be consecutive: etcd counts more than ours.
import type { Test } from 'tap';
import {
  isStoreError,
  type Store,
  type StoreEntry,
  type StoreErrorCode,
  type StoreEvent,
} from '../../../lib/store/store.ts';
import { until } from '../../until.ts';

interface Recorder {
  seen: StoreEvent[];
  errors: unknown[];
  stop: () => void;
  revision: () => number;
}

export function record(store: Store, prefix: string, after: number): Recorder {
  const seen: StoreEvent[] = [];
  const errors: unknown[] = [];
  const watch = store.watch(prefix, after, {
    events: (events) => void seen.push(...events),
    error: (error) => void errors.push(error),
  });
  return { seen, errors, stop: () => watch.stop(), revision: () => watch.revision() };
}

/** Waits until that many events were told. */
const seen = (recorder: Recorder, count: number): Promise<boolean> =>
  until(() => recorder.seen.length >= count);

/** How the watch ended; undefined when it did not. */
async function failure(recorder: Recorder): Promise<unknown> {
  await until(() => recorder.errors.length > 0);
  return recorder.errors[0];
}

const told = (events: readonly StoreEvent[]): string[] =>
  events.map(
    ({ type, entry, previous }) =>
      `${type} ${entry.key}=${entry.value} (was ${previous?.value ?? 'nothing'})`,
  );
const revisions = (events: readonly StoreEvent[]): number[] => events.map(({ entry }) => entry.revision);

async function rejectsWith(t: Test, call: Promise<unknown>, code: StoreErrorCode): Promise<void> {
  await t.rejects(call, { code });
}

export interface ContractOptions {
  makeStore: () => Promise<Store>;
  /** A second handle on the same data, where that can be: what a process has in memory it need not ask for. */
  another?: (store: Store) => Promise<Store>;
}

export function storeContract(
  t: Test,
  { makeStore, another = async (store) => store }: ContractOptions,
): void {
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
    const revision = await store.revision();
    t.strictSame(await store.list('/'), { entries: [], revision });
    t.equal(await store.get('/a'), undefined);
  });

  withStore('gives each write its revision', async (t, store) => {
    const before = await store.revision();
    const made = await store.create('/a', '1');
    t.strictSame(made, { key: '/a', value: '1', revision: made.revision, createRevision: made.revision });
    const changed = await store.update('/a', '2', { expected: made.revision });
    t.strictSame(changed, { ...made, value: '2', revision: changed.revision });
    t.strictSame(await store.get('/a'), changed);
    const gone = await store.delete('/a', { expected: changed.revision });
    t.strictSame(gone, { ...changed, revision: gone.revision }, 'the last value, at the deletion');
    t.equal(await store.get('/a'), undefined);
    const again = await store.create('/a', '3');
    t.equal(again.createRevision, again.revision);
    const all = [before, made.revision, changed.revision, gone.revision, again.revision];
    t.strictSame(
      all,
      [...new Set(all)].sort((a, b) => a - b),
      'they grow',
    );
    t.equal(await store.revision(), again.revision);
  });

  withStore('refuses what was not expected, and changes nothing then', async (t, store) => {
    const { revision } = await store.create('/a', '1');
    await rejectsWith(t, store.create('/a', '2'), 'STORE_CONFLICT');
    await rejectsWith(t, store.update('/a', '2', { expected: revision + 8 }), 'STORE_CONFLICT');
    await rejectsWith(t, store.update('/b', '2', { expected: revision }), 'STORE_NOT_FOUND');
    await rejectsWith(t, store.delete('/a', { expected: revision + 8 }), 'STORE_CONFLICT');
    await rejectsWith(t, store.delete('/b', { expected: revision }), 'STORE_NOT_FOUND');
    t.equal(await store.revision(), revision);
    t.match(await store.get('/a'), { value: '1' });
  });

  withStore('creates only while another key is as it was', async (t, store) => {
    const first = await store.create('/ns', '1');
    const key = '/ns';
    await store.create('/ns/a', '1', { whileAt: { key, revision: first.revision } });
    const second = await store.update('/ns', '2', { expected: first.revision });
    await rejectsWith(
      t,
      store.create('/ns/b', '1', { whileAt: { key, revision: first.revision } }),
      'STORE_MOVED',
    );
    await rejectsWith(
      t,
      store.create('/ns/a', '1', { whileAt: { key, revision: second.revision } }),
      'STORE_CONFLICT',
    );
    await store.delete('/ns', { expected: second.revision });
    await rejectsWith(
      t,
      store.create('/ns/b', '1', { whileAt: { key, revision: second.revision } }),
      'STORE_MOVED',
    );
    t.equal(await store.get('/ns/b'), undefined);
  });

  withStore('lets one of several win', async (t, store) => {
    const won = <T>(all: PromiseSettledResult<T>[]): T[] =>
      all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const by = [1, 2, 3, 4];
    const created = won(await Promise.allSettled(by.map((one) => store.create('/a', `${one}`))));
    t.strictSame(created, [await store.get('/a')]);
    const expected = created[0]!.revision;
    const updated = await Promise.allSettled(by.map((one) => store.update('/a', `u${one}`, { expected })));
    t.strictSame(won(updated), [await store.get('/a')]);
  });

  withStore('lists by prefix, in order of keys', async (t, store) => {
    for (const key of ['/p/b', '/p/a', '/q/a', '/p', '/p/é', '/p/a/x']) await store.create(key, key);
    const keys = async (prefix: string): Promise<string[]> =>
      (await store.list(prefix)).entries.map(({ key }) => key);
    t.strictSame(await keys('/p/'), ['/p/a', '/p/a/x', '/p/b', '/p/é']);
    t.strictSame(await keys('/p/%'), [], 'a wildcard of the database is a plain character');
    t.equal((await store.list('/q')).revision, await store.revision());
  });

  withStore('tells watchers what comes, in order', async (t, store) => {
    const all = record(store, '/p/', await store.revision());
    const made = await store.create('/p/a', '1');
    await store.create('/q/a', 'other');
    const changed = await store.update('/p/a', '2', { expected: made.revision });
    const gone = await store.delete('/p/a', { expected: changed.revision });
    await seen(all, 3);
    const expected = ['put /p/a=1 (was nothing)', 'put /p/a=2 (was 1)', 'delete /p/a=2 (was 2)'];
    t.strictSame(told(all.seen), expected);
    t.strictSame(revisions(all.seen), [made.revision, changed.revision, gone.revision]);
    t.equal(all.revision(), gone.revision, 'and knows how far it has come');
    const replayed = record(store, '/p/', made.revision - 1);
    await seen(replayed, 3);
    t.strictSame(replayed.seen, all.seen, 'and tells the same to who comes later');
    const part = record(store, '/p/', made.revision);
    await seen(part, 2);
    t.strictSame(told(part.seen), expected.slice(1));
    all.stop();
    await store.create('/p/b', '1');
    await seen(replayed, 4);
    t.equal(all.seen.length, 3, 'and nothing after the end');
    await seen(part, 3);
    t.equal(part.seen.length, 3);
  });

  withStore('keeps one order when a watcher writes, and survives one that throws', async (t, store) => {
    const errors: unknown[] = [];
    const from = await store.revision();
    store.watch('/', from, {
      events: () => {
        throw new Error('careless');
      },
      error: (error) => void errors.push(error),
    });
    let answer: Promise<StoreEntry> | undefined;
    store.watch('/', from, {
      events: () => {
        answer ??= store.create('/answer', '1');
      },
      error: () => {},
    });
    const last = record(store, '/', from);
    const { revision } = await store.create('/a', '1');
    await seen(last, 2);
    t.strictSame(revisions(last.seen), [revision, (await answer)?.revision]);
    t.match(errors, [{ message: 'careless' }]);
  });

  withStore('forgets history, never what is there', async (t, store) => {
    const first = await store.revision();
    const made = await store.create('/a', '1');
    const changed = await store.update('/a', '2', { expected: made.revision });
    const other = await store.create('/b', '1');
    const gone = await store.delete('/b', { expected: other.revision });
    await store.compact(gone.revision);
    t.strictSame(await store.get('/a'), changed);
    const late = await another(store);
    for (const revision of [first, other.revision])
      t.ok(isStoreError(await failure(record(late, '/', revision)), 'STORE_COMPACTED'), 'what was is gone');
    const future = record(late, '/', gone.revision + 99);
    t.ok(isStoreError(await failure(future), 'STORE_COMPACTED'), 'as is the future');
    const kept = record(late, '/', gone.revision);
    await store.update('/a', '3', { expected: changed.revision });
    await seen(kept, 1);
    t.strictSame(told(kept.seen), ['put /a=3 (was 2)']);
    const again = record(late, '/', gone.revision);
    await seen(again, 1);
    t.strictSame(told(again.seen), ['put /a=3 (was 2)'], 'with the value before, told later');
    await store.compact(changed.revision);
    const unharmed = record(late, '/', gone.revision);
    await seen(unharmed, 1);
    t.strictSame(unharmed.errors, [], 'compaction never goes backwards');
    if (late !== store) await late.close();
  });

  withStore('takes both durabilities, in one order', async (t, store) => {
    const first = await store.create('/a', '1', { durability: 'process' });
    const second = await store.update('/a', '2', { expected: first.revision, durability: 'disk' });
    const third = await store.update('/a', '3', { expected: second.revision, durability: 'process' });
    t.strictSame(await store.get('/a'), third);
  });

  withStore('keeps texts as they are', async (t, store) => {
    const text = `"'\\ \u0000 🦭 ${'x'.repeat(100_000)}`;
    await store.create('/odd', text);
    t.equal((await store.get('/odd'))?.value, text);
  });
}
