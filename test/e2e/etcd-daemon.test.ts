// A whole podwired over an etcd: Pods run, outlive etcd's death and the daemon's, and what was wished meanwhile is done later.
import t from 'tap';
import { startEtcd, whyNoEtcd } from '../etcd/cluster.ts';
import { hostPod, isRunning, sleep, sleeper, startNode } from './harness.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`podwired over etcd is not tested: ${skip}`);

t.test('podwired --datastore etcd://', { skip }, async (t) => {
  const etcd = await startEtcd(1);
  const flags = ['--datastore', `etcd://${etcd.endpoints[0]}/e2e`];
  t.teardown(() => etcd.stop()); // after the node's own: what is told last is done first
  const node = await startNode(t, { podCidr: '10.206.0.0/24', flags });
  await node.apply(hostPod('web', { main: sleeper }));
  const before = await node.until('web', isRunning);
  const container = before.status?.containerStatuses?.[0]?.containerID;
  t.ok(container);

  await etcd.kill(0);
  const { exitCode, stderr } = await node.podwire(['get', 'pods']);
  t.not(exitCode, 0);
  t.match(stderr, /etcd 127\.0\.0\.1:\d+/, 'an outage is told as what it is');
  await sleep(500);
  await etcd.restart(0);
  await node.apply(hostPod('later', { main: sleeper }));
  await node.until('later', isRunning);
  const after = await node.until('web', isRunning);
  t.equal(after.status?.containerStatuses?.[0]?.containerID, container, 'the Pod did not notice');

  await node.kill9();
  await node.up();
  const adopted = await node.until('web', isRunning);
  t.equal(adopted.metadata.uid, before.metadata.uid);
  t.equal(adopted.status?.containerStatuses?.[0]?.containerID, container, 'nor the death of the daemon');
  const { exitCode: other, stderr: why } = await node
    .podwire(['down'])
    .then(() => node.podwire(['up', '--datastore', 'sqlite']));
  t.not(other, 0);
  t.match(why, /2 Pods of this node are kept in etcd:/, 'another store is refused while Pods run');
  await node.up();
});
