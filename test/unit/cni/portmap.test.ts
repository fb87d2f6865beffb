// portmap: its configuration, and the golden texts that an ADD hands to nft.
import t from 'tap';
import { elementsIn } from '../../../cni-plugins/lib/elements.ts';
import { isStaleIn, keyOf, ownerComment, ownerKey, ownerWords } from '../../../cni-plugins/lib/owner.ts';
import { parseConf } from '../../../cni-plugins/portmap/conf.ts';
import {
  elementLines,
  flowsOf,
  mapElements,
  networkLines,
  skeletonLines,
} from '../../../cni-plugins/portmap/rules.ts';
import { parseIp } from '../../../lib/cni/address.ts';
import { Fields } from '../../../lib/cni/json.ts';
import { dropFlowsArgv } from '../../../lib/kernel/conntrack.ts';
import type { NftObject } from '../../../lib/kernel/nftables.ts';

const conf = (json: object) => parseConf(new Fields(json, ''));
const mapped = (...portMappings: object[]) => ({ runtimeConfig: { portMappings } });
const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };

const refused: Array<[string, object, number, RegExp]> = [
  ['iptables', { backend: 'iptables' }, 2, /^backend: "iptables"/],
  ['a chain of iptables', { externalSetMarkChain: 'KUBE-MARK-MASQ' }, 2, /^externalSetMarkChain/],
  ['a mark bit that is none', { markMasqBit: 32 }, 7, /^markMasqBit: .* 0 to 31/],
  ['port 0', mapped({ ...web, hostPort: 0 }), 7, /^runtimeConfig\.portMappings\[0\]\.hostPort/],
  ['port 65536', mapped({ ...web, containerPort: 65536 }), 7, /containerPort: .* 1 to 65535/],
  ['no host port', mapped({ containerPort: 80 }), 7, /hostPort: expected a port, got nothing/],
  ['a protocol', mapped({ ...web, protocol: 'icmp' }), 7, /protocol: expected tcp, udp or sctp, got "icmp"/],
  ['an address', mapped({ ...web, hostIP: 'localhost' }), 7, /hostIP: expected an IP address/],
  [
    "two containers' ports",
    mapped(web, { ...web, containerPort: 81 }),
    7,
    /portMappings\[1\]\.hostPort.*not 80 and 81/,
  ],
  ["iptables' conditions", { conditionsV4: ['-d', '192.0.2.0/24'] }, 2, /^conditionsV4: "-d 192/],
  ["iptables' negation", { conditionsV6: ['!', '-d', 'fd00::/8'] }, 2, /^conditionsV6/],
  ['another match', { conditionsV4: ['tcp dport 22 accept'] }, 7, /^conditionsV4: /],
  ['a second statement', { conditionsV4: ['ip saddr 10.0.0.0/8; drop'] }, 7, /^conditionsV4: /],
  ['a line end', { conditionsV4: ['ip saddr 10.0.0.0/8\ndelete table x'] }, 7, /^conditionsV4: /],
  ['the wrong family', { conditionsV6: ['ip saddr 10.0.0.0/8'] }, 7, /^conditionsV6: .*"ip6 saddr/],
  ['a brace that stays open', { conditionsV4: ['ip saddr { 10.0.0.1'] }, 7, /^conditionsV4: /],
  ['nothing between braces', { conditionsV4: ['ip saddr { }'] }, 7, /^conditionsV4: /],
  ['a name with a wildcard', { conditionsV4: ['iifname eth*'] }, 7, /^conditionsV4: /],
  ['a field without value', { conditionsV4: ['ip saddr'] }, 7, /^conditionsV4: /],
];
for (const [name, json, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode, message });
  });

const conditions: Array<[string[], string]> = [
  [[], ''],
  [[''], ''],
  [['ip', 'saddr', '!=', '10.1.2.3/8'], 'ip saddr != 10.0.0.0/8'],
  [['ip daddr == 192.0.2.1'], 'ip daddr 192.0.2.1'],
  [['iifname "eth0.5"', 'ip saddr {10.0.0.1,10.0.0.2}'], 'iifname "eth0.5" ip saddr { 10.0.0.1, 10.0.0.2 }'],
];
for (const [words, text] of conditions)
  t.test(`conditionsV4 ${JSON.stringify(words)}`, async (t) => {
    t.equal(conf({ conditionsV4: words }).conditions[4], text);
  });

