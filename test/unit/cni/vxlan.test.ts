// vxlan: configuration, peers, MTU, what an existing VTEP is judged to be, and the changes for its entries.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { nearText } from '../../../cni-plugins/lib/masquerade.ts';
import { bridgeConf, parseConf, peersNow } from '../../../cni-plugins/vxlan/conf.ts';
import { entriesOf } from '../../../cni-plugins/vxlan/entries.ts';
import { checkAgainstOwn, parsePeers, readPeersFile } from '../../../cni-plugins/vxlan/peers.ts';
import { overlayMtu, tooSmallForIpv6 } from '../../../cni-plugins/vxlan/underlay.ts';
import { aliasOf, judge, makeOps, ownAddressOps, type Vtep } from '../../../cni-plugins/vxlan/vtep.ts';
import { type Cidr, parseCidr, parseIp } from '../../../lib/cni/address.ts';
import { Fields } from '../../../lib/cni/json.ts';
import type { LinkInfo } from '../../../lib/kernel/link-info.ts';
import { ipLine, toolOf } from '../../../lib/kernel/net.ts';
import { noEntries, overhead, parseEntries, planEntries, vtepMac } from '../../../lib/kernel/overlay.ts';
import { routeFileKey, routesBy } from '../../../lib/kernel/route-files.ts';

const conf = (json: object) => parseConf(new Fields({ node: 'n1', ...json }, ''));
const two = { node: 'n2', publicIP: '192.0.2.2', subnet: '10.244.2.0/24' };
const three = { node: 'n3', publicIP: '192.0.2.3', subnets: ['10.244.3.0/24', 'fd00:244:3::/64'] };
const cidr = (text: string) => parseCidr(text) as Cidr;

const refused: Array<[string, object, RegExp]> = [
  ['id', { id: 0 }, /^id: .*16777215, got 0/],
  ['port', { port: 0 }, /^port: /],
  ['node', { node: 'a b' }, /^node: /],
  ['local', { local: 'x' }, /^local: /],
  ['device', { device: 'a/b' }, /^device: /],
  ['peersFile', { peersFile: 'peers.json' }, /^peersFile: expected an absolute path/],
  ['peer without a name', { peers: [{}] }, /^peers\[0\]\.node: /],
  ['publicIP', { peers: [two, { ...three, publicIP: 'host' }] }, /^peers\[1\]\.publicIP: .*"host"/],
  ['no subnet', { peers: [{ node: 'n2', publicIP: '192.0.2.2' }] }, /^peers\[0\]\.subnet: /],
  ['host bits', { peers: [{ ...two, subnet: '10.244.2.1/24' }] }, /^peers\[0\]\.subnet: .*host bits/],
  ['everything', { peers: [{ ...two, subnet: '0.0.0.0/0' }] }, /^peers\[0\]\.subnet: /],
  ['vtepMac', { peers: [{ ...two, vtepMac: '01:00:00:00:00:00' }] }, /^peers\[0\]\.vtepMac: /],
  ['twice', { peers: [two, { ...three, node: 'n2' }] }, /^peers: expected each node once, got "n2"/],
  ['two families', { peers: [two, { ...three, publicIP: '2001:db8::3' }] }, /^peers: .*one address family/],
  [
    'overlap',
    { peers: [two, three, { node: 'n4', publicIP: '192.0.2.4', subnet: '10.244.0.0/16' }] },
    /apart/,
  ],
];
for (const [name, json, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode: 7, message });
  });

