// Nodes as peers: what counts as one, why not, and who has a subnet that two claim.
import t from 'tap';
import type { Node } from '../../../lib/api/types.ts';
import { parseCidr, type Cidr } from '../../../lib/cni/address.ts';
import { vtepMac } from '../../../lib/kernel/overlay.ts';
import { PeerTable, peerOf } from '../../../lib/node-network/peers.ts';
import { underlayOf } from '../../../lib/node-network/underlay.ts';

interface Shape {
  podCIDR?: string;
  podCIDRs?: string[];
  ips?: string[];
  annotations?: Record<string, string>;
}
const node = (name: string, { ips = [], annotations = {}, ...spec }: Shape): Node =>
  ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, annotations, uid: name, resourceVersion: '1', creationTimestamp: '' },
    spec,
    status: {
      addresses: [
        ...ips.map((address) => ({ type: 'InternalIP', address })),
        { type: 'Hostname', address: name },
      ],
    },
  }) as Node;
const at = (number: number, more: Shape = {}): Node =>
  node(`n${number}`, { podCIDRs: [`10.244.${number}.0/24`], ips: [`192.0.2.${number}`], ...more });

for (const [name, given, reason] of [
  ['no subnet', node('a', { ips: ['192.0.2.1'] }), 'NoPodCIDR'],
  ['no address', node('a', { podCIDR: '10.244.1.0/24' }), 'NoAddress'],
  ['a subnet with host bits', at(1, { podCIDRs: ['10.244.1.1/24'] }), 'BadPodCIDR'],
  ['everything', at(1, { podCIDRs: ['0.0.0.0/0'] }), 'BadPodCIDR'],
  ['no subnet at all', at(1, { podCIDRs: ['x'] }), 'BadPodCIDR'],
] as const)
  t.test(`no peer: ${name}`, async (t) => t.match(peerOf(given), { problem: { reason } }));

t.test('a peer', async (t) => {
  const view = peerOf(
    at(2, {
      podCIDRs: ['10.244.2.0/24', 'fd00:2::/64'],
      ips: ['192.0.2.2', '192.0.2.99', '2001:db8::2'],
      annotations: { 'network.podwire.io/backend': 'vxlan vni=1 port=8472' },
    }),
  );
  t.match(view, {
    peer: {
      name: 'n2',
      addresses: { 4: '192.0.2.2', 6: '2001:db8::2' },
      family: 4,
      mac: vtepMac('n2'),
      backend: 'vxlan vni=1 port=8472',
      publicKey: undefined,
    },
  });
  t.match(
    peerOf(node('a', { podCIDR: '10.244.9.0/24', ips: ['192.0.2.9'] })),
    { peer: { name: 'a' } },
    'podCIDR alone',
  );
});

t.test('an address of the other family, published', async (t) => {
  const annotations = { 'network.podwire.io/addresses': '192.0.2.77,2001:DB8::2,x' };
  t.match(peerOf(at(2, { annotations })), { peer: { addresses: { 4: '192.0.2.2', 6: '2001:db8::2' } } });
  t.match(peerOf(at(2, { ips: ['2001:db8::2'], annotations })), {
    peer: { addresses: { 4: '192.0.2.77', 6: '2001:db8::2' }, family: 6 },
  });
});

const table = (): PeerTable =>
  new PeerTable({
    name: 'n1',
    backend: 'host-gw',
    podCidrs: [parseCidr('10.244.1.0/24') as Cidr],
    addresses: { 4: '192.0.2.1' },
  });

t.test('changes told', async (t) => {
  const peers = table();
  t.strictSame(peers.put(at(1)), [], 'this node is none');
  t.strictSame(peers.put(at(2)), ['n2']);
  t.strictSame(peers.put(at(2)), [], 'a heartbeat changes nothing');
  t.strictSame(peers.put(at(2, { ips: ['192.0.2.22'] })), ['n2']);
  t.strictSame(peers.put(at(2, { podCIDRs: [] })), ['n2'], 'no peer any more');
  t.match(peers.problems.get('n2'), { reason: 'NoPodCIDR' });
  t.strictSame(peers.put(at(2)), ['n2']);
  t.equal(peers.problems.size, 0);
  t.strictSame(peers.delete('n2'), ['n2']);
  t.strictSame(peers.delete('n2'), []);
});

t.test('what is ours is nobody else’s', async (t) => {
  const peers = table();
  for (const [shape, reason, message] of [
    [{ podCIDRs: ['10.244.0.0/16'] }, 'SubnetTaken', "overlaps this node's own"],
    [{ ips: ['192.0.2.1'] }, 'AddressTaken', "this node's address 192.0.2.1"],
    [
      { annotations: { 'network.podwire.io/backend': 'ipip' } },
      'BackendDiffers',
      '"ipip", this node "host-gw"',
    ],
  ] as const) {
    t.strictSame(peers.put(at(2, structuredClone(shape) as Shape)), []);
    t.match(peers.problems.get('n2'), { reason, message });
  }
});

t.test('two that claim one subnet', async (t) => {
  const peers = table();
  peers.put(at(2));
  t.strictSame(peers.put(at(3, { podCIDRs: ['10.244.2.0/24'] })), []);
  t.match(peers.problems.get('n3'), { reason: 'SubnetTaken', message: '10.244.2.0/24 of n3 belongs to n2' });
  t.strictSame(peers.put(at(4, { ips: ['192.0.2.2'] })), []);
  t.match(peers.problems.get('n4'), { reason: 'AddressTaken' });
  t.strictSame(peers.delete('n2').sort(), ['n2', 'n3', 'n4'], 'both follow');
  t.strictSame([...peers.peers.keys()].sort(), ['n3', 'n4']);
  t.equal(peers.problems.size, 0);
});

t.test('a thousand', async (t) => {
  const peers = table();
  for (let number = 2; number < 1002; number++)
    peers.put(
      node(`n${number}`, {
        podCIDRs: [`10.${number >> 8}.${number & 255}.0/24`],
        ips: [`172.16.${number >> 8}.${number & 255}`],
      }),
    );
  t.equal(peers.peers.size, 1000);
});

t.test('underlay', async (t) => {
  const link = {
    ifname: 'eth1',
    mtu: 1500,
    flags: ['UP'],
    addr_info: [
      { local: '192.0.2.1', prefixlen: 24, scope: 'global' },
      { local: 'fe80::1', prefixlen: 64, scope: 'link' },
      { local: '2001:db8::aaaa', prefixlen: 64, scope: 'global', temporary: true },
    ],
  };
  const seen = underlayOf(link, ['192.0.2.1', '2001:db8::1']);
  t.match(seen, { device: 'eth1', mtu: 1500, family: 4, addresses: { 4: '192.0.2.1', 6: '2001:db8::1' } });
  t.equal(seen.nets.length, 2);
  t.strictSame(underlayOf(link, ['192.0.2.1']).addresses, { 4: '192.0.2.1' }, 'no temporary address');
  const both = {
    ...link,
    addr_info: [...link.addr_info, { local: '2001:db8::1', prefixlen: 64, scope: 'global' }],
  };
  t.match(underlayOf(both, ['192.0.2.1']), { family: 4, addresses: { 4: '192.0.2.1', 6: '2001:db8::1' } });
  t.equal(underlayOf(link, ['2001:db8::1']).family, 6);
  t.equal(underlayOf({ ...link, flags: ['LOOPBACK'], mtu: 65536 }, ['127.0.0.1']).mtu, undefined);
});
