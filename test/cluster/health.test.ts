// What `podwire network status` says of faults that are really there: a blocked port, one way only, a small MTU on the way, lost
// checksums, a node that is down. The faults are rules in the underlay's or a machine's own namespace.
import t from 'tap';
import type { NetworkStatus } from '../../lib/node-network/health/health.ts';
import type { Cause } from '../../lib/node-network/health/diagnose.ts';
import { run } from '../../lib/exec/exec.ts';
import type { Pod } from '../../lib/api/types.ts';
import { hostPod, isRunning, sleep, sleeper } from '../e2e/harness.ts';
import { until } from '../until.ts';
import { startLab } from './lab.ts';

const largePod = (cpu: number): object => {
  const pod = hostPod('large', { main: sleeper }) as { spec: { containers: Record<string, unknown>[] } };
  pod.spec.containers[0]!.resources = { requests: { cpu: String(cpu) } };
  return pod;
};

t.test('the network between nodes tells what is wrong with it, and a lost node is noticed', async (t) => {
  const lab = await startLab(t, {
    name: 't-health',
    nodes: 3,
    underlay: '172.30.234.0/24',
    serverFlags: ['--node-monitor-grace-period', '8', '--default-unreachable-toleration-seconds', '2'],
  });
  const { cpu = '1' } = (await lab.client.get('nodes', { name: 'node3' })).status?.allocatable ?? {};
  await lab.apply(
    ...['a', 'b', 'c'].map((name) => hostPod(name, { main: sleeper })),
    largePod(Number(cpu) + 1),
  );
  const spread = await lab.until(['a', 'b', 'c'], isRunning);
  t.same(
    spread.map(({ spec }) => spec.nodeName).sort(),
    ['node1', 'node2', 'node3'],
    'Pods without a node are spread',
  );
  const tooLarge = (pod: Pod | undefined) =>
    pod?.status?.conditions?.some(({ message }) => /0\/3 nodes.*3 Insufficient cpu/.test(message ?? ''));
  await lab.until(['large'], tooLarge);
  t.pass('one that fits nowhere waits, and is told why');
  const status = async (): Promise<NetworkStatus> => {
    const { stdout, stderr } = await lab.podwire('node1', ['network', 'status', '-o', 'json']);
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as NetworkStatus;
  };
  const between = ({ reports }: NetworkStatus, from: string, to: string) =>
    reports.find(({ node }) => node === from)?.peers.find(({ peer }) => peer === to);
  const untilCause = async (from: string, to: string, cause: Cause): Promise<string> => {
    let seen = '';
    for (const end = Date.now() + 60_000; Date.now() < end; await sleep(250)) {
      const found = between(await status(), from, to);
      if (found?.cause === cause) return found.message;
      seen = `${found?.cause}: ${found?.message}`;
    }
    throw new Error(`${from} → ${to}: not "${cause}" but ${seen}`);
  };
  const nft = (netns: string, text: string) =>
    run({ argv: ['nsenter', `--net=/run/netns/${netns}`, 'nft', '-f', '-'], input: text });
  const { netns, machines } = lab.plan;
  const underlay = (rule: string) =>
    nft(netns, `table bridge fault { chain f { type filter hook forward priority 0; ${rule} }; }\n`);
  const clear = () => nft(netns, 'delete table bridge fault\n');

  await untilCause('node1', 'node2', 'ok');
  await untilCause('node2', 'node1', 'ok');

  await underlay('iifname "node1" oifname "node2" udp dport 8472 drop;');
  t.match(
    await untilCause('node1', 'node2', 'blocked'),
    /let udp port 8472 from this node to 172\.30\.234\.2 pass/,
  );
  t.match(await untilCause('node2', 'node1', 'blocked-back'), /hears this node.*answers are lost/);
  await untilCause('node1', 'node3', 'ok');
  t.pass('others are not blamed');
  await clear();
  await untilCause('node1', 'node2', 'ok');

  await underlay('iifname "node1" udp dport 8472 meta length > 1300 drop;');
  t.match(
    await untilCause('node1', 'node3', 'mtu'),
    /packets of 1450 bytes do not reach node3, small ones do/,
  );
  await clear();
  await untilCause('node1', 'node3', 'ok');

  // As a device does that spoils checksums: what carries one is lost, what carries none passes.
  const { netns: inside } = machines[1]!;
  await nft(
    inside,
    'table inet fault { chain f { type filter hook input priority 0; iifname != "eth0" udp checksum != 0 udp dport 10254 drop; }; }\n',
  );
  t.match(await untilCause('node1', 'node2', 'checksum'), /UDP checksum.*ethtool -K/);
  await nft(inside, 'delete table inet fault\n');
  await untilCause('node1', 'node2', 'ok');

  await underlay('udp dport 8472 drop;');
  await untilCause('node3', 'node1', 'blocked');
  const condition = async (): Promise<string | undefined> => {
    const node = await lab.client.get('nodes', { name: 'node3' });
    return node.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable')?.status;
  };
  t.ok(await until(async () => (await condition()) === 'True'), 'a node that reaches nobody says so');
  await clear();
  t.ok(await until(async () => (await condition()) === 'False'), 'and takes it back');

  const lost = spread.find(({ spec }) => spec.nodeName === 'node3')!.metadata.name;
  await lab.powerOff('node3');
  t.match(await untilCause('node1', 'node3', 'unreachable'), /node3 does not answer at 172\.30\.234\.3/);
  const { stdout } = await lab.podwire('node1', ['network', 'status']);
  t.match(stdout, /node3 +no answer/);
  t.match(stdout, /node1 → node3: node3 does not answer/);

  const [evicted] = await lab.until([lost], (pod) => pod?.metadata.deletionTimestamp !== undefined);
  t.equal(
    evicted?.status?.conditions?.find(({ type }) => type === 'Ready')?.status,
    'False',
    'its Pod is not ready, and told to go',
  );
  const node = await lab.client.get('nodes', { name: 'node3' });
  t.equal(node.status?.conditions?.find(({ type }) => type === 'Ready')?.status, 'Unknown');
  t.same(node.spec?.taints?.map(({ key, effect }) => `${key}:${effect}`).sort(), [
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  ]);
  await lab.reboot('node3');
  await lab.until([lost], (pod) => pod === undefined);
  t.pass('back again, it takes its Pod down');
  const isTainted = async () => (await lab.client.get('nodes', { name: 'node3' })).spec?.taints?.length;
  t.ok(await until(async () => !(await isTainted())), 'and is tainted no more');
});
