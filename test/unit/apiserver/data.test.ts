// ConfigMaps, Secrets and Leases: their rules, and that a group other than the core one is served under /apis.
import t from 'tap';
import type { Resource } from '../../../lib/api/types.ts';
import { startRegistry, startServer } from './fixtures.ts';

const encoded = (text: string): string => Buffer.from(text).toString('base64');

interface Case {
  name: string;
  resource: Resource;
  object: object;
  refused?: RegExp;
  gives?: object;
}
const cases: Case[] = [
  {
    name: 'stringData becomes data',
    resource: 'secrets',
    object: { stringData: { a: 'x' }, data: { b: encoded('y') } },
    gives: { type: 'Opaque', data: { a: encoded('x'), b: encoded('y') }, stringData: undefined },
  },
  {
    name: 'a climbing key',
    resource: 'configmaps',
    object: { data: { '../x': '' } },
    refused: /data\[\.\.\/x\]/,
  },
  {
    name: 'a key that hides',
    resource: 'configmaps',
    object: { data: { '..data': '' } },
    refused: /must not start/,
  },
  {
    name: 'the same key twice',
    resource: 'configmaps',
    object: { data: { a: '' }, binaryData: { a: '' } },
    refused: /duplicate of key/,
  },
  { name: 'no base64', resource: 'configmaps', object: { binaryData: { a: '%' } }, refused: /base64/ },
  {
    name: 'no base64, hidden',
    resource: 'secrets',
    object: { data: { a: 'hunter2!' } },
    refused: /<hidden>.*base64/,
  },
  {
    name: 'a registry secret without its key',
    resource: 'secrets',
    object: { type: 'kubernetes.io/dockerconfigjson', data: {} },
    refused: /\.dockerconfigjson/,
  },
  {
    name: 'too large',
    resource: 'configmaps',
    object: { data: { a: 'x'.repeat(1024 * 1024 + 1) } },
    refused: /may not be more than 1048576 bytes/,
  },
  {
    name: 'a lease of no time',
    resource: 'leases',
    object: { spec: { leaseDurationSeconds: 0 } },
    refused: /at least 1/,
  },
  {
    name: 'the wrong version',
    resource: 'leases',
    object: { apiVersion: 'v1' },
    refused: /coordination.k8s.io\/v1/,
  },
];

t.test('rules', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  for (const [at, { name, resource, object, refused, gives }] of cases.entries()) {
    const made = registry.create(resource, { metadata: { name: `o${at}` }, ...object });
    if (refused) await t.rejects(made, { message: refused }, name);
    else t.match(await made, gives ?? {}, name);
  }
});

t.test('what is immutable stays', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const key = { name: 'a' };
  await registry.create('configmaps', { metadata: key, data: { a: '1' } });
  t.match(await registry.patch('configmaps', key, { data: { a: '2' }, immutable: true }), {
    data: { a: '2' },
  });
  await t.rejects(registry.patch('configmaps', key, { data: { a: '3' } }), { message: /immutable/ });
  await t.rejects(registry.patch('configmaps', key, { immutable: false }), { message: /immutable/ });
  t.match(await registry.patch('configmaps', key, { metadata: { labels: { b: 'c' } } }), {
    data: { a: '2' },
  });
  await registry.create('secrets', { metadata: key });
  await t.rejects(registry.patch('secrets', key, { type: 'other' }), { message: /type.*immutable/ });
});

t.test('over HTTP, in their groups; a namespace takes them along', async (t) => {
  const { client, close } = await startServer();
  t.teardown(close);
  t.match(await client.request('GET', '/apis'), { groups: [{ name: 'coordination.k8s.io' }] });
  t.match(await client.request('GET', '/apis/coordination.k8s.io'), { kind: 'APIGroup' });
  t.match(await client.request('GET', '/apis/coordination.k8s.io/v1'), {
    groupVersion: 'coordination.k8s.io/v1',
    resources: [{ name: 'leases', kind: 'Lease' }],
  });
  await client.create('namespaces', { metadata: { name: 'team' } });
  for (const resource of ['configmaps', 'secrets', 'leases'] as const)
    await client.create(resource, { metadata: { name: 'one' } }, { namespace: 'team' });
  t.match(await client.get('leases', { namespace: 'team', name: 'one' }), {
    apiVersion: 'coordination.k8s.io/v1',
  });
  await client.delete('namespaces', { name: 'team' });
  for (const resource of ['configmaps', 'secrets', 'leases'] as const)
    t.equal((await client.list(resource, { namespace: 'team' })).items.length, 0, resource);
});
