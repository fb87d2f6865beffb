// Two machines, each with a kernel of its own, one Pod network: joined by the line of a token, by VXLAN and every other backend in turn.
// A node is rebooted and another one's plug is pulled; what a Pod sees of the other is its own address, always.
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import type { BackendName } from '../../lib/node-network/types.ts';
import {
  causeBetween,
  eventually,
  flowsWork,
  install,
  joinBy,
  nodesAre,
  startService,
  untilFlows,
} from './cluster.ts';
import { echoPod } from './echo-pod.ts';
import { startLab } from './lab.ts';
import type { Machine } from './machine.ts';
import { create, getPod, isRunning, remove, traces, until, untilReady } from './node.ts';

const [one, two] = (await startLab(t, { machines: 2 })) as [Machine, Machine];
const pods = ['echo1', 'echo2'] as const;
const ranges = ['--cluster-cidr', '10.244.0.0/16,fd00:244::/48', '--service-cidr', '10.96.0.0/12'];
const patience = ['--node-monitor-grace-period', '20', '--default-unreachable-toleration-seconds', '5'];
const serve = (...more: string[]): Promise<void> => install(one, ...ranges, ...patience, ...more);
const seconds = (value: number): string => `${value.toFixed(1)} s`;

t.test('podwired server, podwire token create, podwire join', { bail: true }, async (t) => {
  await serve();
  await startService(one);
  await install(two);
  const { stdout: line, stderr, exitCode } = await one.podwire('token', 'create');
  t.equal(exitCode, 0, stderr);
  t.match(line, /^podwire join pw1\.\S+\n$/, 'one line');
  const began = performance.now();
  t.comment(await joinBy(two, line.trim()));
  t.comment(`joined after ${seconds((performance.now() - began) / 1000)}`);
  t.comment(`both Ready ${seconds(await nodesAre(one, { node1: 'True', node2: 'True' }))} later`);
  const { items } = await one.api.list('nodes');
  const addresses = items.map(
    (node) => node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address,
  );
  t.same(addresses.sort(), [one.ip, two.ip], 'no node has taken the address that all have');
});

t.test('Pod to Pod across by VXLAN', async (t) => {
  for (const [at, name] of pods.entries()) await create(one, echoPod(name, `node${at + 1}`));
  for (const name of pods) await until(one, name, isRunning);
  t.comment(`the first answer across ${seconds(await untilFlows(one, pods))} later`);
  await flowsWork(t, one, { pods, mtu: 1450 });
});

const block = 'add table inet block; add chain inet block in { type filter hook input priority -9; }; ';
const faults = [
  {
    name: 'port 8472 is blocked',
    cause: 'blocked',
    make: () => two.out(['nft', `${block} add rule inet block in udp dport 8472 drop`]),
    mend: () => two.sh('nft delete table inet block'),
  },
  {
    name: 'a switch between them has a smaller MTU',
    cause: 'mtu',
    make: () => two.switchMtu(1400),
    mend: () => two.switchMtu(1500),
  },
  {
    name: 'the cable is out',
    cause: 'unreachable',
    make: () => two.cable('out'),
    mend: () => two.cable('in'),
  },
];
for (const { name, cause, make, mend } of faults)
  t.test(`told by its cause: ${name}`, async (t) => {
    const seen = (): Promise<string> => causeBetween(one, 'node1', 'node2');
    await eventually('node1 to node2', seen, (is) => is === 'ok');
    await make();
    try {
      t.comment(`${cause} after ${seconds(await eventually(cause, seen, (is) => is === cause))}`);
    } finally {
      await mend();
    }
    t.comment(`ok after ${seconds(await eventually('ok again', seen, (is) => is === 'ok'))}`);
  });

const vtepMac = async (vm: Machine): Promise<string> =>
  await vm.sh(`ip -d -br link show type vxlan | awk '{print $1, $3}'`);