t.test('defaults, and our own entry left out', async (t) => {
  const parsed = conf({ peers: [{ node: 'n1', publicIP: '192.0.2.1', subnet: '10.244.1.0/24' }, two] });
  t.match(parsed, { id: 1, port: 4789, vtep: 'vxlan1', bridge: 'vxbr1', device: '', local: undefined });
  t.strictSame(
    parsed.inline.map(({ node }) => node),
    ['n2'],
  );
  const passed = bridgeConf(new Fields({ type: 'vxlan', mtu: 9, ipMasq: true, hairpinMode: true }, ''), {
    bridge: 'vxbr1',
    mtu: 1450,
  });
  t.strictSame(passed.object, {
    type: 'bridge',
    mtu: 1450,
    ipMasq: false,
    hairpinMode: true,
    bridge: 'vxbr1',
    isGateway: true,
  });
});

t.test('a MAC by name', async (t) => {
  t.equal(vtepMac('n2'), '26:98:46:47:a2:8f');
  t.match(vtepMac('n3'), /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
  t.not(vtepMac('n2'), vtepMac('n3'));
});

t.test('a file of peers', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'podwire-peers-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'peers.json');
  const write = (value: unknown) => writeFileSync(file, JSON.stringify(value));
  t.throws(() => readPeersFile(file, 'n1'), { cniCode: 11, message: /is not there \(yet\)/ });
  writeFileSync(file, '[{');
  t.throws(() => readPeersFile(file, 'n1'), { cniCode: 6, message: /not JSON/ });
  write({ peers: 3 });
  t.throws(() => readPeersFile(file, 'n1'), { cniCode: 7, message: /a list of peers/ });
  write([two, { ...three, publicIP: '' }]);
  t.throws(() => readPeersFile(file, 'n1'), { cniCode: 7, message: /peers\.json: peers\[1\]\.publicIP: / });
  t.throws(() => readPeersFile(dir, 'n1'), { cniCode: 5, message: /^peersFile: / });
  write({ peers: [two] });
  t.equal(readPeersFile(file, 'n1').length, 1);
  const both = conf({ peersFile: file, peers: [{ ...two, publicIP: '192.0.2.99' }, three] });
  t.strictSame(
    peersNow(both).map(({ node, publicIP }) => [node, Number(publicIP.value & 255n)]),
    [
      ['n3', 3],
      ['n2', 2],
    ],
    'the file is the newer word',
  );
  write([{ ...two, node: 'n9', subnet: '10.244.3.0/24' }]);
  t.throws(() => peersNow(both), { cniCode: 7, message: /^peers and peersFile/ });
});

t.test('against our own', async (t) => {
  const peers = parsePeers([new Fields(two, 'peers[0]')], 'n1');
  const own = (local: string, ...nets: string[]) => ({ local: parseIp(local)!, nets: nets.map(cidr) });
  checkAgainstOwn(peers, own('192.0.2.1', '10.244.1.0/24'));
  t.throws(() => checkAgainstOwn(peers, own('192.0.2.2')), { message: /publicIP of n2: .*key "node"/ });
  t.throws(() => checkAgainstOwn(peers, own('192.0.2.1', '10.244.0.0/16')), { message: /subnet of n2/ });
  t.throws(() => checkAgainstOwn(peers, own('10.244.2.7')), { message: /without the underlay address/ });
});

t.test('MTU', async (t) => {
  t.equal(overhead.vxlan(4), 50);
  t.equal(overhead.vxlan(6), 70);
  const underlay = { device: 'eth0', local: parseIp('192.0.2.1')!, mtu: 1500 };
  t.equal(overlayMtu(underlay, undefined), 1450);
  t.equal(overlayMtu({ ...underlay, local: parseIp('2001:db8::1')! }, undefined), 1430);
  t.equal(overlayMtu(underlay, 1400), 1400);
  t.throws(() => overlayMtu(underlay, 1451), {
    cniCode: 7,
    message: /68 to 1450 \(eth0 has 1500, .*takes 50\)/,
  });
  t.ok(tooSmallForIpv6(1279));
});

