// Two servers over one etcd, and an agent: it goes to the other server when its own falls silent or dies, and its Pods do not notice.
import t from 'tap';
import { cut, heal } from '../../lib/lab/faults.ts';
import type { Pod } from '../../lib/api/types.ts';
import { HttpClient } from '../../lib/api/http/client.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { startEtcd, whyNoEtcd } from '../etcd/cluster.ts';
import { hostPod, isRunning, sleep, sleeper } from '../e2e/harness.ts';
import { until } from '../until.ts';
import { bareLab } from './lab.ts';

const skip = whyNoEtcd();
if (skip) t.comment(`two servers and an agent are not tested: ${skip}`);

t.test('an agent of two servers', { skip }, async (t) => {
  const lab = await bareLab(t, { name: 't-servers', nodes: 3, underlay: '172.30.235.0/24' });
  const { uplinkAddress, machines } = lab.plan;
  const etcd = await startEtcd(1, undefined, uplinkAddress);
  t.teardown(() => etcd.stop());
  const must = async (node: string, ...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await lab.podwire(node, args);
    if (exitCode !== 0) throw new Error(`${node}: podwire ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const datastore = ['--datastore', `etcd://${etcd.endpoints[0]}`];
  const up = (name: string, address: string) =>
    must(name, 'up', '--node-name', name, '--node-ip', address, ...datastore, '--listen', ':6443');
  await up('node1', machines[0]!.address);
  for (const [flags, refused] of [
    [['--node-name', 'node1'], /the name "node1" is that of another machine of this store/],
    [['--cluster-cidr', '10.55.0.0/16'], /the server node1 of this store has 10\.244\.0\.0\/16/],
  ] as const)
    t.match(await lab.podwire('node2', ['up', '--node-ip', machines[1]!.address, ...datastore, ...flags]), {
      exitCode: 1,
      stderr: refused,
    });
  await up('node2', machines[1]!.address);
  const token = (await must('node1', 'token', 'create')).trim().split(' ').at(-1) as string;
  await must('node3', 'join', token, '--node-name', 'node3');

  const second = new HttpClient({ socketPath: nodePaths(machines[1]!.root).socket });
  t.teardown(() => second.close());
  const key = (name: string) => ({ namespace: 'default', name });
  const run = async (name: string): Promise<Pod> => {
    await second.create('pods', hostPod(name, { main: sleeper }, { nodeName: 'node3' }));
    for (const end = Date.now() + 90_000; Date.now() < end; await sleep(50)) {
      const pod = await second.get('pods', key(name));
      if (isRunning(pod)) return pod;
    }
    throw new Error(`${name} does not run on node3 after 90 s`);
  };
  const first = await run('first');
  t.equal(
    (await must('node1', 'exec', 'first', '--', 'hostname')).trim(),
    'first',
    "any server reaches the agent's Pods",
  );
  t.equal((await must('node2', 'exec', 'first', '--', 'hostname')).trim(), 'first');
  const names = (client: HttpClient) =>
    client.list('pods').then(({ items }) => items.map(({ metadata }) => metadata.name));
  t.same(await names(lab.client), await names(second), 'both tell the same');

  await lab.faults((faults) => cut(faults, ['node1', 'node3'], []));
  let began = Date.now();
  await run('silent');
  t.pass(`node1 fell silent for node3: a Pod made at node2 runs ${Date.now() - began} ms later`);
  await lab.faults((faults) => heal(faults, []));

  await lab.killDaemon('node1');
  began = Date.now();
  await run('dead');
  t.pass(`podwired of node1 died: a Pod made at node2 runs ${Date.now() - began} ms later`);
  const now = await second.get('pods', key('first'));
  t.equal(
    now.status?.containerStatuses?.[0]?.containerID,
    first.status?.containerStatuses?.[0]?.containerID,
    'the Pod did not notice',
  );

  const holder = async () =>
    (await second.get('leases', { namespace: 'kube-system', name: 'podwire-controllers' })).spec
      ?.holderIdentity;
  await until(async () => (await holder())?.startsWith('node2'));
  t.match(await holder(), /^node2/, 'the controllers are led by the server that is left');
});
