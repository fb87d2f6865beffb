// A server at its start among the others of its store: names, addresses and settings.
import t from 'tap';
import { microTime } from '../../../lib/api/time.ts';
import {
  checkOtherServers,
  leaveServers,
  type OwnServer,
  serverAnnotations,
} from '../../../lib/apiserver/access/other-servers.ts';
import { ensureNode } from '../../../lib/kubelet/node-status.ts';
import { startRegistry } from './fixtures.ts';

const now = Date.now();
const settings = { 'cluster-cidr': '10.244.0.0/16', 'network-backend': 'vxlan' };
const one: OwnServer = { name: 'one', address: '192.0.2.1', machineId: '1'.repeat(32), settings };
const two: OwnServer = { name: 'two', address: '192.0.2.2', machineId: '2'.repeat(32), settings };

t.test('two servers of a store', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  await checkOtherServers(registry, one, now);
  const node = await ensureNode(registry, { name: 'one', annotations: serverAnnotations(one) });
  const addresses = [{ type: 'InternalIP', address: one.address }];
  await registry.updateStatus('nodes', { ...node, status: { addresses } });
  const key = { namespace: 'kube-node-lease', name: 'one' };
  const spec = { leaseDurationSeconds: 40, renewTime: microTime(now - 5000) };
  await registry.create('leases', { metadata: key, spec }, { namespace: key.namespace });

  for (const [title, own, refused] of [
    ['another one', two, undefined],
    ['itself, started again', one, undefined],
    [
      'itself with other settings',
      { ...one, settings: { ...settings, 'network-backend': 'ipip' } },
      undefined,
    ],
    [
      'the same name',
      { ...two, name: 'one' },
      { code: 'SERVER_NAME_TAKEN', message: /192\.0\.2\.1.*--node-name/ },
    ],
    [
      'the same address',
      { ...two, address: one.address },
      { code: 'SERVER_ADDRESS_TAKEN', message: /192\.0\.2\.1 is that of node "one".*--node-ip/ },
    ],
    [
      'another range',
      { ...two, settings: { ...settings, 'cluster-cidr': '10.55.0.0/16' } },
      {
        code: 'SERVER_SETTINGS_DIFFER',
        message: /--cluster-cidr 10\.55\.0\.0\/16: the server one of this store has 10\.244\.0\.0\/16/,
      },
    ],
  ] as const) {
    const check = checkOtherServers(registry, own, now);
    if (refused) await t.rejects(check, refused, title);
    else await t.resolves(check, title);
  }

  const taken = { ...two, name: 'one' };
  await t.resolves(
    checkOtherServers(registry, taken, now + 60_000),
    'a machine that was not heard of lately',
  );
  await leaveServers(registry, 'one');
  const other = { ...two, settings: { ...settings, 'network-backend': 'host-gw' } };
  await t.resolves(checkOtherServers(registry, other, now), 'one that has ended has no settings any more');
  await t.rejects(checkOtherServers(registry, taken, now), { code: 'SERVER_NAME_TAKEN' }, 'but its name');
});
