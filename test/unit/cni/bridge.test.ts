// bridge: its configuration, and the golden texts that an ADD hands to ip and nft.
import t from 'tap';
import { findFaults } from '../../../cni-plugins/bridge/check.ts';
import { parseConf } from '../../../cni-plugins/bridge/conf.ts';
import { masqueradeText, parseElements, unmasqueradeText } from '../../../cni-plugins/lib/masquerade.ts';
import { aliasOf, randomMac, vethName, vethPrefix } from '../../../cni-plugins/lib/names.ts';
import { heldOps, planAdd, vlanGatewayOps, type Wish } from '../../../cni-plugins/bridge/plan.ts';
import { gatewayPairOps, missingVlans } from '../../../cni-plugins/bridge/vlan.ts';
import { linkLocalOf } from '../../../cni-plugins/lib/pod.ts';
import { type Guard, guardRules, guardText, unguardText } from '../../../cni-plugins/lib/spoof.ts';
import { Fields } from '../../../lib/cni/json.ts';
import type { CniResult } from '../../../lib/cni/types.ts';
import { ipLine, type LinkFacts, type NetOp, toolOf } from '../../../lib/kernel/net.ts';

const conf = (json: object, args: Record<string, string> = {}) => parseConf(new Fields(json, ''), args);

const refused: Array<[string, object, number, RegExp]> = [
  ['vlan', { vlan: 4095 }, 7, /^vlan: .*4094, got 4095/],
  ['half a trunk', { vlanTrunk: [{ minID: 5 }] }, 7, /^vlanTrunk\[0\]\.maxID: /],
  ['a trunk backwards', { vlanTrunk: [{ minID: 5, maxID: 3 }] }, 7, /^vlanTrunk\[0\]\.maxID: .*\(5\), got 3/],
  ['an empty trunk', { vlanTrunk: [{}] }, 7, /^vlanTrunk\[0\]\.id: /],
  [
    'a gateway name too long',
    { bridge: 'bridge000000', vlan: 100, isGateway: true },
    7,
    /^bridge: .*VLAN 100/,
  ],
  ['addresses without MAC', { ipspoofchk: true }, 7, /^ipspoofchk: /],
  [
    'ipam and no interface',
    { disableContainerInterface: true, ipam: { type: 'x' } },
    7,
    /^disableContainerI/,
  ],
  ['iptables', { ipMasqBackend: 'iptables' }, 2, /^ipMasqBackend: "iptables"/],
  ['a string for a boolean', { isGateway: 'yes' }, 7, /^isGateway: expected true or false, got "yes"/],
  ['a name too long', { bridge: 'a-name-that-is-too-long' }, 7, /^bridge: /],
  ['a name that is a path', { bridge: '../x' }, 7, /^bridge: /],
  ['mtu', { mtu: 12.5 }, 7, /^mtu: /],
  ['a tiny mtu', { mtu: 20 }, 7, /^mtu: .*68/],
  ['hairpin and promiscuous', { hairpinMode: true, promiscMode: true }, 7, /^promiscMode/],
  ['multicast mac', { runtimeConfig: { mac: '01:00:00:00:00:00' } }, 7, /^mac: /],
  ['ipam that is a path', { ipam: { type: '../../bin/sh' } }, 7, /^ipam\.type/],
];
for (const [name, json, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode, message });
  });

t.test('defaults, and values that ask for nothing', async (t) => {
  const plain = conf({
    vlan: 0,
    vlanTrunk: [],
    macspoofchk: false,
    disableContainerInterface: false,
    preserveDefaultVlan: true,
    ipMasqBackend: 'nftables',
  });
  t.match(plain, { bridge: 'cni0', isGateway: false, mtu: undefined, ipam: '' });
  t.ok(conf({ isDefaultGateway: true }).isGateway);
  t.equal(
    conf({ args: { cni: { mac: '02:00:00:00:00:0A' } } }, { MAC: '02:00:00:00:00:01' }).mac,
    '02:00:00:00:00:0a',
  );
});

t.test('VLANs', async (t) => {
  t.equal(conf({ preserveDefaultVlan: true }).vlans, undefined);
  t.strictSame(conf({ vlan: 7 }).vlans, { access: 7, trunk: [], keepsDefault: false });
  const trunk = [{ id: 9 }, { minID: 2, maxID: 4 }, { id: 5 }, { id: 3 }];
  t.strictSame(conf({ vlanTrunk: trunk, preserveDefaultVlan: true }).vlans, {
    access: undefined,
    trunk: ['2-5', '9'],
    keepsDefault: true,
  });
});

