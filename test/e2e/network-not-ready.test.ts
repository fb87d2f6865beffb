// A node without a subnet: Pods wait and say why, those on the node's own network do not; with the subnet they run.
import t from 'tap';
import { until } from '../until.ts';
import { hostPod, isRunning, sleeper, startNode } from './harness.ts';

t.test('a node that the cluster has no subnet for', async (t) => {
  const node = await startNode(t, { podCidr: '', flags: ['--cluster-cidr', '10.203.0.0/24'] });
  const { client } = node;
  const [own] = (await client.list('nodes')).items;
  const name = own?.metadata.name ?? '';
  t.equal(own?.spec?.podCIDR, '10.203.0.0/24');
  // Another node takes the only subnet, and ours comes back without one.
  const isTaken = async (): Promise<boolean> => {
    await client.delete('nodes', { name }).catch(() => {}); // it may not be back yet
    const other = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'other' } };
    if ((await client.create('nodes', other)).spec?.podCIDR) return true;
    await client.delete('nodes', { name: 'other' });
    return false; // our kubelet was quicker to come back
  };
  t.ok(await until(isTaken));
  await node.kill9();
  await node.up();
  t.equal((await client.get('nodes', { name })).spec?.podCIDR, undefined);

  await node.apply(hostPod('waits', { a: sleeper }, { nodeName: name }));
  await node.apply(hostPod('host', { a: sleeper }, { nodeName: name, hostNetwork: true }));
  await node.until('host', isRunning);
  const told = async () =>
    (await client.list('events', { namespace: 'default' })).items
      .filter(({ involvedObject }) => involvedObject.name === 'waits')
      .map(({ reason, message }) => ({ reason, message }));
  await until(async () => (await told()).length > 0);
  t.match(await told(), [
    { reason: 'NetworkNotReady', message: /^network is not ready: node ".*" has no Pod subnet yet/ },
  ]);
  await client.delete('nodes', { name: 'other' });
  const begin = Date.now();
  const pod = await node.until('waits', isRunning);
  t.match(pod.status?.podIP, /^10\.203\.0\./, `runs ${Date.now() - begin} ms after the subnet was free`);
});
