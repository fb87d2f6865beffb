// Several registries over one store, as several servers over an etcd: what one writes the others see, and nobody's write is lost.
import t, { type Test } from 'tap';
import { isReason } from '../../../lib/api/errors.ts';
import { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import type { Store } from '../../../lib/store/store.ts';

async function several(t: Test, stores: (store: Store) => Store[]): Promise<Registry[]> {
  const store = openSqliteStore({ path: ':memory:' });
  const registries = stores(store).map((one) => new Registry({ store: one }));
  t.teardown(async () => {
    for (const registry of registries) await registry.close();
    await store.close();
  });
  await Promise.all(registries.map((registry) => registry.start()));
  return registries;
}

const two = (store: Store): Store[] => [store, store];
const configMap = (name: string, data: object = {}) => ({ metadata: { name, namespace: 'default' }, data });
const key = (name: string) => ({ namespace: 'default', name });

t.test('both start at once on an empty store', async (t) => {
  const [one, other] = await several(t, two);
  const names = (await one!.list('namespaces')).items.map(({ metadata }) => metadata.name);
  t.strictSame(names, ['default', 'kube-node-lease', 'kube-public', 'kube-system']);
  t.same((await other!.list('namespaces')).items.length, 4);
});

t.test('what one changes, deletes and makes anew the other never has in an old form', async (t) => {
  const [one, other] = await several(t, two);
  const made = await one!.create('configmaps', configMap('a', { v: '1' }));
  t.match(await other!.get('configmaps', key('a')), { data: { v: '1' } });
  const changed = await other!.patch('configmaps', key('a'), { data: { v: '2' } });
  t.strictSame(await one!.get('configmaps', key('a')), changed);
  await t.rejects(one!.update('configmaps', { ...made, data: { v: '3' } }), { code: 'Conflict' });
  await other!.delete('configmaps', key('a'));
  await t.rejects(one!.get('configmaps', key('a')), { code: 'NotFound' });
  const again = await other!.create('configmaps', configMap('a', { v: '4' }));
  t.not(again.metadata.uid, made.metadata.uid);
  t.strictSame(await one!.get('configmaps', key('a')), again);
});

t.test('a name is given once', async (t) => {
  const [one, other] = await several(t, two);
  const made = await Promise.allSettled(
    [one!, other!, one!, other!].map((registry) => registry.create('configmaps', configMap('a'))),
  );
  t.equal(made.filter(({ status }) => status === 'fulfilled').length, 1);
  t.ok(made.every((each) => each.status === 'fulfilled' || isReason(each.reason, 'AlreadyExists')));
});

t.test('patches from both sides all count', async (t) => {
  const [one, other] = await several(t, two);
  await one!.create('configmaps', configMap('a', {}));
  const fields = Array.from({ length: 8 }, (_, at) => `k${at}`);
  await Promise.all(
    fields.map((field, at) =>
      (at % 2 ? one! : other!).patch('configmaps', key('a'), { data: { [field]: 'x' } }),
    ),
  );
  t.strictSame(Object.keys((await one!.get('configmaps', key('a'))).data!).sort(), fields.sort());
});

t.test('a watch at one tells what the other writes, from a revision that the other gave', async (t) => {
  const [one, other] = await several(t, two);
  const { metadata } = await one!.create('configmaps', configMap('a'));
  const signal = new AbortController();
  const watch = await other!.openWatch('configmaps', {
    resourceVersion: metadata.resourceVersion,
    signal: signal.signal,
  });
  await one!.patch('configmaps', key('a'), { data: { v: '1' } });
  await other!.delete('configmaps', key('a'));
  const told: string[] = [];
  for await (const { type } of watch) if (told.push(type) === 2) break;
  t.strictSame(told, ['MODIFIED', 'DELETED']);
  signal.abort();
});

t.test('nothing is created in a namespace that another server deletes meanwhile', async (t) => {
  let meanwhile: (() => Promise<unknown>) | undefined;
  // The moment between the look at the namespace and the write.
  const slow = (store: Store): Store =>
    new Proxy(store, {
      get(target, name: keyof Store) {
        const member = target[name].bind(target) as (...args: unknown[]) => unknown;
        if (name !== 'create') return member;
        return async (...args: unknown[]) => {
          const work = meanwhile;
          meanwhile = undefined;
          await work?.();
          return member(...args);
        };
      },
    });
  const [one, other] = await several(t, (store) => [slow(store), store]);
  await other!.create('namespaces', { metadata: { name: 'shop' } });
  meanwhile = () => other!.delete('namespaces', { name: 'shop' });
  const create = (name: string) => one!.create('configmaps', { metadata: { name, namespace: 'shop' } });
  await t.rejects(create('late'), { code: 'NotFound', message: /namespaces "shop"/ });
  t.strictSame((await other!.list('configmaps', { namespace: 'shop' })).items, [], 'no orphan');
  await other!.create('namespaces', { metadata: { name: 'shop' } });
  meanwhile = () => other!.patch('namespaces', { name: 'shop' }, { metadata: { labels: { a: 'b' } } });
  t.match(
    await create('fine'),
    { metadata: { namespace: 'shop' } },
    'a mere change of the namespace is no hindrance',
  );
});