const wish = (json: object, ipam: CniResult, more: Partial<Wish> = {}): Wish => ({
  conf: conf({ bridge: 'podwire0', ipam: { type: 'host-local' }, ...json }),
  netns: '/run/netns/web',
  ifname: 'eth0',
  veth: 'vethabc01234567',
  alias: 'podwire: default/web eth0',
  macs: { bridge: '02:00:00:00:00:b0', host: '02:00:00:00:00:01', container: '02:00:00:00:00:02' },
  ipv6: true,
  ipam,
  ...more,
});
const four: CniResult = {
  ips: [{ address: '10.244.0.2/24', gateway: '10.244.0.1' }],
  routes: [{ dst: '0.0.0.0/0' }],
};
const dual: CniResult = {
  ips: [...(four.ips ?? []), { address: 'fd00::2/64', gateway: 'fd00::1' }],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
};
const bridgeWith = (...addresses: string[]): LinkFacts => ({
  name: 'podwire0',
  mac: '02:00:00:00:00:bb',
  up: true,
  addresses,
});
const texts = (plan: ReturnType<typeof planAdd>) => ({
  host: plan.host.map(ipLine),
  pod: plan.pod.map(ipLine),
});
const pair =
  'link add name vethabc01234567 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns web';
const quiet = 'link set dev vethabc01234567 addrgenmode none';
const port = 'link set dev vethabc01234567 alias "podwire: default/web eth0" master podwire0 up';

t.test('the first Pod makes the bridge', async (t) => {
  t.strictSame(texts(planAdd(wish({ isGateway: true, hairpinMode: true }, four), undefined)), {
    host: [
      'link add name podwire0 address 02:00:00:00:00:b0 type bridge',
      'link set dev podwire0 up',
      'addr replace 10.244.0.1/24 brd + dev podwire0',
      pair,
      quiet,
      port,
      'link set dev vethabc01234567 type bridge_slave hairpin on',
    ],
    pod: [
      'link set dev eth0 up',
      'addr add 10.244.0.2/24 brd + dev eth0',
      'route add 0.0.0.0/0 via 10.244.0.1 dev eth0',
    ],
  });
});

t.test('the next finds it', async (t) => {
  const there = bridgeWith('10.244.0.1/24', 'fe80::1/64');
  const plan = planAdd(wish({ isGateway: true }, four), there);
  t.strictSame(texts(plan).host, [pair, quiet, port]);
  t.strictSame(heldOps(wish({ isGateway: true }, four), there).map(ipLine), [
    'link add name podwire0 address 02:00:00:00:00:bb type bridge',
    'link set dev podwire0 up',
    'addr replace 10.244.0.1/24 brd + dev podwire0',
  ]);
  t.equal(plan.result.interfaces?.[0]?.mac, '02:00:00:00:00:bb', "the bridge's own MAC");
});

t.test('a bridge that only a process can look at', async (t) => {
  t.strictSame(texts(planAdd(wish({ isGateway: true }, four), 'unknown')).host, [
    'addr show dev podwire0',
    pair,
    quiet,
    port,
  ]);
});

t.test('dual stack waits for no duplicate address detection', async (t) => {
  const plan = planAdd(wish({ isGateway: true, mtu: 1400 }, dual), bridgeWith('10.244.0.1/24'));
  t.strictSame(texts(plan), {
    host: [
      'addr replace fd00::1/64 dev podwire0 nodad',
      'link add name vethabc01234567 address 02:00:00:00:00:01 mtu 1400 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1400 netns web',
      quiet,
      port,
    ],
    pod: [
      'link set dev eth0 addrgenmode none',
      'link set dev eth0 up',
      'addr add fe80::ff:fe00:2/64 dev eth0 nodad',
      'addr add 10.244.0.2/24 brd + dev eth0',
      'addr add fd00::2/64 dev eth0 nodad',
      'route add 0.0.0.0/0 via 10.244.0.1 dev eth0',
      'route add ::/0 via fd00::1 dev eth0',
    ],
  });
  const slow = texts(
    planAdd(wish({ isGateway: true, enabledad: true }, dual), bridgeWith('10.244.0.1/24', 'fd00::1/64')),
  );
  t.notOk(slow.pod.some((line) => /nodad|addrgenmode/.test(line)));
});