const vtep: Vtep = {
  name: 'vxlan1',
  id: 1,
  port: 4789,
  local: '192.0.2.1',
  device: 'eth0',
  mac: '02:00:00:00:00:01',
  mtu: 1450,
};
const all = {
  peers: parsePeers([new Fields(two, 'peers[0]'), new Fields(three, 'peers[1]')], 'n1'),
  nets: [cidr('10.244.1.0/24')],
};
const standing: LinkInfo = {
  name: 'vxlan1',
  kind: 'vxlan',
  data: { id: 1, port: 4789, local: '192.0.2.1', link: 'eth0', learning: false },
  mac: vtep.mac,
  mtu: 1450,
  up: true,
  alias: aliasOf('net', vtep, all),
};

const judged: Array<[string, Partial<LinkInfo>, string, string[]]> = [
  ['the same', {}, 'reuse', []],
  ['MAC', { mac: 'x' }, 'reuse', ['its MAC was x, not 02:00:00:00:00:01']],
  ['MTU, down', { mtu: 1400, up: false }, 'reuse', ['its MTU was 1400, not 1450', 'it was down']],
  ['VNI', { data: { ...standing.data, id: 7 } }, 'recreate', ['its VNI is 7, not 1']],
  [
    'address',
    { data: { ...standing.data, local: undefined } },
    'recreate',
    ['its local address is none, not 192.0.2.1'],
  ],
  [
    'learning',
    { data: { ...standing.data, learning: true } },
    'recreate',
    ['its learning is true, not false'],
  ],
  [
    'flooding',
    { data: { ...standing.data, group: '239.0.0.1' } },
    'recreate',
    ['its multicast group is 239.0.0.1, not none'],
  ],
  [
    'another VNI, not ours',
    { alias: '', data: { ...standing.data, id: 7 } },
    'refuse',
    ['its VNI is 7, not 1'],
  ],
  ['not ours, but the same', { alias: '' }, 'reuse', []],
  ['no vxlan', { kind: 'bridge', data: {} }, 'refuse', ['it is no vxlan (bridge)']],
];
for (const [name, more, verdict, reasons] of judged)
  t.test(`a VTEP is there: ${name}`, async (t) => {
    const found = judge({ ...standing, ...more }, vtep, 'net');
    t.equal(found.do, verdict);
    t.strictSame(found.reasons, reasons);
    if (found.do === 'reuse') t.equal(found.fix.length, reasons.length);
  });

t.test('making one', async (t) => {
  t.strictSame(makeOps(vtep, 'net').map(ipLine), [
    'link add name vxlan1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 dstport 4789 local 192.0.2.1 dev eth0 nolearning',
    'link set dev vxlan1 alias "podwire: overlay net begun"',
    'link set dev vxlan1 addrgenmode none',
    'link set dev vxlan1 up',
  ]);
  t.strictSame(ownAddressOps('vxlan1', [cidr('10.244.1.0/24'), cidr('fd00:1::/64')]).map(ipLine), [
    'addr replace 10.244.1.0/32 brd + dev vxlan1',
    'addr replace fd00:1::/128 dev vxlan1 nodad',
  ]);
  t.match(aliasOf('net', vtep, all), /^podwire: overlay net [0-9a-f]{16}$/);
  const turned = { ...all, peers: [...all.peers].reverse() };
  t.equal(aliasOf('net', vtep, all), aliasOf('net', vtep, turned), 'the order of peers means nothing');
  t.not(aliasOf('net', vtep, all), aliasOf('net', vtep, { ...all, peers: all.peers.slice(1) }));
});

