import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { Client } from '../../../lib/api/client.ts';
import { EventRecorder } from '../../../lib/api/events.ts';
import { Informer } from '../../../lib/api/informer.ts';
import type { Node } from '../../../lib/api/types.ts';
import { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { clusterRanges, rangeDefaults } from '../../../lib/controllers/cluster-ranges.ts';
import { admitNodeAddress } from '../../../lib/controllers/node-address.ts';
import { admitNodeSubnets, NodeIpam, subnetRecord } from '../../../lib/controllers/node-ipam.ts';
import { NodeIpamLoop } from '../../../lib/controllers/node-ipam-loop.ts';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import type { Store } from '../../../lib/store/store.ts';
import { until } from '../../until.ts';

const log = pino({ level: 'silent' });

interface Server {
  registry: Registry;
  ipam: NodeIpam;
}

/** A server over a store that others may share. */
async function server(store: Store, clusterCidr = '10.244.0.0/16'): Promise<Server> {
  const { pods, services } = clusterRanges({ ...rangeDefaults, clusterCidr });
  const registry: Registry = new Registry({
    store,
    admit: [admitNodeSubnets(() => ({ client: registry, ipam, services }))],
  });
  const ipam = new NodeIpam(registry, pods);
  await registry.start();
  return { registry, ipam };
}

async function cluster(t: Test, count: number, clusterCidr?: string): Promise<Server[]> {
  const store = openSqliteStore({ path: ':memory:' });
  const servers: Server[] = [];
  for (let at = 0; at < count; at++) servers.push(await server(store, clusterCidr));
  t.teardown(async () => {
    for (const { registry } of servers) await registry.close();
    await store.close();
  });
  return servers;
}

const join = (client: Client, name: string, spec?: object): Promise<Node> =>
  client.create('nodes', { metadata: { name }, ...(spec ? { spec } : {}) });
const subnetsOf = (nodes: readonly Node[]): string[] => nodes.flatMap((node) => node.spec?.podCIDRs ?? []);

/** The loop of one server, over its own informer. */
async function loopOf(
  t: Test,
  { registry, ipam }: Server,
  more: { now?: () => number } = {},
): Promise<NodeIpamLoop> {
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const nodes = new Informer({ client: registry, resource: 'nodes' });
  const events = new EventRecorder(registry, { component: 'cidrAllocator' }, log);
  const input = { client: registry, ipam, nodes, events, log, signal: stop.signal, ...more };
  const loop = new NodeIpamLoop(input);
  await nodes.start(stop.signal);
  return loop;
}

t.test('a Node has its subnet when it is created; given by hand it is kept', async (t) => {
  const [{ registry }] = (await cluster(t, 1, '10.244.0.0/16,fd00:1::/56')) as [Server];
  t.same((await join(registry, 'a')).spec, {
    podCIDR: '10.244.0.0/24',
    podCIDRs: ['10.244.0.0/24', 'fd00:1::/64'],
  });
  t.same(subnetsOf([await join(registry, 'b', { podCIDR: '10.244.1.0/24' })]), ['10.244.1.0/24']);
  t.same(subnetsOf([await join(registry, 'c')]), ['10.244.2.0/24', 'fd00:1:0:1::/64']);
  await t.rejects(join(registry, 'd', { podCIDRs: ['10.244.0.128/25'] }), {
    code: 'Conflict',
    message: /"d": subnet 10\.244\.0\.128\/25 overlaps 10\.244\.0\.0\/24 of node "a": .*--pod-cidr/,
  });
  await t.rejects(
    registry.patch('nodes', { name: 'b' }, { spec: { podCIDRs: ['10.244.2.0/24'] } }),
    { code: 'Conflict', message: /of node "c"/ },
    'a change is judged too',
  );
  await registry.updateStatus('nodes', {
    ...(await registry.get('nodes', { name: 'a' })),
    status: { addresses: [{ type: 'InternalIP', address: '192.168.56.10' }] },
  });
  for (const [wanted, code, message] of [
    ['192.168.56.0/25', 'Conflict', /"d": subnet 192\.168\.56\.0\/25 holds the address .*\.10 of node "a"/],
    ['10.9.0.1/24', 'BadRequest', /"d": .*did you mean 10\.9\.0\.0\/24/],
    ['anything', 'BadRequest', /expected a network/],
    ['127.0.0.0/8', 'BadRequest', /loopback/],
    ['10.96.4.0/24', 'BadRequest', /--pod-cidr 10\.96\.4\.0\/24 overlaps --service-cidr 10\.96\.0\.0\/12/],
  ] as const)
    await t.rejects(join(registry, 'd', { podCIDRs: [wanted] }), { code, message }, wanted);
  await registry.patch('nodes', { name: 'b' }, { spec: { podCIDRs: ['10.9.0.0/24'] } });
  t.same(subnetsOf([await join(registry, 'e')])[0], '10.244.1.0/24', 'what b left is free');
  await t.rejects(join(registry, 'a'), { code: 'AlreadyExists' });
  await registry.create('nodes', { metadata: { name: 'dry' } }, { dryRun: true });
  const { data } = await registry.get('configmaps', subnetRecord);
  t.same(Object.keys(data ?? {}).sort(), ['a', 'b', 'c', 'e'], 'a dry run takes nothing');
  const a = await registry.get('nodes', { name: 'a' });
  t.equal(JSON.parse(data?.a ?? '').uid, a.metadata.uid, 'a refused twin does not take the entry over');
});

t.test('a machine whose address is one of Pods or Services cannot join', async (t) => {
  const admit = admitNodeAddress(clusterRanges(rangeDefaults));
  const ask = (address: string) => {
    const status = { addresses: [{ type: 'InternalIP', address }] };
    const object = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, status } as unknown as Node;
    return admit({ operation: 'CREATE', resource: 'nodes', object, dryRun: false });
  };
  t.equal(ask('192.168.1.2'), undefined);
  t.throws(() => ask('10.244.7.1'), { code: 'Conflict', message: /node "n": .*Pod range 10\.244\.0\.0\/16/ });
  t.throws(() => ask('10.96.0.1'), { code: 'Conflict', message: /Service range .* --service-cidr/ });
});

