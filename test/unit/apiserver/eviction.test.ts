import t from 'tap';
import { readEviction } from '../../../lib/apiserver/eviction.ts';
import { manifest, startServer } from './fixtures.ts';

const body = (more: object = {}) => ({
  apiVersion: 'policy/v1',
  kind: 'Eviction',
  metadata: { name: 'p', namespace: 'default' },
  ...more,
});

for (const { name, given, refused } of [
  { name: 'no object', given: 'x', refused: /must be one Eviction object/ },
  { name: 'another kind', given: body({ kind: 'Pod' }), refused: /Kind=Pod in the body/ },
  { name: 'another version', given: body({ apiVersion: 'v1' }), refused: /expected policy\/v1/ },
  { name: 'another name', given: body({ metadata: { name: 'q' } }), refused: /name in URL \(p\)/ },
  { name: 'an unknown option', given: body({ deleteOptions: { grace: 1 } }), refused: /grace/ },
  { name: 'a dry run', given: body({ deleteOptions: { dryRun: ['All'] } }), refused: /dryRun/ },
])
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => readEviction(given, 'p'), { message: refused });
  });

t.test('an evicted Pod says who ended it, and keeps its grace', async (t) => {
  const { registry, client, close } = await startServer();
  t.teardown(close);
  await registry.create('nodes', { metadata: { name: 'n1' } });
  await registry.create(
    'pods',
    manifest('p', { spec: { nodeName: 'n1', terminationGracePeriodSeconds: 7 } }),
  );
  const path = '/api/v1/namespaces/default/pods/p/eviction';
  const uid = 'another';
  await t.rejects(client.request('POST', path, body({ deleteOptions: { preconditions: { uid } } })), {
    code: 'Conflict',
  });
  t.match(await client.request('POST', path, body()), { kind: 'Status', status: 'Success', code: 201 });
  const pod = await registry.get('pods', { namespace: 'default', name: 'p' });
  t.equal(pod.metadata.deletionGracePeriodSeconds, 7);
  t.match(pod.status?.conditions, [{ type: 'DisruptionTarget', reason: 'EvictionByEvictionAPI' }]);
  await client.request('POST', path, body({ deleteOptions: { gracePeriodSeconds: 0 } }));
  await t.rejects(client.request('POST', path, body()), { code: 'NotFound' });
});

t.test('drains find it', async (t) => {
  const { client, close } = await startServer();
  t.teardown(close);
  const { resources } = await client.request<{ resources: { name: string }[] }>('GET', '/api/v1');
  t.match(
    resources.find(({ name }) => name === 'pods/eviction'),
    { kind: 'Eviction', group: 'policy', version: 'v1' },
  );
});
