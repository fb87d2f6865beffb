// The store's contract over a real etcd, and what is special there: addresses, several processes' handles, leases, outages.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Connection } from '../../../lib/store/etcd/connection.ts';
import { rangeOf, reserved } from '../../../lib/store/etcd/decode.ts';
import { openEtcdStore } from '../../../lib/store/etcd/etcd.ts';
import { isStoreError, type Store, type StoreEvent } from '../../../lib/store/store.ts';
import { startEtcd, whyNoEtcd } from '../../etcd/cluster.ts';
import { until } from '../../until.ts';
import { record, storeContract } from './contract.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`etcd is not tested: ${skip}`);

t.test('a real etcd', { skip }, async (t) => {
  const etcd = await startEtcd(1);
  let prefixes = 0;
  const prefixOf = new Map<Store, string>();
  const open = async (prefix: string, patience: object = {}): Promise<Store> => {
    const store = await openEtcdStore({ endpoints: etcd.endpoints, tls: false, prefix, ...patience });
    prefixOf.set(store, prefix);
    return store;
  };
  const fresh = (): Promise<Store> => open(`/t${prefixes++}`);
  const another = (store: Store): Promise<Store> => open(prefixOf.get(store)!);

  await t.test('contract', async (t) => storeContract(t, { makeStore: fresh, another }));

  await t.test('handles of several processes', async (t) => {
    const one = await fresh();
    const two = await another(one);
    const watch = record(two, '/', await two.revision());
    const made = await one.create('/a', '1');
    t.strictSame(await two.get('/a'), made, 'what one has acknowledged the other sees');
    await t.rejects(two.create('/a', '2'), { code: 'STORE_CONFLICT' });
    const changed = await two.update('/a', '2', { expected: made.revision });
    await t.rejects(one.update('/a', '3', { expected: made.revision }), { code: 'STORE_CONFLICT' });
    await one.delete('/a', { expected: changed.revision });
    await until(() => watch.seen.length >= 3);
    t.strictSame(
      watch.seen.map(({ type }) => type),
      ['put', 'put', 'delete'],
    );
    t.match(await one.list('/'), { entries: [] }, 'what the store keeps for itself is not listed');
    const ahead = record(one, '/', (await two.create('/b', '1')).revision);
    await two.create('/c', '1');
    await until(() => ahead.seen.length > 0);
    t.strictSame(
      ahead.seen.map(({ entry }) => entry.key),
      ['/c'],
      'a revision another server told of is a beginning',
    );
    await one.close();
    await two.close();
  });

  await t.test('a long list comes in pages, as of one revision', async (t) => {
    const store = await fresh();
    const keys = Array.from({ length: 2100 }, (_, at) => `/n/${String(at).padStart(5, '0')}`);
    for (let at = 0; at < keys.length; at += 100)
      await Promise.all(keys.slice(at, at + 100).map((key) => store.create(key, 'x')));
    const { entries } = await store.list('/n/');
    t.strictSame(
      entries.map(({ key }) => key),
      keys,
    );
    await store.close();
  });

  await t.test('a watch from before this process began', async (t) => {
    const one = await fresh();
    const from = await one.revision();
    let { revision } = await one.create('/p/a', '0');
    for (let at = 1; at <= 50; at++)
      revision = (await one.update('/p/a', `${at}`, { expected: revision })).revision;
    const two = await another(one);
    const watch = record(two, '/p/', from);
    await until(() => watch.seen.length >= 51);
    const more = [one, two, one, two];
    for (const store of more) revision = (await store.update('/p/a', 'on', { expected: revision })).revision;
    await until(() => watch.seen.length >= 55);
    await sleep(50);
    const values = watch.seen.map(({ entry }) => entry.value);
    t.strictSame(values, [...Array.from({ length: 51 }, (_, at) => `${at}`), ...more.map(() => 'on')]);
    t.strictSame(watch.errors, []);
    watch.stop();
    await one.close();
    await two.close();
  });

  await t.test('a key with a time to live goes when it is over', async (t) => {
    const store = await fresh();
    const watch = record(store, '/', await store.revision());
    await store.create('/short', '1', { ttlSeconds: 1 });
    const rewrite = async (): Promise<boolean> => {
      const { revision } = await store.create('/kept', '1', { ttlSeconds: 1 });
      const written = store.update('/kept', '2', { expected: revision });
      return written.then(
        () => true,
        (error) => !isStoreError(error, 'STORE_NOT_FOUND'),
      );
    };
    t.ok(await until(rewrite), 'on a slow machine its time may be over first');
    const isEnd = ({ type, entry }: StoreEvent) => type === 'delete' && entry.key === '/short';
    await until(() => watch.seen.some(isEnd));
    t.match(watch.seen.find(isEnd), { entry: { value: '1' } });
    t.match(await store.get('/kept'), { value: '2' }, 'who writes without it keeps it');
    await store.close();
  });

  await t.test('history that was forgotten during an outage is told as such', async (t) => {
    // A handle whose shared watch begins before what is compacted away.
    const one = await fresh();
    const from = await one.revision();
    const made = await one.create('/a', '1');
    await one.compact((await one.update('/a', '2', { expected: made.revision })).revision);
    const two = await another(one);
    const watch = record(two, '/', from);
    await until(() => watch.errors.length > 0);
    t.match(watch.errors, [{ code: 'STORE_COMPACTED' }]);
    await one.close();
    await two.close();
  });

  await t.test('a fence that is gone, as after an hour without a write, is made anew', async (t) => {
    const store = await fresh();
    const made = await store.create('/a', '1');
    const raw = await Connection.open({ endpoints: etcd.endpoints, attemptMs: 30_000, callMs: 60_000 });
    const { kvs } = await raw.call('Range', rangeOf(`${prefixOf.get(store)}${reserved}fences/`));
    t.equal(kvs.length, 1);
    const success = kvs.map(({ key }) => ({ requestDeleteRange: { key, prevKv: false } }));
    await raw.call('Txn', { compare: [], success, failure: [] });
    raw.close();
    const writes = ['/b', '/c', '/d'].map((key) => store.create(key, '1'));
    const changed = await store.update('/a', '2', { expected: made.revision });
    t.strictSame([changed, ...(await Promise.all(writes))], (await store.list('/')).entries);
    await store.close();
  });

  await t.test('one of two compacts, and the other when that one does not any more', async (t) => {
    const one = await fresh();
    const two = await another(one);
    let { revision } = await one.create('/a', '0');
    const round = async (store: Store): Promise<string> => {
      const from = revision;
      revision = (await store.update('/a', 'x', { expected: revision })).revision;
      await store.compact(revision);
      const late = await another(one);
      const watch = record(late, '/', from);
      await until(() => watch.errors.length + watch.seen.length > 0);
      await late.close();
      return watch.errors.length > 0 && watch.seen.length === 0 ? 'compacted' : 'left it';
    };
    const rounds = [one, two, one, two, one, two, two, two];
    const did: string[] = [];
    for (const store of rounds) did.push(await round(store));
    t.strictSame(did, [
      ...['compacted', 'compacted'], // the second has not seen any before
      ...['left it', 'compacted', 'left it', 'compacted', 'compacted', 'compacted'],
    ]);
    await one.close();
    await two.close();
  });

  await t.test('what is too large is refused, and nothing else suffers', async (t) => {
    const store = await fresh();
    await t.rejects(store.create('/large', 'x'.repeat(2_000_000)), {
      code: 'STORE_FAILED',
      message: /too large/,
    });
    t.match(await store.create('/small', 'x'), { value: 'x' });
    await store.close();
  });

  await t.test('closing ends the watches, and nothing answers afterwards', async (t) => {
    const store = await fresh();
    const watch = record(store, '/', await store.revision());
    await store.close();
    t.match(watch.errors, [{ code: 'STORE_FAILED' }]);
    await t.rejects(store.get('/a'), { code: 'STORE_UNAVAILABLE' });
    await store.close();
  });

  await t.test('an outage: errors that say so, and all is as before afterwards', async (t) => {
    const store = await open(`/t${prefixes++}`, { attemptMs: 500, callMs: 2500 });
    const watch = record(store, '/', await store.revision());
    const made = await store.create('/a', '1');
    await etcd.kill(0);
    await t.rejects(store.get('/a'), {
      code: 'STORE_UNAVAILABLE',
      message: /etcd 127\.0\.0\.1:\d+: read \/a/,
    });
    await t.rejects(store.create('/b', '1'), { code: 'STORE_UNCERTAIN', message: /may or may not/ });
    await etcd.restart(0);
    await until(() => store.get('/a').catch(() => undefined));
    t.strictSame(await store.get('/a'), made);
    const changed = await store.update('/a', '2', { expected: made.revision });
    await until(() => watch.seen.some(({ entry }) => entry.revision === changed.revision));
    t.match(watch.seen.at(-1), { entry: changed, previous: made });
    t.strictSame(watch.errors, []);
    await store.close();
  });

  await etcd.stop();
});

t.test('who cannot be reached is told by address, with what to do', async (t) => {
  const options = { endpoints: ['127.0.0.1:1', 'no-such-host.invalid:2379'], tls: false, prefix: '/x' };
  await t.rejects(openEtcdStore({ ...options, attemptMs: 500, callMs: 500 }), {
    code: 'DATASTORE_UNREACHABLE',
    message: /127\.0\.0\.1:1: .*ECONNREFUSED.*no-such-host\.invalid:2379: .*--datastore/s,
  });
});
