// firewall: its configuration, and the golden texts that an ADD hands to nft.
import t from 'tap';
import { parseConf } from '../../../cni-plugins/firewall/conf.ts';
import { droppingChains, dropWarning } from '../../../cni-plugins/firewall/forward-policy.ts';
import { addLines, elementsOf, sharedElement, skeletonLines } from '../../../cni-plugins/firewall/rules.ts';
import {
  allAddresses,
  containerAddresses,
  machineLinks,
  routingLink,
} from '../../../cni-plugins/lib/chained.ts';
import { formatIp, parseIp } from '../../../lib/cni/address.ts';
import { Fields } from '../../../lib/cni/json.ts';

const conf = (json: object) => parseConf(new Fields(json, ''));
const refused: Array<[string, object, number, RegExp]> = [
  ['iptables', { backend: 'iptables' }, 2, /^backend: "iptables"/],
  ['firewalld', { backend: 'firewalld' }, 2, /^backend: "firewalld"/],
  ['a chain of iptables', { iptablesAdminChainName: 'X' }, 2, /^iptablesAdminChainName: /],
  ['a zone of firewalld', { firewalldZone: 'trusted' }, 2, /^firewalldZone: /],
  [
    'a policy',
    { ingressPolicy: 'closed' },
    7,
    /^ingressPolicy: expected open, same-bridge, isolated, got "closed"/,
  ],
];
for (const [name, json, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode, message });
  });

t.test('defaults', async (t) => {
  for (const json of [{}, { backend: '', ingressPolicy: '', firewalldZone: '' }, { backend: 'nftables' }])
    t.strictSame(conf(json), { ingressPolicy: 'open' });
});

const T = 'inet podwire-firewall';
const address = parseIp('10.0.0.2') as NonNullable<ReturnType<typeof parseIp>>;
const clear = (set: string, key: string) => [
  `add element ${T} ${set} { ${key} }`,
  `delete element ${T} ${set} { ${key} }`,
];
const take = (set: string, key: string) => [
  ...clear(set, key),
  `create element ${T} ${set} { ${key} comment "me" }`,
];
const lines = (policy: 'open' | 'same-bridge' | 'isolated', links: string[]) =>
  addLines({ policy, addresses: [address], links }, '"me"', 'take');
const plain = (policy: 'open' | 'same-bridge' | 'isolated') =>
  addLines({ policy, addresses: [address], links: ['br0', 'veth1'] }, '"me"');
const guarded = '"br0" . 10.0.0.2';
const own = '"br0" . "br0" . 10.0.0.2';

t.test('open: only known', async (t) => {
  t.strictSame(lines('open', ['br0', 'veth1']), [
    ...take('pods4', '10.0.0.2'),
    ...clear('guarded4', guarded),
    ...clear('own4', own),
  ]);
  t.strictSame(lines('open', []), take('pods4', '10.0.0.2'), 'no link of the machine is needed');
});
t.test('same-bridge: guarded, and open to its own bridge', async (t) => {
  t.strictSame(lines('same-bridge', ['br0', 'veth1']), [
    `add element ${T} bridges { "br0" }`,
    ...take('pods4', '10.0.0.2'),
    ...take('guarded4', guarded),
    ...take('own4', own),
  ]);
});
t.test('isolated: guarded from its own bridge too, switched or routed', async (t) => {
  t.strictSame(lines('isolated', ['br0', 'veth1']), [
    `add element ${T} bridges { "br0" }`,
    ...take('pods4', '10.0.0.2'),
    ...take('guarded4', guarded),
    'add element bridge podwire-firewall isolated { "veth1" }',
    'delete element bridge podwire-firewall isolated { "veth1" }',
    'create element bridge podwire-firewall isolated { "veth1" comment "me" }',
    ...clear('own4', own),
  ]);
});
t.test('where nothing was left, elements are only made', async (t) => {
  t.strictSame(plain('open'), [`create element ${T} pods4 { 10.0.0.2 comment "me" }`]);
  t.strictSame(plain('same-bridge'), [
    `add element ${T} bridges { "br0" }`,
    `create element ${T} pods4 { 10.0.0.2 comment "me" }`,
    `create element ${T} guarded4 { ${guarded} comment "me" }`,
    `create element ${T} own4 { ${own} comment "me" }`,
  ]);
});
t.test('a lone pair has its element of bridges to itself', async (t) => {
  const target = { policy: 'same-bridge', addresses: [address], links: ['veth1'] } as const;
  t.equal(sharedElement(target), undefined);
  t.ok(elementsOf(target).present.some(({ set, key }) => set === 'bridges' && key === '"veth1"'));
});

t.test('the skeleton', async (t) => {
  const rules = (policy: 'open' | 'isolated') =>
    skeletonLines(policy).filter((line) => line.startsWith('add rule'));
  t.strictSame(rules('open'), [
    `add rule ${T} forward jump admin`,
    `add rule ${T} forward iifname @bridges oifname . ip daddr @guarded4 iifname . oifname . ip daddr != @own4 drop`,
    `add rule ${T} forward ip saddr @pods4 accept`,
    `add rule ${T} forward ip daddr @pods4 ct state established,related accept`,
    `add rule ${T} forward iifname @bridges oifname . ip6 daddr @guarded6 iifname . oifname . ip6 daddr != @own6 drop`,
    `add rule ${T} forward ip6 saddr @pods6 accept`,
    `add rule ${T} forward ip6 daddr @pods6 ct state established,related accept`,
  ]);
  t.equal(
    rules('isolated').at(-1),
    'add rule bridge podwire-firewall forward oifname @isolated ether type { ip, ip6 } drop',
  );
  t.notOk(
    skeletonLines('isolated').some((line) => line === `flush chain ${T} admin`),
    "a person's rules stay",
  );
});

t.test('chains that drop', async (t) => {
  const chain = (family: string, name: string, hook: string, policy: string) => ({
    chain: { family, table: 'filter', name, hook, policy },
  });
  const found = droppingChains([
    chain('ip', 'FORWARD', 'forward', 'drop'),
    chain('ip6', 'FORWARD', 'forward', 'accept'),
    chain('ip', 'INPUT', 'input', 'drop'),
    chain('bridge', 'FORWARD', 'forward', 'drop'),
    { metainfo: {} },
  ]);
  t.strictSame(found, ['ip filter FORWARD']);
  t.match(dropWarning(found), /^firewall: ip filter FORWARD: policy drop\..*\n$/);
});

t.test('what an earlier plugin gave', async (t) => {
  const result = {
    interfaces: [
      { name: 'br0' },
      { name: 'veth1' },
      { name: 'eth0', sandbox: '/run/netns/x' },
      { name: 'eth1', sandbox: '/run/netns/x' },
    ],
    ips: [
      { address: '10.9.0.1/24', interface: 0 },
      { address: '10.0.0.9/24', interface: 3 },
      { address: '10.0.0.2/24', interface: 2 },
      { address: '10.0.0.3/24' },
      { address: 'fd00::2/64', interface: 2 },
    ],
  };
  t.strictSame(containerAddresses(result, 'eth0').map(formatIp), ['10.0.0.2', 'fd00::2']);
  t.strictSame(allAddresses(result, 'eth0').map(formatIp), ['10.0.0.2', '10.0.0.3', 'fd00::2']);
  t.strictSame(machineLinks(result), ['br0', 'veth1']);
  t.equal(routingLink(result), 'br0');
  t.strictSame(
    machineLinks({ interfaces: [{ name: 'a"b' }, { name: 'e*' }, { name: '' }] }),
    [],
    'nothing that nft would read otherwise',
  );
});