t.test('a plain Ethernet port', async (t) => {
  const plan = planAdd(
    wish({ ipam: {}, portIsolation: true }, {}, { ipv6: false, netns: '/proc/7/ns/net' }),
    bridgeWith(),
  );
  t.strictSame(texts(plan), {
    host: [
      pair.replace('netns web', 'netns /proc/7/ns/net'),
      port,
      'link set dev vethabc01234567 type bridge_slave isolated on',
    ],
    pod: ['link set dev eth0 up'],
  });
});

t.test('gateways and default routes', async (t) => {
  const bare: CniResult = { ips: [{ address: '10.9.0.7/16' }] };
  const made = planAdd(wish({ isDefaultGateway: true }, bare), undefined).result;
  t.strictSame(made.ips, [{ address: '10.9.0.7/16', gateway: '10.9.0.1', interface: 2 }]);
  t.strictSame(made.routes, [{ dst: '0.0.0.0/0', gw: '10.9.0.1' }]);
  const both = planAdd(wish({ isDefaultGateway: true }, four), undefined).result;
  t.strictSame(both.routes, [{ dst: '0.0.0.0/0', gw: '10.244.0.1' }], 'one default route');
  const route = { dst: '10.7.0.0/16', gw: '10.244.0.9', mtu: 1300, advmss: 1260, priority: 5, table: 100 };
  const special = planAdd(
    wish({}, { ...four, routes: [route, { dst: '10.8.0.0/16', scope: 253 }] }),
    bridgeWith(),
  );
  t.strictSame(special.pod.map(ipLine).slice(2), [
    'route add 10.7.0.0/16 via 10.244.0.9 dev eth0 mtu 1300 advmss 1260 metric 5 table 100',
    'route add 10.8.0.0/16 dev eth0 scope 253',
  ]);
});

t.test('a bridge with another address', async (t) => {
  const other = bridgeWith('10.9.0.1/24', 'fd00::9/64');
  t.throws(() => planAdd(wish({ isGateway: true }, four), other), {
    cniCode: 112,
    message: /podwire0.*10\.9\.0\.1\/24.*10\.244\.0\.1\/24/,
  });
  const forced = planAdd(wish({ isGateway: true, forceAddress: true }, dual), other);
  t.strictSame(forced.gateway.map(ipLine), [
    'addr del 10.9.0.1/24 dev podwire0',
    'addr replace 10.244.0.1/24 brd + dev podwire0',
    'addr del fd00::9/64 dev podwire0',
    'addr replace fd00::1/64 dev podwire0 nodad',
  ]);
  const apart = planAdd(
    wish({ isGateway: true }, { ips: [{ address: 'fd01::2/64', gateway: 'fd01::1' }] }),
    other,
  );
  t.strictSame(
    apart.gateway.map(ipLine),
    ['addr replace fd01::1/64 dev podwire0 nodad'],
    'IPv6 nets that are apart live together',
  );
});

t.test('a port in VLANs', async (t) => {
  const plan = planAdd(wish({ vlan: 100, vlanTrunk: [{ minID: 2, maxID: 4 }] }, four), undefined);
  t.equal(
    texts(plan).host[0],
    'link add name podwire0 address 02:00:00:00:00:b0 type bridge vlan_filtering 1',
  );
  t.strictSame(texts(plan).host.slice(-4), [
    'vlan add dev vethabc01234567 vid 1',
    'vlan del dev vethabc01234567 vid 1',
    'vlan add dev vethabc01234567 vid 2-4',
    'vlan add dev vethabc01234567 vid 100 pvid untagged',
  ]);
  t.equal(toolOf(plan.host.at(-1) as NetOp), 'bridge');
  const kept = planAdd(wish({ vlanTrunk: [{ id: 9 }], preserveDefaultVlan: true }, four), bridgeWith());
  t.equal(texts(kept).host[0], 'link set dev podwire0 type bridge vlan_filtering 1', 'an older bridge');
  t.strictSame(texts(kept).host.slice(-2), [
    'vlan add dev vethabc01234567 vid 9',
    'vlan add dev vethabc01234567 vid 1 pvid untagged',
  ]);
});

