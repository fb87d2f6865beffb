// A flat Pod network over several machines: every pair, both families, http and udp, small and large, real source addresses;
// flows that outlive whatever happens to other nodes; healing. The machines are a lab's (lib/lab): real podwired, real kernel.
import t from 'tap';
import { run } from '../../lib/exec/exec.ts';
import { cut, heal, impair } from '../../lib/lab/faults.ts';
import {
  asker,
  faultsFrom,
  ipsOf,
  isSoonEnough,
  onNode,
  server,
  startFlow,
  untilEveryPair,
} from './flat-network.ts';
import { isRunning } from '../e2e/harness.ts';
import { until } from '../until.ts';
import { startLab } from './lab.ts';

for (const [at, backend] of ['vxlan', 'host-gw'].entries())
  t.test(`every pair of Pods, ${backend}`, async (t) => {
    const lab = await startLab(t, {
      name: `t-flat-${backend}`.slice(0, 16),
      nodes: 3,
      underlay: `172.30.${231 + at}.0/24`,
      serverFlags: ['--cluster-cidr', '10.211.0.0/16,fd00:211::/48', '--network-backend', backend],
    });
    t.comment(`3 nodes Ready after ${lab.seconds.toFixed(2)} s`);
    const names = ['p1', 'p2', 'p3'];
    await lab.apply(...names.map((name, index) => onNode(name, `node${index + 1}`, server)));
    const pods = await lab.until(names, isRunning);
    t.equal(new Set(pods.flatMap(ipsOf)).size, 6, 'an address a family each, all different');
    const { tookMs } = await untilEveryPair(lab, pods);
    t.pass(`every pair, both families, http and udp, small and large: after ${tookMs} ms`);

    const subnets = (await lab.client.list('nodes')).items.flatMap(({ spec }) => spec?.podCIDRs ?? []);
    t.equal(new Set(subnets).size, 6, 'each node has subnets of its own');
    const target = ipsOf(pods[2]!)[0]!;
    const own = '10.211.0.0,172.30.231.1,172.30.232.1';
    const fromNode = () => lab.inside('node1', ['python3', '-c', asker, own, target]);
    t.ok(
      await until(async () => (await fromNode()).stdout === ''),
      "a node reaches Pods of other nodes, from its own or its subnet's first address",
    );

    const status = await lab.podwire('node1', ['network', 'status', '-o', 'json']);
    t.equal(status.exitCode, 0, status.stderr);
    const { reports, silent } = JSON.parse(status.stdout) as {
      reports: { node: string }[];
      silent: object[];
    };
    t.same([reports.map(({ node }) => node), silent], [['node1', 'node2', 'node3'], []], 'all nodes tell');
  });

t.test('what happens to one node breaks no flow between others', async (t) => {
  const lab = await startLab(t, {
    name: 't-faults',
    nodes: 3,
    underlay: '172.30.233.0/24',
    serverFlags: ['--cluster-cidr', '10.212.0.0/16'],
  });
  await lab.apply(...[1, 2, 3].map((at) => onNode(`p${at}`, `node${at}`, server)));
  const pods = await lab.until(['p1', 'p2', 'p3'], isRunning);
  await untilEveryPair(lab, pods);
  const { said } = await startFlow(lab, 'node1', 'node2');
  const goesOn = async (what: string): Promise<void> => {
    const before = await said();
    const goesOn = await until(async () => (await said()) > before);
    const { status } = await lab.client.get('pods', { namespace: 'default', name: 'flow' });
    t.ok(goesOn, `the flow goes on: ${what} (after ${before})`);
    t.equal(status?.phase, 'Running', what);
  };
  await goesOn('at first');

  await lab.killDaemon('node3');
  await lab.up('node3');
  await goesOn('a third daemon was killed and started');
  await lab.killDaemon('node2');
  await goesOn("the daemon at the flow's end is dead");
  await lab.up('node2');
  await lab.killDaemon('node1');
  await lab.up('node1');
  await goesOn("the server, at the flow's other end, was killed and started");
  t.equal(await untilEveryPair(lab, pods).then(() => ''), '', 'every pair works');

  await lab.faults((faults, plan) =>
    cut(
      faults,
      ['node3'],
      plan.machines.map(({ name }) => name),
    ),
  );
  const apart = await faultsFrom(lab, pods[0]!, [pods[2]!]);
  t.match(apart, /timed out|unreachable|No route/, 'node3 is cut off');
  await goesOn('node3 is cut off');
  await lab.faults((faults) => heal(faults, []));
  const healed = await untilEveryPair(lab, pods);
  t.ok(isSoonEnough(healed), `every pair works again ${healed.tookMs} ms after healing`);

  await lab.faults((faults) => impair(faults, ['node3'], { rate: 100_000_000 }));
  await lab.powerOff('node3');
  await goesOn('node3 lost its power');
  await lab.reboot('node3');
  const [again] = await lab.until(['p3'], (pod) => isRunning(pod) && ipsOf(pod!).length > 0);
  const rebooted = await untilEveryPair(lab, [pods[0]!, pods[1]!, again!]);
  t.ok(isSoonEnough(rebooted), `node3 is back, its Pod too: every pair ${rebooted.tookMs} ms later`);
  await goesOn('node3 came back');

  const cable = async (): Promise<string> =>
    (await run({ argv: ['tc', '-n', lab.plan.netns, 'qdisc', 'show', 'dev', 'node3'] })).stdout;
  t.match(await cable(), /tbf.* rate 100Mbit/, 'its cable is as bad as it was');
  await lab
    .faults((faults) => impair(faults, ['node3'], { delayMs: 1 }))
    .catch((error) => t.equal(error.code, 'LAB_NETEM', 'a kernel without netem'));
  await lab.faults((faults) => heal(faults, ['node3']));
  t.notMatch(await cable(), /tbf|netem|pfifo/, 'and good again');
});