t.test('a node is rebooted', async (t) => {
  const mac = await vtepMac(two);
  t.match(mac, /\S+ (..:){5}../);
  t.comment(`shut down and booted in ${seconds(await two.reboot())}`);
  await untilReady(two);
  await until(one, 'echo2', isRunning);
  t.comment(`flows again ${seconds(await untilFlows(one, pods))} later`);
  t.equal(await vtepMac(two), mac, 'the same VTEP');
  await flowsWork(t, one, { pods, mtu: 1450 });
});

async function removeAll(): Promise<void> {
  for (const name of pods) if (await getPod(one, name)) await remove(one, name);
}

/** Both nodes go over to another backend; Pods that ran with the MTU of the one before are made anew. */
async function changeTo(t: Test, backend: BackendName): Promise<void> {
  await removeAll();
  await serve('--network-backend', backend);
  await startService(one);
  await startService(two);
  for (const [at, name] of pods.entries()) await create(one, echoPod(name, `node${at + 1}`));
  for (const name of pods) await until(one, name, isRunning);
  t.comment(`flows ${seconds(await untilFlows(one, pods))} later`);
}

/** `TYPE NAME` of what backends make; tunl0 is the kernel's own. */
const overlayLinks = `for type in vxlan wireguard ipip; do
  ip -br link show type $type | awk -v type=$type '$1 !~ /^tunl0/ {sub("@.*", "", $1); print type, $1}'
done`;

for (const { backend, mtu, families } of [
  { backend: 'host-gw', mtu: 1500, families: [4, 6] },
  { backend: 'wireguard', mtu: 1440, families: [4, 6] },
  { backend: 'ipip', mtu: 1480, families: [4] },
  { backend: 'vxlan', mtu: 1450, families: [4, 6] },
] as const)
  t.test(`by ${backend}`, async (t) => {
    await changeTo(t, backend);
    for (const vm of [one, two])
      t.equal(
        await vm.sh('ip netns exec $(ip netns | head -1 | cut -d" " -f1) cat /sys/class/net/eth0/mtu'),
        String(mtu),
        `${vm.name}: a Pod's MTU`,
      );
    await flowsWork(t, one, { pods, mtu, families });
    const links = await two.sh(overlayLinks);
    t.match(
      links,
      backend === 'host-gw' ? /^$/ : new RegExp(`^${backend} \\S+$`),
      'nothing of the one before',
    );
    const { stdout: said } = await one.podwire('network', 'status');
    const isSaid = /ipip carries IPv4 only/.test(said);
    t.equal(isSaid, families.length === 1, 'a family that is not carried is told', { said });
  });

t.test('a node is lost, and comes back', async (t) => {
  await create(one, echoPod('leaving', 'node2', []));
  await until(one, 'leaving', isRunning);
  await two.stop();
  t.comment(`Unknown after ${seconds(await nodesAre(one, { node1: 'True', node2: 'Unknown' }))}`);
  const leaves = (): Promise<Pod | undefined> => getPod(one, 'leaving');
  const after = await eventually('eviction', leaves, (pod) => pod?.metadata.deletionTimestamp !== undefined);
  t.comment(`a Pod that tolerates it for five seconds is evicted ${seconds(after)} later`);
  t.ok(isRunning(await getPod(one, 'echo1')), 'the other node goes on');
  t.notOk((await getPod(one, 'echo2'))?.metadata.deletionTimestamp, 'a Pod that tolerates all stays');
  t.comment(`booted in ${seconds(await two.start())}`);
  t.comment(`Ready ${seconds(await nodesAre(one, { node2: 'True' }))} later`);
  await until(one, 'leaving', (pod) => pod === undefined);
  await until(one, 'echo2', isRunning);
  t.comment(`flows again ${seconds(await untilFlows(one, pods))} later`);
  await flowsWork(t, one, { pods, mtu: 1450 });
});

t.test('down --pods leaves nothing', async (t) => {
  await removeAll();
  for (const vm of [two, one]) {
    const { exitCode, stdout, stderr } = await vm.podwire('down', '--pods');
    t.equal(exitCode, 0, stdout + stderr);
    t.same(await traces(vm), [], `${vm.name}: nothing is left`);
  }
});
