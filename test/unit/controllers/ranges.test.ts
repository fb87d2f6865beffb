import t from 'tap';
import { formatCidr, parseCidr } from '../../../lib/cni/address.ts';
import {
  type ClusterRanges,
  clusterRanges,
  hostFault,
  type RangeFlags,
  rangeDefaults,
} from '../../../lib/controllers/cluster-ranges.ts';
import { holderOf, smallestFree, subnetsFor } from '../../../lib/controllers/node-subnets.ts';

const ranges = (flags: Partial<RangeFlags> = {}): ClusterRanges =>
  clusterRanges({ ...rangeDefaults, ...flags });

for (const { flags, message } of [
  { flags: { clusterCidr: 'foo' }, message: /--cluster-cidr "foo": expected a network such as/ },
  { flags: { clusterCidr: '10.244.1.0/16' }, message: /host bits; did you mean 10\.244\.0\.0\/16/ },
  { flags: { clusterCidr: '10.1.0.0/16,10.2.0.0/16' }, message: /at most one range an address family/ },
  { flags: { clusterCidr: '127.0.0.0/16' }, message: /loopback/ },
  { flags: { nodeCidrMaskSizeIpv4: 15 }, message: /-ipv4 15: expected 16 to 30/ },
  { flags: { nodeCidrMaskSizeIpv4: 31 }, message: /-ipv4 31: expected 16 to 30/ },
  { flags: { clusterCidr: 'fd00::/32' }, message: /more than 65536 nodes: .* --node-cidr-mask-size-ipv6 48/ },
  { flags: { clusterCidr: '10.96.0.0/16' }, message: /overlaps --service-cidr 10\.96\.0\.0\/12/ },
  { flags: { serviceCidr: '10.244.4.0/24' }, message: /overlaps --service-cidr 10\.244\.4\.0\/24/ },
  { flags: { serviceCidr: '10.96.0.1/12' }, message: /--service-cidr "10\.96\.0\.1\/12": has host bits/ },
])
  t.test(`refused: ${JSON.stringify(flags)}`, async (t) => {
    t.throws(() => ranges(flags), { message });
  });

const host = (address: string, device?: string) => ({ address, ...(device ? { device } : {}) });
const checked = (flags: Partial<RangeFlags> = {}) => {
  const { pods, services } = ranges(flags);
  return { pods: pods.map(({ cidr }) => cidr), services };
};
for (const { name, hosts, fault } of [
  { name: 'apart', hosts: [host('192.168.1.7/24', 'eth0'), host('10.0.2.15/24', 'eth1')], fault: undefined },
  {
    name: 'address in the Pod range',
    hosts: [host('192.168.1.7/24', 'eth0'), host('10.244.9.1/24', 'eth1')],
    fault:
      "the machine's address 10.244.9.1/24 (eth1) overlaps the cluster's Pod range 10.244.0.0/16: give the cluster another one with --cluster-cidr",
  },
  {
    name: 'network around the Service range',
    hosts: [host('10.1.2.3/8', 'eth0')],
    fault:
      "the network 10.0.0.0/8, which the machine is on (eth0), overlaps the cluster's Pod range 10.244.0.0/16: give the cluster another one with --cluster-cidr",
  },
  {
    name: 'an address alone, in the Service range',
    hosts: [host('10.100.0.1')],
    fault:
      "the machine's address 10.100.0.1 overlaps the cluster's Service range 10.96.0.0/12: give the cluster another one with --service-cidr",
  },
  { name: "podwire's own bridge", hosts: [host('10.244.0.1/24', 'podwire0')], fault: undefined },
  { name: 'another family', hosts: [host('fd00:10:244::1/64', 'eth0')], fault: undefined },
])
  t.test(`hosts: ${name}`, async (t) => {
    t.equal(hostFault(checked(), hosts), fault);
  });

for (const { name, range, length, taken, free } of [
  { name: 'the first', range: '10.244.0.0/16', length: 24, taken: [], free: '10.244.0.0/24' },
  {
    name: 'a gap',
    range: '10.244.0.0/16',
    length: 24,
    taken: ['10.244.2.0/24', '10.244.0.0/24'],
    free: '10.244.1.0/24',
  },
  {
    name: 'larger ones given by hand take all they touch',
    range: '10.244.0.0/16',
    length: 24,
    taken: ['10.244.0.0/22'],
    free: '10.244.4.0/24',
  },
  {
    name: 'smaller ones take the whole',
    range: '10.244.0.0/16',
    length: 24,
    taken: ['10.244.0.128/25', '10.244.0.0/26'],
    free: '10.244.1.0/24',
  },
  {
    name: 'others are elsewhere',
    range: '10.244.0.0/16',
    length: 24,
    taken: ['10.201.0.0/24'],
    free: '10.244.0.0/24',
  },
  {
    name: 'full',
    range: '10.244.0.0/23',
    length: 24,
    taken: ['10.244.0.0/24', '10.244.1.0/24'],
    free: undefined,
  },
  { name: 'one for all', range: '10.244.0.0/24', length: 24, taken: [], free: '10.244.0.0/24' },
  {
    name: 'around the range',
    range: '10.244.0.0/16',
    length: 24,
    taken: ['10.0.0.0/8'],
    free: undefined,
  },
  { name: 'IPv6', range: 'fd00:1::/48', length: 64, taken: ['fd00:1::/64'], free: 'fd00:1:0:1::/64' },
  {
    name: 'one end to the other',
    range: '255.255.0.0/16',
    length: 18,
    taken: ['255.255.0.0/17', '255.255.128.0/18'],
    free: '255.255.192.0/18',
  },
])
  t.test(`smallest free: ${name}`, async (t) => {
    const found = smallestFree(
      { cidr: parseCidr(range)!, nodeLength: length },
      taken.map((text) => parseCidr(text)!),
    );
    t.equal(found && formatCidr(found), free);
  });

t.test('one subnet a family, or the range that is full', async (t) => {
  const { pods } = ranges({ clusterCidr: '10.244.0.0/23,fd00:1::/48' });
  const held = (subnets: string[]) => ({ uid: 'u', subnets });
  const one = new Map([['a', held(['10.244.0.0/24', 'fd00:1::/64'])]]);
  t.same(subnetsFor('b', pods, one), ['10.244.1.0/24', 'fd00:1:0:1::/64']);
  t.same(subnetsFor('a', pods, one), ['10.244.0.0/24', 'fd00:1::/64'], 'its own do not count');
  const two = new Map(one).set('b', held(['10.244.1.0/24']));
  const full = subnetsFor('c', pods, two);
  t.equal('full' in full && formatCidr(full.full), '10.244.0.0/23');
  t.same(holderOf('c', ['fd00:1::/56'], two), { node: 'a', subnet: 'fd00:1::/64', wanted: 'fd00:1::/56' });
  t.equal(holderOf('a', ['10.244.0.0/24'], two), undefined);
});