t.test('the gateway of a VLAN is not the bridge', async (t) => {
  const task = wish({ vlan: 100, isGateway: true }, four);
  const plan = planAdd(task, undefined);
  t.strictSame(plan.gateway, []);
  const vlans = { access: 100, trunk: [], keepsDefault: true };
  t.strictSame(
    gatewayPairOps('podwire0', vlans, { gateway: '02:00:00:00:00:0a', port: '02:00:00:00:00:0b' }).map(
      ipLine,
    ),
    [
      'link add name podwire0.100 address 02:00:00:00:00:0a type veth peer name vlanf9270ca405c address 02:00:00:00:00:0b',
      'link set dev vlanf9270ca405c alias "podwire: podwire0.100" master podwire0 up',
      'vlan add dev vlanf9270ca405c vid 100 pvid untagged',
      'link set dev podwire0.100 up',
    ],
  );
  t.strictSame(vlanGatewayOps(task, { ...bridgeWith(), name: 'podwire0.100' }, plan.result).map(ipLine), [
    'addr replace 10.244.0.1/24 brd + dev podwire0.100',
  ]);
  const rows = [
    {
      ifname: 'v',
      vlans: [
        { vlan: 2, vlanEnd: 4 },
        { vlan: 100, flags: ['PVID', 'Egress Untagged'] },
      ],
    },
  ];
  t.strictSame(missingVlans(rows, { access: 100, trunk: ['2-4'], keepsDefault: false }), []);
  t.strictSame(missingVlans(rows, { access: 7, trunk: ['2-5', '9'], keepsDefault: false }), [
    '7',
    '2-5',
    '9',
  ]);
});

t.test('no interface for the container', async (t) => {
  t.strictSame(planAdd(wish({ ipam: {}, disableContainerInterface: true }, {}), undefined).pod, []);
});

const guard: Guard = {
  port: 'vethabc01234567',
  mac: '02:00:00:00:00:02',
  addresses: ['10.1.0.2/24', 'fd00::2/64'],
  tagged: 'drop',
  owner: 'c1 eth0',
};
t.test('macspoofchk', async (t) => {
  t.strictSame(guardRules({ ...guard, addresses: undefined }), [
    'ether saddr != 02:00:00:00:00:02',
    'arp saddr ether != 02:00:00:00:00:02',
  ]);
  t.strictSame(guardRules({ ...guard, addresses: ['fd00::2/64'], tagged: 'pass' }).slice(2), [
    'arp saddr ip != { 0.0.0.0 }',
    'meta protocol ip',
    'ip6 saddr != { ::, fe80::ff:fe00:2, fd00::2 }',
  ]);
  t.equal(
    guardText(guard),
    `add table bridge podwire-cni
add map bridge podwire-cni ports { type ifname : verdict; }
add chain bridge podwire-cni spoof { type filter hook prerouting priority -300; policy accept; }
flush chain bridge podwire-cni spoof
add rule bridge podwire-cni spoof iifname vmap @ports
add chain bridge podwire-cni spoof-vethabc01234567
flush chain bridge podwire-cni spoof-vethabc01234567
add rule bridge podwire-cni spoof-vethabc01234567 ether saddr != 02:00:00:00:00:02 drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 arp saddr ether != 02:00:00:00:00:02 drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 ether type vlan drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 meta protocol != { ip, arp, ip6 } drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 arp saddr ip != { 0.0.0.0, 10.1.0.2 } drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 ip saddr != { 10.1.0.2 } drop comment "c1 eth0 HASH"
add rule bridge podwire-cni spoof-vethabc01234567 ip6 saddr != { ::, fe80::ff:fe00:2, fd00::2 } drop comment "c1 eth0 HASH"
add element bridge podwire-cni ports { "vethabc01234567" : jump spoof-vethabc01234567 }
`.replaceAll('HASH', /eth0 ([0-9a-f]{8})/.exec(guardText(guard))?.[1] ?? ''),
  );
  t.equal(
    unguardText('vethabc01234567'),
    `add chain bridge podwire-cni spoof-vethabc01234567
add element bridge podwire-cni ports { "vethabc01234567" : jump spoof-vethabc01234567 }
delete element bridge podwire-cni ports { "vethabc01234567" : jump spoof-vethabc01234567 }
flush chain bridge podwire-cni spoof-vethabc01234567
delete chain bridge podwire-cni spoof-vethabc01234567
`,
  );
});

