// What only the registry in process shows: sharing, concurrency, housekeeping, restarts.
import t from 'tap';
import { ApiError } from '../../../lib/api/errors.ts';
import type { Pod } from '../../../lib/api/types.ts';
import { decideDeletion } from '../../../lib/apiserver/registry/deletion.ts';
import { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import { until } from '../../until.ts';
import { manifest, onNode, startRegistry } from './fixtures.ts';

t.test('objects are shared and frozen; what was given is as it was', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const given = manifest('web', { metadata: { labels: { a: '1' }, annotations: null } });
  const before = structuredClone(given);
  const made = await registry.create('pods', given);
  t.strictSame(given, before);
  t.equal(await registry.get('pods', { name: 'web' }), made, 'the very same, not a copy');
  t.throws(() => {
    made.spec.containers[0]!.image = 'other';
  }, TypeError);
  const next = await registry.updateStatus('pods', { ...made, status: { phase: 'Running' } });
  t.equal(next.spec, made.spec, 'what did not change is shared, too');
});

t.test('watchers are told before the writer goes on', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const stop = new AbortController();
  const { resourceVersion } = await registry.list('pods');
  const stream = await registry.openWatch('pods', { resourceVersion, signal: stop.signal });
  const made = await registry.create('pods', manifest('web'));
  const { value } = await stream[Symbol.asyncIterator]().next();
  t.equal(value?.object, made, 'with the same object, parsed by nobody');
  stop.abort();
  t.ok(stream.isClosed);
});

t.test('many who write at once all succeed, or are told', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const made = await registry.create('pods', manifest('web'));
  const key = { namespace: 'default', name: 'web' };
  await Promise.all(
    Array.from({ length: 5 }, (_, at) =>
      registry.patch('pods', key, { metadata: { labels: { [`l${at}`]: '' } } }),
    ),
  );
  t.equal(Object.keys((await registry.get('pods', key)).metadata.labels ?? {}).length, 5);
  const results = await Promise.allSettled(
    Array.from({ length: 4 }, () => registry.create('pods', manifest('same'))),
  );
  t.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  await t.rejects(registry.update('pods', made), { code: 'Conflict' });
});

t.test('admission may change and refuse', async (t) => {
  const seen: string[] = [];
  const { registry, close } = await startRegistry({
    admit: [
      async ({ operation, resource, object, old }) => {
        if (resource !== 'pods') return;
        seen.push(`${operation} ${object.metadata.name} ${old === undefined ? 'new' : 'old'}`);
        if (object.metadata.name === 'bad') throw new ApiError('Forbidden', 'no');
        object.metadata.annotations = { admitted: 'yes' };
      },
    ],
  });
  t.teardown(close);
  t.match(await registry.create('pods', manifest('web')), { metadata: { annotations: { admitted: 'yes' } } });
  await registry.patch('pods', { name: 'web' }, { metadata: { labels: { a: 'b' } } });
  await t.rejects(registry.create('pods', manifest('bad')), { code: 'Forbidden' });
  t.strictSame(seen, ['CREATE web new', 'UPDATE web old', 'CREATE bad new']);
});