t.test('entries of peers', async (t) => {
  const wanted = entriesOf(all.peers);
  const [mac2, mac3] = [vtepMac('n2'), vtepMac('n3')];
  const first = planEntries('vxlan1', wanted, noEntries);
  t.strictSame(first.map(ipLine), [
    `fdb replace ${mac2} dev vxlan1 dst 192.0.2.2 self permanent`,
    `fdb replace ${mac3} dev vxlan1 dst 192.0.2.3 self permanent`,
    `neigh replace 10.244.2.0 lladdr ${mac2} dev vxlan1 nud permanent`,
    `neigh replace 10.244.3.0 lladdr ${mac3} dev vxlan1 nud permanent`,
    `neigh replace fd00:244:3:: lladdr ${mac3} dev vxlan1 nud permanent`,
    'route replace 10.244.2.0/24 via 10.244.2.0 dev vxlan1 onlink',
    'route replace 10.244.3.0/24 via 10.244.3.0 dev vxlan1 onlink',
    'route replace fd00:244:3::/64 via fd00:244:3:: dev vxlan1 onlink',
  ]);
  t.strictSame(first.map(toolOf).slice(0, 3), ['bridge', 'bridge', 'ip']);
  t.strictSame(planEntries('vxlan1', wanted, wanted), []);
  const moved = entriesOf(parsePeers([new Fields({ ...two, publicIP: '192.0.2.22' }, 'peers[0]')], 'n1'));
  t.strictSame(planEntries('vxlan1', moved, wanted).map(ipLine), [
    `fdb replace ${mac2} dev vxlan1 dst 192.0.2.22 self permanent`,
    `fdb del ${mac3} dev vxlan1 dst 192.0.2.3 self`,
    'route del 10.244.3.0/24 dev vxlan1',
    'route del fd00:244:3::/64 dev vxlan1',
    'neigh del 10.244.3.0 dev vxlan1',
    'neigh del fd00:244:3:: dev vxlan1',
  ]);
  const seen = parseEntries({
    routes: [
      { dst: '10.244.2.0/24', gateway: '10.244.2.0', flags: ['onlink'] },
      { dst: '10.9.9.9', gateway: '10.244.2.0' },
      { dst: 'fe80::/64', protocol: 'kernel' },
    ],
    neighbours: [
      { dst: '10.244.2.0', lladdr: mac2, state: ['PERMANENT'] },
      { dst: '10.244.2.7', lladdr: mac2, state: ['STALE'] },
    ],
    fdb: [
      { mac: mac2, dst: '192.0.2.2', flags: ['self'], state: 'permanent' },
      { mac: mac3, state: 'permanent' },
    ],
  });
  t.strictSame([...seen.routes.keys()], ['10.244.2.0/24', '10.9.9.9/32']);
  t.strictSame([...seen.neighbours.keys()], ['10.244.2.0']);
  t.strictSame([...seen.fdb], [[mac2, '192.0.2.2']]);
});

t.test('routes in /proc', async (t) => {
  const four = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
vxlan1\t0002F40A\t0002F40A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`;
  const six =
    'fd000244000300000000000000000000 40 00000000000000000000000000000000 00 fd000244000300000000000000000000 00000400 00000001 00000000 00000003   vxlan1\n';
  const routes = routesBy('vxlan1', { four, six });
  const key = (text: string) => routeFileKey({ ...cidr(text).ip, length: cidr(text).length });
  t.ok(routes.has(key('10.244.2.0/24')));
  t.notOk(routes.has(key('10.244.3.0/24')), 'by another device');
  t.notOk(routes.has(key('10.244.2.0/25')));
  t.ok(routes.has(key('fd00:244:3::/64')));
});

t.test('masquerading knows the overlay', async (t) => {
  const [near4, near6] =
    nearText('n', [])
      .match(/near[46]-[0-9a-f]{8}/g)
      ?.filter((_, at) => at % 2 === 0) ?? [];
  t.equal(
    nearText('n', ['10.244.1.0/24', '10.244.2.0/24', 'fd00:1::/64']),
    `flush set inet podwire-cni ${near4}
add element inet podwire-cni ${near4} { 224.0.0.0/4, 10.244.1.0/24, 10.244.2.0/24 }
flush set inet podwire-cni ${near6}
add element inet podwire-cni ${near6} { ff00::/8, fd00:1::/64 }
`,
  );
});