t.test('servers that create at once never give one subnet twice', async (t) => {
  const servers = await cluster(t, 4);
  const nodes = await Promise.all(
    Array.from({ length: 120 }, (_, at) => join(servers[at % 4]!.registry, `n${at}`)),
  );
  const subnets = subnetsOf(nodes);
  t.equal(new Set(subnets).size, 120);
  const highest = Math.max(...subnets.map((subnet) => Number(subnet.split('.')[2])));
  t.equal(highest, 119, 'none is skipped');
});

t.test('a removed Node frees its subnet; a full range is told, and served when there is room', async (t) => {
  const [one, two] = (await cluster(t, 2, '10.244.0.0/23')) as [Server, Server];
  const loop = await loopOf(t, one);
  await loopOf(t, two); // two leaders for a while: as bad as it gets
  await join(one.registry, 'a');
  await join(two.registry, 'b');
  const c = await join(one.registry, 'c');
  t.same(subnetsOf([c]), [], 'it is created without');
  const full = /no subnet is free in the cluster's Pod range 10\.244\.0\.0\/23/;
  t.ok(await until(async () => (await one.registry.list('events')).items.length > 0));
  t.match((await one.registry.list('events')).items[0], {
    reason: 'CIDRNotAvailable',
    message: full,
    involvedObject: { kind: 'Node', name: 'c' },
  });
  const conditions = async () => (await one.registry.get('nodes', { name: 'c' })).status?.conditions ?? [];
  t.ok(await until(async () => (await conditions()).length > 0));
  t.match(await conditions(), [{ type: 'NetworkUnavailable', status: 'True', message: full }]);
  await two.registry.delete('nodes', { name: 'a' });
  t.ok(await until(async () => subnetsOf([await one.registry.get('nodes', { name: 'c' })]).length > 0));
  t.same(subnetsOf([await one.registry.get('nodes', { name: 'c' })]), ['10.244.0.0/24']);
  t.ok(await until(async () => (await conditions()).length === 0), 'the condition goes');
  await loop.settled();
  const back = await join(two.registry, 'a');
  t.same(subnetsOf([back]), [], 'full again');
});

t.test('a Node made anew keeps its subnet, and the end of the old one does not take it away', async (t) => {
  const [one] = (await cluster(t, 1)) as [Server];
  await join(one.registry, 'first');
  await join(one.registry, 'a');
  await one.registry.delete('nodes', { name: 'a' });
  await join(one.registry, 'a');
  // The loop comes late: it sees the new one only, and hears of the old one's end.
  const loop = await loopOf(t, one);
  await one.ipam.release({ name: 'a', uid: 'of the old one' });
  await loop.settled();
  t.same((await one.ipam.reservations()).get('a')?.subnets, ['10.244.1.0/24']);
  await one.registry.delete('nodes', { name: 'first' });
  t.ok(await until(async () => !(await one.ipam.reservations()).has('first')));
  t.same(subnetsOf([await join(one.registry, 'b')]), ['10.244.0.0/24']);
});

t.test('an entry whose Node never came is freed after five minutes, not before', async (t) => {
  const [one] = (await cluster(t, 1)) as [Server];
  let now = 0;
  const loop = await loopOf(t, one, { now: () => now });
  await one.ipam.allocate({ name: 'ghost', uid: 'g' }); // its server died here
  loop.sweep();
  await loop.settled();
  now = 299_000;
  loop.sweep();
  await loop.settled();
  t.ok((await one.ipam.reservations()).has('ghost'));
  now = 301_000;
  loop.sweep();
  await loop.settled();
  t.notOk((await one.ipam.reservations()).has('ghost'));
});

t.test('a lost or older record is made of the Nodes', async (t) => {
  const [one] = (await cluster(t, 1)) as [Server];
  await join(one.registry, 'a');
  await one.registry.delete('configmaps', subnetRecord);
  t.same(subnetsOf([await join(one.registry, 'b')]), ['10.244.1.0/24']);
  await one.registry.patch('configmaps', subnetRecord, { data: { a: 'nonsense' } });
  const loop = await loopOf(t, one);
  await loop.settled();
  t.same((await one.ipam.reservations()).get('a')?.subnets, ['10.244.0.0/24'], 'mended from the Node');
});

t.test('a thousand nodes', async (t) => {
  const [one] = (await cluster(t, 1, '10.0.0.0/12')) as [Server];
  const began = performance.now();
  for (let at = 0; at < 1000; at++) await join(one.registry, `node-${at}`);
  const ms = performance.now() - began;
  t.comment(`1,000 Nodes registered in ${ms.toFixed(0)} ms`);
  const { items } = await one.registry.list('nodes');
  t.equal(new Set(subnetsOf(items)).size, 1000);
});