t.test('deletions, decided', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  const pod = (more: { meta?: object; spec?: object; status?: object } = {}): Pod =>
    ({
      metadata: { ...more.meta },
      spec: { containers: [], nodeName: 'n', terminationGracePeriodSeconds: 30, ...more.spec },
      status: more.status,
    }) as unknown as Pod;
  const pending = { deletionTimestamp: '2026-01-01T00:00:20Z', deletionGracePeriodSeconds: 30 };
  const cases: { name: string; object: Pod; requested?: number; is: object }[] = [
    {
      name: 'grace of the Pod',
      object: pod(),
      is: { action: 'mark', graceSeconds: 30, deletionTimestamp: now + 30_000 },
    },
    { name: 'grace of the call', object: pod(), requested: 7, is: { action: 'mark', graceSeconds: 7 } },
    { name: 'negative', object: pod(), requested: -1, is: { action: 'mark', graceSeconds: 1 } },
    { name: 'at once', object: pod(), requested: 0, is: { action: 'remove' } },
    {
      name: 'no grace by itself',
      object: pod({ spec: { terminationGracePeriodSeconds: 0 } }),
      is: { action: 'remove' },
    },
    { name: 'on no node', object: pod({ spec: { nodeName: '' } }), is: { action: 'remove' } },
    {
      name: 'ended',
      object: pod({ status: { phase: 'Succeeded' } }),
      requested: 30,
      is: { action: 'remove' },
    },
    { name: 'again', object: pod({ meta: pending }), is: { action: 'nothing' } },
    { name: 'again, longer', object: pod({ meta: pending }), requested: 31, is: { action: 'nothing' } },
    {
      name: 'again, shorter',
      object: pod({ meta: pending }),
      requested: 10,
      is: { action: 'mark', graceSeconds: 10, deletionTimestamp: now },
    },
    { name: 'again, at once', object: pod({ meta: pending }), requested: 0, is: { action: 'remove' } },
    {
      name: 'held',
      object: pod({ meta: { finalizers: ['x/y'] } }),
      requested: 0,
      is: { action: 'mark', graceSeconds: 0 },
    },
  ];
  for (const c of cases)
    t.match(
      decideDeletion('pods', c.object, {
        requested: c.requested,
        now,
        served: Boolean(c.object.spec.nodeName),
      }),
      c.is,
      c.name,
    );
  t.match(
    decideDeletion('nodes', pod(), { requested: 30, now, served: false }),
    { action: 'remove' },
    'only Pods wait',
  );
});

t.test('a Pod of a node that nobody serves is removed at once', async (t) => {
  const { registry, close } = await startRegistry({ isServed: (node) => node === 'here' });
  t.teardown(close);
  for (const [nodeName, left] of [
    ['here', 1],
    ['elsewhere', 1],
  ] as const) {
    await registry.create(
      'pods',
      { metadata: { name: nodeName }, spec: { nodeName, containers: [{ name: 'a', image: 'i' }] } },
      { namespace: 'default' },
    );
    await registry.delete('pods', { namespace: 'default', name: nodeName });
    t.equal((await registry.list('pods')).items.length, left, nodeName);
  }
});

t.test('finalizers hold an object until the last is gone', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  await registry.create('nodes', { metadata: { name: 'n', finalizers: ['x/y'] } });
  t.match(await registry.delete('nodes', { name: 'n' }), { metadata: { deletionGracePeriodSeconds: 0 } });
  await t.rejects(registry.patch('nodes', { name: 'n' }, { metadata: { finalizers: ['x/y', 'x/z'] } }), {
    code: 'Invalid',
  });
  await registry.patch('nodes', { name: 'n' }, { metadata: { finalizers: [] } });
  await t.rejects(registry.get('nodes', { name: 'n' }), { code: 'NotFound' });
});

t.test('binding', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  await registry.create('pods', manifest('web'));
  const binding = (name: string) => ({
    apiVersion: 'v1' as const,
    kind: 'Binding' as const,
    target: { name },
  });
  await t.rejects(registry.bind({ name: 'web' }, binding('')), { code: 'Invalid' });
  const former = { ...binding('n2'), metadata: { name: 'web', uid: 'of-one-before' } };
  await t.rejects(registry.bind({ name: 'web' }, former), { code: 'Conflict', message: /UID/ });
  await registry.bind({ name: 'web' }, binding('n1'));
  t.match(await registry.get('pods', { name: 'web' }), {
    spec: { nodeName: 'n1' },
    status: { conditions: [{ type: 'PodScheduled', status: 'True' }] },
  });
  await t.rejects(registry.bind({ name: 'web' }, binding('n2')), {
    code: 'Conflict',
    message: /already assigned to node "n1"/,
  });
});

