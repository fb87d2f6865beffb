import t from 'tap';
import {
  cut,
  type Faults,
  faultTable,
  heal,
  impair,
  noFaults,
  parseImpairment,
} from '../../../lib/lab/faults.ts';
import {
  bridgeLines,
  cableLines,
  findMachine,
  isOwnNetns,
  machineLines,
  planLab,
} from '../../../lib/lab/plan.ts';
import { qdiscLines } from '../../../lib/lab/underlay.ts';
import { whyNotReady } from '../../../lib/lab/cluster.ts';
import type { Node } from '../../../lib/api/types.ts';
import { faultsOf } from '../../../cmd/podwire/verbs/lab.ts';

const spec = { name: 'lab', nodes: 2, underlay: '172.30.229.0/24', mtu: 1500 };

t.test('a plan is all names and addresses', async (t) => {
  const plan = planLab(spec);
  t.match(plan, {
    netns: 'pwlab-lab',
    uplinkAddress: '172.30.229.254',
    machines: [
      {
        name: 'node1',
        netns: 'pwlab-lab-node1',
        address: '172.30.229.1',
        root: '/var/lib/podwire-lab/lab/node1',
      },
      { name: 'node2', address: '172.30.229.2' },
    ],
  });
  t.ok(plan.uplink.length <= 15);
  t.strictSame(planLab(spec), plan, 'the same every time, MACs too');
  t.not(planLab({ ...spec, name: 'other' }).machines[0]!.mac, plan.machines[0]!.mac);
  t.throws(() => findMachine(plan, 'node3'), { code: 'LAB_NO_NODE', message: /node1, node2/ });
});

t.test('the lines that make it', async (t) => {
  const plan = planLab(spec);
  const [one] = plan.machines;
  t.strictSame(bridgeLines(plan).outside, [
    `link add name ${plan.uplink} mtu 1500 type veth peer name host mtu 1500 netns pwlab-lab`,
    `addr add 172.30.229.254/24 dev ${plan.uplink}`,
    `link set dev ${plan.uplink} alias "podwire lab lab: the underlay"`,
    `link set dev ${plan.uplink} up`,
  ]);
  t.strictSame(cableLines(plan, one!), [
    `link add name node1 mtu 1500 type veth peer name eth0 address ${one!.mac} mtu 1500 netns pwlab-lab-node1`,
    'link set dev node1 master underlay up',
  ]);
  t.strictSame(machineLines(plan, one!), [
    'link set dev lo up',
    'addr add 172.30.229.1/24 dev eth0',
    'addr add fd00:172:30:229::1/64 dev eth0 nodad',
    'link set dev eth0 up',
    'route add default via 172.30.229.254 dev eth0',
  ]);
});

const wrong: [string, object, RegExp][] = [
  ['a climbing name', { name: '../x' }, /lower case letters/],
  ["a name that another lab's machine has", { name: 'lab-node1' }, /machines of other labs/],
  ['a long name', { name: 'a'.repeat(21) }, /at most 20/],
  ['no nodes', { nodes: 0 }, /1 to 200/],
  ['half a node', { nodes: 1.5 }, /whole number/],
  ['no /24', { underlay: '10.0.0.0/8' }, /IPv4 \/24/],
  ['no address', { underlay: '300.0.0.0/24' }, /IPv4 \/24/],
  ['an MTU below IPv6', { mtu: 1000 }, /1280/],
];
for (const [name, change, message] of wrong)
  t.throws(() => planLab({ ...spec, ...change }), { message }, name);

