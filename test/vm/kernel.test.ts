// Three bare VMs: the underlay that tests of many nodes stand on, and the drivers of Debian's kernel that podwire's backends need.
// Nothing of podwire runs here. The machines are told apart only by what a cluster must tell them apart by.
import t from 'tap';
import { startLab } from './lab.ts';
import { type Machine, natAddress } from './machine.ts';

const machines = await startLab(t, { machines: 3, memoryMiB: 384 });

const addresses = async (vm: Machine, device: string): Promise<string[]> =>
  (await vm.sh(`ip -br address show dev ${device} scope global`)).split(/\s+/).slice(2).sort();
const fact = (script: string): Promise<string[]> => Promise.all(machines.map((vm) => vm.sh(script)));

t.test('the same first NIC everywhere, as on VirtualBox; the second one their own', async (t) => {
  t.same(await fact('hostname'), ['node1', 'node2', 'node3']);
  t.equal(new Set(await fact('cat /etc/machine-id')).size, 3, 'machine ids of their own');
  t.equal(new Set(await fact('cat /sys/class/net/eth0/address')).size, 1, 'one MAC on eth0');
  t.equal(new Set(await fact('cat /sys/class/net/eth1/address')).size, 3, 'three on eth1');
  for (const vm of machines) {
    t.same(await addresses(vm, 'eth0'), [`${natAddress}/24`], `${vm.name}: eth0`);
    t.same(await addresses(vm, 'eth1'), [`${vm.ip}/24`, `${vm.ip6}/64`], `${vm.name}: eth1`);
    t.match(
      await vm.sh('ip route show default'),
      'dev eth0',
      `${vm.name}: the way out is eth0, which leads to no node`,
    );
  }
});

t.test('every machine reaches every other, unless its cable is out', async (t) => {
  const ping = 'ping -c 1 -W 2';
  for (const from of machines)
    for (const to of machines.filter((each) => each !== from))
      t.match(
        await from.sh(`${ping} ${to.ip} && ${ping} ${to.ip6} && ${ping} -M do -s 1472 ${to.ip}`),
        ' 0% packet loss',
        `${from.name} to ${to.name}`,
      );
  const [one, two] = machines as [Machine, Machine];
  await two.cable('out');
  t.equal((await one.run(['ping', '-c', '1', '-W', '1', two.ip])).exitCode, 1, 'the cable of node2 is out');
  await two.cable('in');
  t.match(
    await one.sh(`for i in 1 2 3 4 5; do ${ping} ${two.ip} && exit; done`),
    ' 0% packet loss',
    'and in again',
  );
  const full = ['ping', '-c', '1', '-W', '2', '-M', 'do', '-s', '1472'];
  await two.switchMtu(1400);
  t.equal((await one.run([...full, two.ip])).exitCode, 1, 'a switch that carries 1400 bytes loses 1500');
  await two.switchMtu(1500);
  t.equal((await one.run([...full, two.ip])).exitCode, 0, 'and one that carries 1500 does not');
});

const drivers = [
  { module: 'vxlan', add: 'vxlan id 1 dstport 8472 local 10.77.0.11 nolearning' },
  { module: 'ipip', add: 'ipip local 10.77.0.11 remote any' },
  { module: 'wireguard', add: 'wireguard' },
  { module: 'dummy', add: 'dummy' },
  { module: 'geneve', add: 'geneve id 1 remote 10.77.0.12' },
  { module: 'vrf', add: 'vrf table 100' },
  { module: 'ipvlan', add: 'ipvlan', on: 'eth1' },
  { module: '8021q', add: 'vlan id 7', on: 'eth1' },
];
for (const { module, add, on } of drivers)
  t.test(`a link by ${module}`, async (t) => {
    const vm = machines[0]!;
    await vm.sh(`modprobe ${module} && ip link add probe0 ${on ? `link ${on} ` : ''}type ${add}`);
    t.match(await vm.sh('ip -d link show probe0'), add.split(' ')[0]);
    await vm.sh('ip link del probe0');
  });

t.test('delay by netem, and keys by wg', async (t) => {
  const vm = machines[0]!;
  await vm.sh('tc qdisc add dev eth1 root netem delay 20ms && tc qdisc del dev eth1 root');
  t.match(await vm.sh('wg genkey | wg pubkey'), /^[\w+/]{43}=$/);
});

t.test('cgroup v2 alone', async (t) => {
  t.same(await fact('stat -fc %T /sys/fs/cgroup'), ['cgroup2fs', 'cgroup2fs', 'cgroup2fs']);
  t.notMatch(await machines[0]!.sh('cat /proc/mounts'), / cgroup /, 'no v1 hierarchy beside it');
});