t.test('a collection is deleted by what a list shows', async (t) => {
  const { registry, close } = await startRegistry({ admit: onNode });
  t.teardown(close);
  for (const [name, app] of [
    ['a', 'x'],
    ['b', 'x'],
    ['c', 'y'],
  ])
    await registry.create('pods', manifest(name!, { metadata: { labels: { app } } }));
  await registry.deleteCollection('pods', { labelSelector: 'app=x' }, { gracePeriodSeconds: 0 });
  t.match(
    (await registry.list('pods')).items.map(({ metadata }) => metadata.name),
    ['c'],
  );
});

t.test('events go when their time is over', async (t) => {
  let now = Date.now();
  const store = openSqliteStore({ path: ':memory:', now: () => now, sweepMs: 5 });
  const { registry, close } = await startRegistry({ store, eventTtlSeconds: 3600 });
  t.teardown(close);
  await registry.create('events', { metadata: { name: 'old' }, involvedObject: { namespace: 'default' } });
  now += 3_599_000;
  await registry.create('events', { metadata: { name: 'new' }, involvedObject: { namespace: 'default' } });
  now += 2_000;
  const names = async (): Promise<string[]> =>
    (await registry.list('events')).items.map(({ metadata }) => metadata.name);
  await until(async () => (await names()).length <= 1);
  t.strictSame(await names(), ['new']);
});

t.test('history is kept for an interval, then forgotten', async (t) => {
  const { registry, store, close } = await startRegistry({ compactionMs: 20 });
  t.teardown(close);
  const { metadata } = await registry.create('pods', manifest('web'));
  await registry.patch('pods', { name: 'web' }, { metadata: { labels: { a: 'b' } } });
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const watch = () =>
    registry.openWatch('pods', { resourceVersion: metadata.resourceVersion, signal: stop.signal });
  await watch();
  let refused: unknown;
  await until(async () => {
    refused = await watch().then(
      () => undefined,
      (error: unknown) => error,
    );
    return refused;
  });
  t.match(refused, { code: 'Expired', message: /too old resource version/ });
  t.ok(await store.revision());
});

t.test('a watch that nobody reads ends, and memory does not', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const stop = new AbortController();
  const { resourceVersion } = await registry.list('nodes');
  const stream = await registry.openWatch('nodes', { resourceVersion, signal: stop.signal });
  await registry.create('nodes', { metadata: { name: 'n' } });
  for (let at = 0; at < 10_000; at++)
    await registry.patch('nodes', { name: 'n' }, { metadata: { labels: { at: String(at) } } });
  t.ok(stream.isClosed);
  const told: string[] = [];
  await t.rejects(
    async () => {
      for await (const { type } of stream) told.push(type);
    },
    { code: 'Expired' },
  );
});

t.test('a restart finds all, and ends what was cut off', async (t) => {
  const store = openSqliteStore({ path: ':memory:' });
  t.teardown(() => store.close());
  const first = new Registry({ store, admit: onNode! });
  await first.start();
  await first.create('namespaces', { metadata: { name: 'team' } });
  await first.create('pods', manifest('a'), { namespace: 'team' });
  await first.close();
  // Cut off right after the mark, before the Pods were told.
  const entry = (await store.get('/registry/namespaces/team'))!;
  const marked = JSON.parse(entry.value);
  marked.metadata.deletionTimestamp = '2026-01-01T00:00:00Z';
  await store.update(entry.key, JSON.stringify(marked), { expected: entry.revision });
  const second = new Registry({ store });
  await second.start();
  t.teardown(() => second.close());
  t.match(await second.get('pods', { namespace: 'team', name: 'a' }), {
    metadata: { deletionGracePeriodSeconds: 30 },
  });
  await second.delete('pods', { namespace: 'team', name: 'a' }, { gracePeriodSeconds: 0 });
  await t.rejects(second.get('namespaces', { name: 'team' }), { code: 'NotFound' });
  t.equal((await second.list('namespaces')).items.length, 4);
});
