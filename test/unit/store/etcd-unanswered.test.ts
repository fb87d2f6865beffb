// Writes that nobody answered: made once where they had been made, made once more where not, and never later.
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { openEtcdStore } from '../../../lib/store/etcd/etcd.ts';
import type { Store, StoreEntry } from '../../../lib/store/store.ts';
import { startEtcd, whyNoEtcd } from '../../etcd/cluster.ts';
import { type BadNetwork, startProxy } from '../../etcd/proxy.ts';
import { until } from '../../until.ts';
import { record } from './contract.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`unanswered writes are not tested: ${skip}`);
const attemptMs = 400;

interface Setting {
  readonly bad: BadNetwork;
  /** Goes through the bad network first. */
  readonly store: Store;
  /** Another process, on a good one. */
  readonly witness: Store;
}

type Write = (store: Store, before: StoreEntry | undefined) => Promise<StoreEntry>;
const writes: ReadonlyArray<{ name: string; isNew?: true; write: Write }> = [
  { name: 'create', isNew: true, write: (store) => store.create('/a', 'new') },
  { name: 'create with a ttl', isNew: true, write: (store) => store.create('/a', 'new', { ttlSeconds: 60 }) },
  { name: 'update', write: (store, before) => store.update('/a', 'new', { expected: before!.revision }) },
  { name: 'delete', write: (store, before) => store.delete('/a', { expected: before!.revision }) },
];

t.test('over a real etcd', { skip }, async (t) => {
  const etcd = await startEtcd(1);
  const target = etcd.endpoints[0]!;
  let prefixes = 0;
  const withSetting = async (body: (setting: Setting) => Promise<void>): Promise<void> => {
    const bad = await startProxy(target);
    const good = await startProxy(target);
    const common = { tls: false, prefix: `/u${prefixes++}`, attemptMs, callMs: 60_000 };
    const store = await openEtcdStore({ ...common, endpoints: [bad.endpoint, good.endpoint] });
    const witness = await openEtcdStore({ ...common, endpoints: [target] });
    try {
      await store.create('/warm', 'up'); // fence and connection are there
      await body({ bad, store, witness });
    } finally {
      await store.close();
      await witness.close();
      await bad.close();
      await good.close();
    }
  };

  for (const { name, isNew, write } of writes) {
    await t.test(`${name}: applied, and the answer lost`, async (t) =>
      withSetting(async ({ bad, store, witness }) => {
        const before = isNew ? undefined : await witness.create('/a', 'old');
        const seen = record(witness, '/a', await witness.revision());
        const own = record(store, '/a', await witness.revision());
        bad.loseAnswers();
        const entry = await write(store, before);
        await until(() => seen.seen.length > 0 && own.seen.length > 0);
        await sleep(100);
        t.strictSame(
          seen.seen.map((event) => event.entry),
          [entry],
          'written once; and it is what was given back',
        );
        t.strictSame(own.seen, seen.seen, 'its own watch has told it at another member');
      }),
    );

    await t.test(`${name}: on the way for long`, async (t) =>
      withSetting(async ({ bad, store, witness }) => {
        const before = isNew ? undefined : await witness.create('/a', 'old');
        const seen = record(witness, '/a', await witness.revision());
        bad.holdRequests(attemptMs / 2);
        const entry = await write(store, before);
        t.strictSame((await witness.list('/a')).entries, name === 'delete' ? [] : [entry]);
        // What would let a late creation succeed.
        if (isNew) await witness.delete('/a', { expected: entry.revision });
        const changes = isNew ? 2 : 1;
        await until(() => seen.seen.length >= changes);
        const revision = await witness.revision();
        bad.deliver();
        await sleep(300);
        t.equal(await witness.revision(), revision, 'what arrives late changes nothing');
        t.equal(seen.seen.length, changes);
      }),
    );
  }

  await t.test('conflicts after an unanswered try are told as what they are', async (t) =>
    withSetting(async ({ bad, store, witness }) => {
      const before = await witness.create('/a', 'old');
      bad.holdRequests(attemptMs / 2);
      const late = store.update('/a', 'mine', { expected: before.revision });
      await witness.update('/a', 'theirs', { expected: before.revision });
      await t.rejects(late, { code: 'STORE_CONFLICT' });
      t.match(await witness.get('/a'), { value: 'theirs' });
    }),
  );

  await t.test('overwritten before the answer was missed: it was applied all the same', async (t) =>
    withSetting(async ({ bad, store, witness }) => {
      const before = await witness.create('/a', 'old');
      bad.loseAnswers();
      const seen = record(witness, '/a', before.revision);
      const mine = store.update('/a', 'mine', { expected: before.revision });
      await until(() => seen.seen.length > 0);
      await witness.update('/a', 'theirs', { expected: seen.seen[0]!.entry.revision });
      t.match(await mine, { value: 'mine', revision: seen.seen[0]!.entry.revision });
    }),
  );

  await t.test('many at once, under a network that fails again and again', async (t) =>
    withSetting(async ({ bad, store, witness }) => {
      const seen = record(witness, '/n/', await witness.revision());
      let stopped = false;
      const trouble = (async () => {
        while (!stopped) {
          bad.loseAnswers();
          await sleep(150);
          bad.heal();
          await sleep(50);
        }
      })();
      const made = await Promise.all(
        Array.from({ length: 40 }, async (_, at) => {
          await sleep(at * 20);
          return store.create(`/n/${at}`, `${at}`);
        }),
      );
      stopped = true;
      await trouble;
      await until(() => seen.seen.length >= 40);
      await sleep(100);
      const byRevision = (a: StoreEntry, b: StoreEntry): number => a.revision - b.revision;
      t.strictSame(
        seen.seen.map(({ entry }) => entry),
        made.sort(byRevision),
      );
    }),
  );

  await etcd.stop();
});
