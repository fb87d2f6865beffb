// Scheduling and the node verbs on a machine with one node: cordon, drain, remove, requests that do not fit, its Lease.
import t from 'tap';
import { until } from '../until.ts';
import { hostPod, isRunning, sleeper, startNode } from './harness.ts';

t.test('one node', async (t) => {
  const node = await startNode(t, { podCidr: '10.214.0.0/24', flags: ['--node-name', 'n1'] });
  const condition = (pod: { status?: { conditions?: { type: string }[] } } | undefined) =>
    pod?.status?.conditions?.find(({ type }) => type === 'PodScheduled') as
      | { status: string; message?: string }
      | undefined;

  await t.test('its Lease is renewed, its subnet is in the record', async (t) => {
    const lease = await node.client.get('leases', { namespace: 'kube-node-lease', name: 'n1' });
    t.ok(Date.now() - Date.parse(lease.spec?.renewTime ?? '') < 40_000, 'its term is not over');
    const key = { namespace: 'kube-system', name: 'podwire-node-subnets' };
    t.match((await node.client.get('configmaps', key)).data?.n1, /"10\.214\.0\.0\/24"/);
    const { status } = await node.client.get('nodes', { name: 'n1' });
    const types = (status?.conditions ?? []).map((one) => `${one.type}=${one.status}`);
    for (const one of ['Ready=True', 'MemoryPressure=False', 'DiskPressure=False', 'PIDPressure=False'])
      t.ok(types.includes(one), one);
  });

  await t.test('what does not fit waits, and is told why', async (t) => {
    const container = {
      name: 'a',
      image: 'localhost/host',
      command: ['sleep', '1000'],
      resources: { requests: { cpu: '1000' } },
    };
    const big = hostPod('big', {}) as { spec: { containers: object[] } };
    big.spec.containers = [container];
    await node.apply(big);
    const pod = await node.until('big', (one) => condition(one)?.status === 'False');
    t.equal(condition(pod)?.message, '0/1 nodes are available: 1 Insufficient cpu.');
    t.match(
      (await node.podwire(['get', 'events'])).stdout,
      /FailedScheduling +pod\/big +0\/1 nodes are available/,
    );
    t.equal((await node.podwire(['delete', 'pod', 'big'])).exitCode, 0);
  });

  await t.test('cordon, uncordon', async (t) => {
    t.equal((await node.podwire(['cordon', 'n1'])).stdout, 'node/n1 cordoned\n');
    t.equal((await node.podwire(['node', 'cordon', 'node/n1'])).stdout, 'node/n1 already cordoned\n');
    t.match((await node.podwire(['get', 'nodes'])).stdout, /Ready,SchedulingDisabled/);
    await node.apply(hostPod('waits', { a: sleeper }));
    const pod = await node.until('waits', (one) => condition(one)?.status === 'False');
    t.equal(condition(pod)?.message, '0/1 nodes are available: 1 node(s) were unschedulable.');
    t.equal((await node.podwire(['uncordon', 'n1'])).stdout, 'node/n1 uncordoned\n');
    await node.until('waits', isRunning);
    t.match(
      (await node.podwire(['cordon', 'n2'])).stderr,
      /Error from server \(NotFound\): nodes "n2" not found/,
    );
  });

  await t.test('drain asks, and then evicts', async (t) => {
    const refused = await node.podwire(['drain', 'n1']);
    t.equal(refused.exitCode, 1);
    t.match(refused.stderr, /declare no controller \(use --force to override\): default\/waits/);
    await node.until('waits', isRunning);
    const drained = await node.podwire(['node', 'drain', 'n1', '--force', '--timeout', '60s']);
    t.equal(drained.exitCode, 0, drained.stderr);
    t.match(drained.stdout, /evicting pod default\/waits\npod\/waits evicted\nnode\/n1 drained\n/);
    await node.until('waits', (pod) => pod === undefined);
    t.equal((await node.podwire(['uncordon', 'n1'])).exitCode, 0);
  });

  await t.test(
    'a Ready node is not removed; by force it is, and its kubelet comes back for its subnet',
    async (t) => {
      const refused = await node.podwire(['node', 'remove', 'n1']);
      t.equal(refused.exitCode, 1);
      t.match(refused.stderr, /node "n1" is Ready and would come back: drain it/);
      const { stdout } = await node.podwire(['node', 'remove', 'n1', '--force']);
      t.equal(stdout, 'node/n1 removed; 10.214.0.0/24 is free\n');
      const again = async () => (await node.client.list('nodes')).items[0]?.spec?.podCIDRs?.join();
      await until(again);
      t.equal(await again(), '10.214.0.0/24');
      await node.apply(hostPod('after', { a: sleeper }));
      await node.until('after', isRunning);
    },
  );
});
