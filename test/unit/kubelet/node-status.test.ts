import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { Client } from '../../../lib/api/client.ts';
import { ApiError } from '../../../lib/api/errors.ts';
import type { Node } from '../../../lib/api/types.ts';
import type { Registry } from '../../../lib/apiserver/registry/registry.ts';
import { keepNodeLease } from '../../../lib/kubelet/node-lease.ts';
import { nodeCapacity } from '../../../lib/kubelet/node-capacity.ts';
import { nodeConditions, NodeStatusReporter } from '../../../lib/kubelet/node-status.ts';
import { until } from '../../until.ts';
import { startRegistry } from '../apiserver/fixtures.ts';

const log = pino({ level: 'silent' });
const capacity = nodeCapacity(
  { cpus: 2, memory: 4 << 28, disk: 1e9, hugePages: {}, maxPods: 250 },
  { thresholds: [], reserved: [] },
);
const input = { name: 'one', ip: '192.0.2.1', version: '0', runtimeVersion: 'crun://1', capacity };

async function world(t: Test): Promise<{ registry: Registry; signal: AbortSignal }> {
  const { registry, close } = await startRegistry();
  const stop = new AbortController();
  t.teardown(async () => {
    stop.abort();
    await close();
  });
  return { registry, signal: stop.signal };
}

t.test('a status is written when it says something new, and every five minutes', async (t) => {
  const { registry, signal } = await world(t);
  let now = Date.parse('2026-01-01T00:00:00Z');
  let notReady: string | undefined = 'no subnet yet';
  const reporter = new NodeStatusReporter({
    client: registry,
    input,
    notReady: () => notReady,
    log,
    signal,
    now: () => now,
  });
  await reporter.register();
  await reporter.start();
  const read = () => registry.get('nodes', { name: 'one' });
  const condition = (node: Node, type: string) => node.status?.conditions?.find((one) => one.type === type);
  const first = await read();
  t.match(condition(first, 'Ready'), {
    status: 'False',
    reason: 'KubeletNotReady',
    message: 'no subnet yet',
  });
  t.match(condition(first, 'MemoryPressure'), { status: 'False', reason: 'KubeletHasSufficientMemory' });
  t.match(condition(first, 'DiskPressure'), { status: 'False', reason: 'KubeletHasNoDiskPressure' });
  t.match(condition(first, 'PIDPressure'), { status: 'False', reason: 'KubeletHasSufficientPID' });
  now += 60_000;
  await reporter.report();
  t.equal((await read()).metadata.resourceVersion, first.metadata.resourceVersion, 'nothing new, no write');
  notReady = undefined;
  await reporter.report();
  const ready = await read();
  t.match(condition(ready, 'Ready'), { status: 'True', lastTransitionTime: '2026-01-01T00:01:00Z' });
  now += 299_000;
  await reporter.report();
  t.equal((await read()).metadata.resourceVersion, ready.metadata.resourceVersion);
  now += 1000;
  await reporter.report();
  t.match(condition(await read(), 'Ready'), {
    lastHeartbeatTime: '2026-01-01T00:06:00Z',
    lastTransitionTime: '2026-01-01T00:01:00Z',
  });
});

t.test('what others say of the node stays; what they say of the kubelet is put right', async (t) => {
  const { registry, signal } = await world(t);
  const reporter = new NodeStatusReporter({
    client: registry,
    input,
    notReady: () => undefined,
    log,
    signal,
  });
  await reporter.register();
  await reporter.report();
  const conditions = [
    { type: 'NetworkUnavailable', status: 'True', reason: 'PortBlocked', message: 'm' },
    { type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown', message: 'm' },
  ];
  await registry.patch(
    'nodes',
    { name: 'one' },
    { status: { conditions } },
    { type: 'strategic', subresource: 'status' },
  );
  await reporter.report();
  const { status } = await registry.get('nodes', { name: 'one' });
  const byType = new Map(status?.conditions?.map((one) => [one.type, one.status]));
  t.equal(byType.get('NetworkUnavailable'), 'True');
  t.equal(byType.get('Ready'), 'True');
  t.equal(byType.size, 5);
  await registry.delete('nodes', { name: 'one' });
  await reporter.report();
  t.equal((await registry.get('nodes', { name: 'one' })).status?.addresses?.[0]?.address, '192.0.2.1');
});

t.test('a writer between read and write is not lost', async (t) => {
  const { registry, signal } = await world(t);
  let between = 1;
  const client = new Proxy(registry as Client, {
    get: (target, name) => {
      if (name !== 'updateStatus') return Reflect.get(target, name).bind(target);
      return async (resource: 'nodes', node: Node) => {
        if (between-- > 0)
          await registry.patch(
            'nodes',
            { name: 'one' },
            { status: { conditions: [{ type: 'NetworkUnavailable', status: 'False' }] } },
            { type: 'strategic', subresource: 'status' },
          );
        return registry.updateStatus(resource, node);
      };
    },
  });
  const reporter = new NodeStatusReporter({ client, input, notReady: () => undefined, log, signal });
  await reporter.report();
  const { status } = await registry.get('nodes', { name: 'one' });
  t.ok(status?.conditions?.some(({ type }) => type === 'NetworkUnavailable'));
  t.ok(status?.conditions?.some(({ type }) => type === 'Ready'));
});

t.test('a transition is a change of status, not of message', async (t) => {
  const known = nodeConditions([], { now: 0, notReady: 'a', pressures: [] });
  const ready = nodeConditions(known, { now: 5000, notReady: 'b', pressures: [] }).find(
    ({ type }) => type === 'Ready',
  );
  t.match(ready, {
    message: 'b',
    lastHeartbeatTime: '1970-01-01T00:00:05Z',
    lastTransitionTime: '1970-01-01T00:00:00Z',
  });
});

t.test('the lease is made, found again, and made anew', async (t) => {
  const { registry, signal } = await world(t);
  const node = await registry.create('nodes', { metadata: { name: 'one' } });
  const key = { namespace: 'kube-node-lease', name: 'one' };
  const stop = new AbortController();
  keepNodeLease({ client: registry, node: () => node, seconds: 40, log, signal: stop.signal });
  await until(() => registry.get('leases', key).catch(() => undefined));
  const lease = await registry.get('leases', key);
  t.match(lease, {
    metadata: { ownerReferences: [{ kind: 'Node', name: 'one', uid: node.metadata.uid }] },
    spec: { holderIdentity: 'one', leaseDurationSeconds: 40, renewTime: /\.\d{6}Z$/ },
  });
  stop.abort();
  keepNodeLease({ client: registry, node: () => node, seconds: 40, log, signal });
  const renewTime = async () => (await registry.get('leases', key)).spec?.renewTime ?? '';
  const isRenewed = async () => (await renewTime()) > (lease.spec?.renewTime ?? '');
  t.ok(await until(isRenewed), 'the next kubelet renews');
  t.equal((await registry.get('leases', key)).metadata.uid, lease.metadata.uid, 'the same one');
});

t.test('a lease that cannot be written is tried again soon', async (t) => {
  const { registry, signal } = await world(t);
  const node = await registry.create('nodes', { metadata: { name: 'one' } });
  let failures = 2;
  const client = new Proxy(registry as Client, {
    get: (target, name) => {
      if (name !== 'get') return Reflect.get(target, name).bind(target);
      return (...args: [never, never]) => {
        if (failures-- > 0) throw new ApiError('ServiceUnavailable', 'away');
        return registry.get(...args);
      };
    },
  });
  keepNodeLease({ client, node: () => node, seconds: 40, log, signal });
  t.ok(await until(async () => (await registry.list('leases')).items.length === 1));
});