t.test('names', async (t) => {
  const name = vethName('podwire', 'web-0123456789', 'eth0');
  t.match(name, /^veth[0-9a-f]{11}$/);
  t.equal(name, vethName('podwire', 'web-0123456789', 'eth0'), 'the same each time');
  t.not(name, vethName('podwire', 'web-0123456789', 'eth1'));
  t.ok(name.startsWith(vethPrefix('podwire')));
  t.match(randomMac(), /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  t.not(randomMac(), randomMac());
  const owner = { containerId: 'c1', ifname: 'eth0' };
  t.equal(
    aliasOf({ ...owner, args: { K8S_POD_NAMESPACE: 'default', K8S_POD_NAME: 'web' } }),
    'podwire: default/web eth0',
  );
  t.equal(aliasOf({ ...owner, args: {} }), 'podwire: c1 eth0');
  t.equal(
    aliasOf({ ...owner, args: { K8S_POD_NAMESPACE: 'a"b', K8S_POD_NAME: 'c\n' } }),
    'podwire: a_b/c_ eth0',
  );
  t.equal(linkLocalOf('02:00:00:00:00:02'), 'fe80::ff:fe00:2/64');
});

t.test('masquerade', async (t) => {
  t.equal(
    masqueradeText('net1', [{ address: '10.1.0.2/24' }], 'c1 eth0'),
    `add table inet podwire-cni
add set inet podwire-cni from4-df1c3a4e { type ipv4_addr; comment "podwire: network net1"; }
add set inet podwire-cni near4-df1c3a4e { type ipv4_addr; flags interval; auto-merge; comment "podwire: network net1"; }
add element inet podwire-cni near4-df1c3a4e { 224.0.0.0/4 }
add set inet podwire-cni from6-df1c3a4e { type ipv6_addr; comment "podwire: network net1"; }
add set inet podwire-cni near6-df1c3a4e { type ipv6_addr; flags interval; auto-merge; comment "podwire: network net1"; }
add element inet podwire-cni near6-df1c3a4e { ff00::/8 }
add chain inet podwire-cni masq-df1c3a4e { type nat hook postrouting priority srcnat; policy accept; }
flush chain inet podwire-cni masq-df1c3a4e
add rule inet podwire-cni masq-df1c3a4e ip saddr @from4-df1c3a4e ip daddr != @near4-df1c3a4e masquerade comment "podwire: network net1"
add rule inet podwire-cni masq-df1c3a4e ip6 saddr @from6-df1c3a4e ip6 daddr != @near6-df1c3a4e masquerade comment "podwire: network net1"
add element inet podwire-cni near4-df1c3a4e { 10.1.0.0/24 }
add element inet podwire-cni from4-df1c3a4e { 10.1.0.2 comment "c1 eth0" }
`.replaceAll('df1c3a4e', tagOf('net1')),
  );
  t.equal(
    unmasqueradeText('net1', ['10.1.0.2']),
    `add element inet podwire-cni from4-${tagOf('net1')} { 10.1.0.2 }\ndelete element inet podwire-cni from4-${tagOf('net1')} { 10.1.0.2 }\n`,
  );
  t.strictSame(parseElements(['10.1.0.9', { elem: { val: '10.1.0.2', comment: 'c1 eth0' } }]), [
    { address: '10.1.0.9', owner: '' },
    { address: '10.1.0.2', owner: 'c1 eth0' },
  ]);
  t.strictSame(parseElements(undefined), []);
});

const tagOf = (network: string): string =>
  /from4-([0-9a-f]{8})/.exec(unmasqueradeText(network, ['1.1.1.1']))?.[1] ?? '';

t.test('CHECK names every fault', async (t) => {
  const result: CniResult = {
    interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/web' }],
    ips: [{ address: '10.1.0.2/24', interface: 0 }],
    routes: [{ dst: '0.0.0.0/0' }],
  };
  const expected = { conf: conf({ bridge: 'b' }), ifname: 'eth0', result };
  const inside: LinkFacts = { name: 'eth0', mac: '02:00:00:00:00:02', up: true, addresses: ['10.1.0.2/24'] };
  const well = {
    bridge: { ...inside, name: 'b' },
    port: { ...inside, name: 'v', master: 'b' },
    inside,
    routes: ['0.0.0.0/0'],
  };
  t.strictSame(findFaults(expected, well), []);
  t.strictSame(
    findFaults(expected, {
      ...well,
      routes: [],
      port: undefined,
      inside: { ...inside, addresses: [], mac: 'x' },
    }),
    [
      "the host's end is missing",
      'eth0 has MAC x, not 02:00:00:00:00:02',
      'eth0 lacks address 10.1.0.2/24',
      'no route to 0.0.0.0/0',
    ],
  );
});