t.test('partitions', async (t) => {
  const all = ['node1', 'node2', 'node3'];
  const alone = cut(noFaults, ['node3'], all);
  t.strictSame(alone.cuts, [
    ['node1', 'node3'],
    ['node2', 'node3'],
  ]);
  const pair = cut(alone, ['node1', 'node2'], all);
  t.equal(pair.cuts.length, 3);
  t.strictSame(cut(pair, ['node2', 'node1'], all), pair, 'a pair is cut once');
  t.strictSame(heal(pair, ['node3']).cuts, [['node1', 'node2']]);
  t.strictSame(heal(pair, []), noFaults);
  for (const names of [[], ['node1', 'node1']])
    t.throws(() => cut(noFaults, names, all), { code: 'LAB_NO_NODE' }, `cut ${names}`);
  t.equal(
    faultTable(cut(noFaults, ['node1', 'node2'], all)),
    [
      'add table bridge podwire-lab',
      'delete table bridge podwire-lab',
      'table bridge podwire-lab {',
      '  chain forward {',
      '    type filter hook forward priority 0; policy accept;',
      '    iifname "node1" oifname "node2" counter drop comment "partition"',
      '    iifname "node2" oifname "node1" counter drop comment "partition"',
      '  }',
      '}',
      '',
    ].join('\n'),
  );
});

t.test('bad cables', async (t) => {
  t.strictSame(parseImpairment({ loss: '1.5%', rate: '10mbit', delay: '20ms' }), {
    lossPercent: 1.5,
    delayMs: 20,
    rate: 10_000_000,
  });
  for (const given of [{ loss: '101' }, { loss: 'x' }, { rate: '5' }, { rate: '1bit' }, { delay: '-1' }, {}])
    t.throws(() => parseImpairment(given), { code: 'LAB_FAULT' }, JSON.stringify(given));
  const faults: Faults = impair(impair(noFaults, ['node1'], { lossPercent: 1 }), ['node1'], {
    rate: 1_000_000,
  });
  t.match(faultTable(faults), /iifname "node1" numgen random mod 10000 < 100 counter drop comment "loss"/);
  t.equal(faultsOf(faults, 'node1'), 'loss 1%; rate 1000kbit');
  t.equal(faultsOf(cut(faults, ['node1', 'node2'], []), 'node2'), 'cut from node1');
  t.equal(faultsOf(faults, 'node2'), '-');
});

t.test('a cable is made slow whatever it was, and good whether it was slow or not', async (t) => {
  const delayed = { delayMs: 20, rate: 1_000_000 };
  t.strictSame(qdiscLines('node2', delayed), [
    'qdisc replace dev node2 root netem delay 20ms rate 1000000bit',
  ]);
  t.match(qdiscLines('node2', { rate: 1_000_000 }), [/^qdisc replace dev node2 root tbf rate 1000000bit /]);
  const good = ['qdisc replace dev node2 root pfifo', 'qdisc del dev node2 root'];
  t.strictSame(qdiscLines('node2', undefined), good);
  t.strictSame(qdiscLines('node2', { lossPercent: 1 }), good, 'packets are lost by nftables');
});

t.test("one lab's namespaces are not another's", async (t) => {
  const plan = planLab(spec);
  for (const name of ['pwlab-lab', 'pwlab-lab-node1', 'pwlab-lab-node200'])
    t.ok(isOwnNetns(plan, name), name);
  for (const name of ['pwlab-lab2', 'pwlab-lab-nodex', 'pwlab-lab-node1-b', 'pwlab-other-node1'])
    t.notOk(isOwnNetns(plan, name), name);
});

t.test('why a node is not Ready, by what it says', async (t) => {
  const node = (...conditions: object[]): Node =>
    ({ metadata: { name: 'node2' }, status: { conditions } }) as unknown as Node;
  const ready = { type: 'Ready', status: 'False', message: 'no CNI' };
  const noSubnet = { type: 'NetworkUnavailable', status: 'True', message: 'no subnet is free' };
  t.equal(whyNotReady(node(ready, { ...noSubnet, status: 'False' })), 'no CNI');
  t.equal(whyNotReady(node(ready, noSubnet)), 'no subnet is free');
  t.equal(whyNotReady(node()), 'it has not said anything yet');
  t.equal(whyNotReady(undefined), 'it has not joined');
});