t.test('defaults, and mappings narrowed', async (t) => {
  t.match(conf({}), { mappings: [], snat: true, masqAll: false, markMasqBit: undefined });
  const { mappings } = conf(
    mapped(
      web,
      web,
      { ...web, protocol: 'UDP', hostIP: '0.0.0.0' },
      { hostPort: 1, containerPort: 2, hostIP: 'FD00::01' },
    ),
  );
  t.strictSame(mappings, [
    { ...web, families: [4, 6] },
    { ...web, protocol: 'udp', families: [4] },
    { hostPort: 1, containerPort: 2, protocol: 'tcp', families: [6], hostIp: 'fd00::1' },
  ]);
});

const ip = (text: string) => parseIp(text) as NonNullable<ReturnType<typeof parseIp>>;
const target = (json: object) => ({
  network: 'net',
  conf: conf(json),
  addresses: [ip('10.0.0.2'), ip('fd00::2')],
  link: 'br0',
});
const T = 'inet podwire-hostport';
const make = (set: string, key: string) => `create element ${T} ${set} { ${key} comment "me" }`;
const take = (set: string, key: string) => [
  `add element ${T} ${set} { ${key} }`,
  `delete element ${T} ${set} { ${key} }`,
  `create element ${T} ${set} { ${key} comment "me" }`,
];

t.test('the elements of an attachment', async (t) => {
  const json = mapped(web, { ...web, protocol: 'udp', hostIP: '192.0.2.1' });
  t.strictSame(elementLines(target(json), '"me"'), [
    `create element ${T} any4 { tcp . 8080 comment "me" : 10.0.0.2 . 80 }`,
    `create element ${T} any6 { tcp . 8080 comment "me" : fd00::2 . 80 }`,
    `create element ${T} at4 { 192.0.2.1 . udp . 8080 comment "me" : 10.0.0.2 . 80 }`,
    make('pair4', '10.0.0.2 . 10.0.0.2'),
    make('pair4', '127.0.0.1 . 10.0.0.2'),
    make('near4', '"br0" . 10.0.0.2'),
    make('pair6', 'fd00::2 . fd00::2'),
    make('near6', '"br0" . fd00::2'),
  ]);
  t.equal(elementLines(target({ ...json, snat: false }), '"me"').length, 3);
  t.strictSame(elementLines(target({ ...json, masqAll: true }), '"me"').slice(3), [
    make('all4', '10.0.0.2'),
    make('all6', 'fd00::2'),
  ]);
  const taken = elementLines(target({ ...json, masqAll: true }), '"me"', 'take');
  t.match(taken[0], /^create element inet podwire-hostport any4/, 'a port is never taken over');
  t.strictSame(taken.slice(3), [...take('all4', '10.0.0.2'), ...take('all6', 'fd00::2')]);
});

t.test('the skeleton', async (t) => {
  const lines = skeletonLines();
  const rules = lines
    .filter((line) => line.startsWith('add rule'))
    .map((line) => line.replace(`add rule ${T} `, ''));
  t.strictSame(rules, [
    'ports4 dnat ip to ip daddr . meta l4proto . th dport map @at4',
    'ports4 dnat ip to meta l4proto . th dport map @any4',
    'ports6 ip6 daddr ::1 return',
    'ports6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6',
    'ports6 dnat ip6 to meta l4proto . th dport map @any6',
    'prerouting meta nfproto ipv4 meta l4proto { tcp, udp, sctp } fib daddr type local jump ports4',
    'prerouting meta nfproto ipv6 meta l4proto { tcp, udp, sctp } fib daddr type local jump ports6',
    'output meta nfproto ipv4 meta l4proto { tcp, udp, sctp } fib daddr type local jump ports4',
    'output meta nfproto ipv6 meta l4proto { tcp, udp, sctp } fib daddr type local jump ports6',
    'guard ip saddr 127.0.0.0/8 iifname != "lo" drop',
    'guard ip daddr 127.0.0.0/8 iifname != "lo" drop',
    'postrouting ct status dnat ip saddr . ip daddr @pair4 masquerade',
    'postrouting ct status dnat iifname . ip daddr @near4 masquerade',
    'postrouting ct status dnat ip daddr @all4 masquerade',
    'postrouting ct status dnat ip6 saddr . ip6 daddr @pair6 masquerade',
    'postrouting ct status dnat iifname . ip6 daddr @near6 masquerade',
    'postrouting ct status dnat ip6 daddr @all6 masquerade',
  ]);
  t.equal(lines[0], `add table ${T}`);
});

t.test('a network with conditions has maps and chains of its own, asked first', async (t) => {
  const json = { conditionsV4: ['ip saddr 10.0.0.0/8'], ...mapped(web) };
  const text = networkLines('net', conf(json)).join('\n');
  t.match(
    text,
    /add chain inet podwire-hostport prerouting-(\w{8}) \{ type nat hook prerouting priority -101; policy accept; \}/,
  );
  t.match(
    text,
    /prerouting-\w{8} meta nfproto ipv4 ip saddr 10\.0\.0\.0\/8 meta l4proto .* jump ports4-\w{8}/,
  );
  t.match(text, /prerouting-\w{8} meta nfproto ipv6 meta l4proto/, 'conditionsV4 are of IPv4 only');
  t.match(mapElements(target(json))[0]?.set, /^any4-\w{8}$/);
  t.strictSame(networkLines('net', conf(mapped(web))), []);
  t.strictSame(
    networkLines('net', conf({ markMasqBit: 13 })).at(-1),
    `add rule ${T} mark13 ct status dnat meta mark and 0x2000 == 0x2000 masquerade`,
  );
});

t.test('UDP flows', async (t) => {
  const elements = mapElements(
    target(mapped(web, { ...web, protocol: 'udp' }, { ...web, protocol: 'udp', hostIP: 'fd00::1' })),
  );
  t.strictSame(
    flowsOf(elements)
      .map(dropFlowsArgv)
      .map((argv) => argv.join(' ')),
    [
      'conntrack -D -f ipv4 -p udp --orig-port-dst 8080',
      'conntrack -D -f ipv6 -p udp --orig-port-dst 8080',
      'conntrack -D -f ipv6 -p udp --orig-port-dst 8080 --orig-dst fd00::1',
    ],
  );
});

t.test('owners', async (t) => {
  const owner = { containerId: 'a'.repeat(200), ifname: 'eth0' };
  const comment = ownerComment('net', owner).slice(1, -1);
  t.ok(comment.length <= 120);
  t.equal(keyOf(comment), ownerKey('net', owner), 'a long id cuts the words, never the key');
  t.equal(ownerWords(ownerComment('net', { containerId: 'c1', ifname: 'eth0' }).slice(1, -1)), 'c1 eth0');
  const isStale = isStaleIn({ name: 'net', validAttachments: [{ containerId: 'c1', ifname: 'eth0' }] });
  const at = (network: string, containerId: string, ifname = 'eth0') =>
    ownerComment(network, { containerId, ifname }).slice(1, -1);
  t.strictSame(
    [at('net', 'c1'), at('net', 'c2'), at('net', 'c1', 'eth1'), at('other', 'c2'), ''].map(isStale),
    [false, true, true, false, false],
  );
});

t.test('elements of a listed table', async (t) => {
  const listed: NftObject[] = [
    {
      map: {
        name: 'any4',
        type: ['inet_proto', 'inet_service'],
        elem: [[{ elem: { val: { concat: ['tcp', 80] }, comment: 'x y' } }, { concat: ['10.0.0.2', 80] }]],
      },
    },
    { set: { name: 'near4', type: ['ifname', 'ipv4_addr'], elem: [{ concat: ['br0', '10.0.0.2'] }] } },
    { set: { name: 'bridges', type: 'ifname', elem: ['br0'] } },
    { set: { name: 'all4', type: 'ipv4_addr' } },
    { chain: { name: 'guard' } },
  ];
  t.strictSame(elementsIn(T, listed), [
    { table: T, set: 'any4', key: 'tcp . 80', value: '10.0.0.2 . 80', comment: 'x y' },
    { table: T, set: 'near4', key: '"br0" . 10.0.0.2', comment: '' },
    { table: T, set: 'bridges', key: '"br0"', comment: '' },
  ]);
});
