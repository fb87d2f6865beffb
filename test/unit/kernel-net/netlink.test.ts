// rtnetlink: each change's bytes against those that iproute2 6.1 sends for the same line (seen by strace, sequence numbers
// taken out), how answers are read, and what a failure becomes.
import t from 'tap';
import { randomMac } from '../../../cni-plugins/lib/names.ts';
import { addressBytes, addressText, broadcastOf, macBytes } from '../../../lib/kernel/netlink/address.ts';
import { macText } from '../../../lib/kernel/hash.ts';
import { canEncode, encode } from '../../../lib/kernel/netlink/encode.ts';
import { parseAnswers, parseAttributes, parseError, Request } from '../../../lib/kernel/netlink/message.ts';
import { errnoName, errnoText } from '../../../lib/kernel/netlink/socket.ts';
import { ipLine, type NetOp } from '../../../lib/kernel/net.ts';
import { decodeText, encodeText } from '../../../lib/kernel/text.ts';

// Of the namespace in which it was captured; descriptor 4 was the Pod's namespace.
const indexes: Record<string, number> = { lo: 1, br0: 2, br1: 3, veth1: 4, veth2p: 5, veth2: 6, vx: 7 };
const resolve = { link: (name: string) => indexes[name] ?? 0, netns: () => 4 };

const golden: Array<[line: string, op: NetOp, hex: string]> = [
  [
    'link add name br0 address 02:00:00:00:00:01 mtu 1400 type bridge',
    { op: 'addBridge', name: 'br0', mac: '02:00:00:00:00:01', mtu: 1400 },
    '4c00000010000506ssssssss00000000000000000000000000000000000000000a000100020000000001000008000400780500000800030062723000100012000a0001006272696467650000',
  ],
  [
    'link add name br1 type bridge',
    { op: 'addBridge', name: 'br1' },
    '3800000010000506ssssssss00000000000000000000000000000000000000000800030062723100100012000a0001006272696467650000',
  ],
  [
    'link set dev br0 up',
    { op: 'setLink', name: 'br0', state: 'up' },
    '2000000010000500ssssssss0000000000000000020000000100000001000000',
  ],
  [
    'link set dev br1 promisc on up',
    { op: 'setLink', name: 'br1', promisc: 'on', state: 'up' },
    '2000000010000500ssssssss0000000000000000030000000101000001010000',
  ],
  [
    'addr replace 10.88.0.1/24 brd + dev br0',
    { op: 'putAddress', dev: 'br0', address: '10.88.0.1/24' },
    '3000000014000505ssssssss000000000218000002000000080002000a580001080001000a580001080004000a5800ff',
  ],
  [
    'link add name veth1 address 02:00:00:00:00:02 mtu 1400 type veth peer name eth0 address 02:00:00:00:00:03 mtu 1400 netns pod',
    {
      op: 'addVeth',
      name: 'veth1',
      mac: '02:00:00:00:00:02',
      mtu: 1400,
      peer: { name: 'eth0', mac: '02:00:00:00:00:03', netns: 'pod' },
    },
    '8c00000010000506ssssssss00000000000000000000000000000000000000000a000100020000000002000008000400780500000a00030076657468310000004c0012000800010076657468400002003c000100000000000000000000000000000000000a0001000200000000030000080004007805000008001c0004000000090003006574683000000000',
  ],
  [
    'link add name veth2 type veth peer name veth2p',
    { op: 'addVeth', name: 'veth2', peer: { name: 'veth2p' } },
    '5c00000010000506ssssssss00000000000000000000000000000000000000000a00030076657468320000003000120008000100766574682400020020000100000000000000000000000000000000000b0003007665746832700000',
  ],
  [
    'link set dev veth1 addrgenmode none',
    { op: 'setLink', name: 'veth1', linkLocal: 'none' },
    '3000000010000500ssssssss000000000000000004000000000000000000000010001a000c000a000500080001000000',
  ],
  [
    'link set dev veth1 alias "podwire: default/web eth0" master br0 up',
    { op: 'setLink', name: 'veth1', alias: 'podwire: default/web eth0', master: 'br0', state: 'up' },
    '4800000010000500ssssssss00000000000000000400000001000000010000001d001400706f64776972653a2064656661756c742f776562206574683000000008000a0002000000',
  ],
  [
    'link set dev veth1 type bridge_slave hairpin on isolated on',
    { op: 'setBridgePort', name: 'veth1', hairpin: 'on', isolated: 'on' },
    '4800000010000500ssssssss000000000000000004000000000000000000000028001200100001006272696467655f736c6176651400050005000400010000000500210001000000',
  ],
  [
    'link set dev veth1 type bridge_slave hairpin on',
    { op: 'setBridgePort', name: 'veth1', hairpin: 'on' },
    '4000000010000500ssssssss000000000000000004000000000000000000000020001200100001006272696467655f736c6176650c0005000500040001000000',
  ],
  [
    'link set dev veth1 address 02:00:00:00:00:09 mtu 1300 down',
    { op: 'setLink', name: 'veth1', mac: '02:00:00:00:00:09', mtu: 1300, state: 'down' },
    '3400000010000500ssssssss00000000000000000400000000000000010000000a00010002000000000900000800040014050000',
  ],
  [
    'addr add fd00::5/64 dev veth2 nodad',
    { op: 'addAddress', dev: 'veth2', address: 'fd00::5/64', dad: 'skip' },
    '4000000014000506ssssssss000000000a4002000600000014000200fd00000000000000000000000000000514000100fd000000000000000000000000000005',
  ],
  [
    'addr add fd00::6/64 dev veth2',
    { op: 'addAddress', dev: 'veth2', address: 'fd00::6/64' },
    '4000000014000506ssssssss000000000a4000000600000014000200fd00000000000000000000000000000614000100fd000000000000000000000000000006',
  ],
  [
    'addr add 10.9.0.5/32 brd + dev veth2',
    { op: 'addAddress', dev: 'veth2', address: '10.9.0.5/32' },
    '2800000014000506ssssssss000000000220000006000000080002000a090005080001000a090005',
  ],
  [
    'addr add 10.9.1.5/31 brd + dev veth2',
    { op: 'addAddress', dev: 'veth2', address: '10.9.1.5/31' },
    '2800000014000506ssssssss00000000021f000006000000080002000a090105080001000a090105',
  ],
  [
    'addr add 127.0.0.9/8 brd + dev veth2',
    { op: 'addAddress', dev: 'veth2', address: '127.0.0.9/8' },
    '3000000014000506ssssssss00000000020800fe06000000080002007f000009080001007f000009080004007fffffff',
  ],
  [
    'addr del 10.9.0.5/32 dev veth2',
    { op: 'deleteAddress', dev: 'veth2', address: '10.9.0.5/32' },
    '2800000015000500ssssssss000000000220000006000000080002000a090005080001000a090005',
  ],
  [
    'addr add 10.7.0.5/24 brd + dev veth2',
    { op: 'addAddress', dev: 'veth2', address: '10.7.0.5/24' },
    '3000000014000506ssssssss000000000218000006000000080002000a070005080001000a070005080004000a0700ff',
  ],
  [
    'route add 0.0.0.0/0 via 10.7.0.1 dev veth2',
    { op: 'addRoute', dev: 'veth2', dst: '0.0.0.0/0', via: '10.7.0.1' },
    '3400000018000506ssssssss0000000002000000fe030001000000000800010000000000080005000a0700010800040006000000',
  ],
  [
    'route add 10.20.0.0/16 dev veth2',
    { op: 'addRoute', dev: 'veth2', dst: '10.20.0.0/16' },
    '2c00000018000506ssssssss0000000002100000fe03fd0100000000080001000a1400000800040006000000',
  ],
  [
    'route add 10.21.0.0/16 via 10.7.0.1 dev veth2 mtu 1300 advmss 1200 metric 7 table 1000 scope 0',
    {
      op: 'addRoute',
      dev: 'veth2',
      dst: '10.21.0.0/16',
      via: '10.7.0.1',
      mtu: 1300,
      advmss: 1200,
      metric: 7,
      table: 1000,
      scope: 0,
    },
    '5800000018000506ssssssss00000000021000000003000100000000080001000a150000080005000a070001080006000700000008000f00e8030000080004000600000014000800080002001405000008000800b0040000',
  ],
  [
    'route add 10.22.0.0/16 dev veth2 scope 253',
    { op: 'addRoute', dev: 'veth2', dst: '10.22.0.0/16', scope: 253 },
    '2c00000018000506ssssssss0000000002100000fe03fd0100000000080001000a1600000800040006000000',
  ],
  [
    'route add ::/0 via fd00::1 dev veth2',
    { op: 'addRoute', dev: 'veth2', dst: '::/0', via: 'fd00::1' },
    '4c00000018000506ssssssss000000000a000000fe03000100000000140001000000000000000000000000000000000014000500fd0000000000000000000000000000010800040006000000',
  ],
  [
    'route add fd01::/64 dev veth2 table 100',
    { op: 'addRoute', dev: 'veth2', dst: 'fd01::/64', table: 100 },
    '3800000018000506ssssssss000000000a400000640300010000000014000100fd0100000000000000000000000000000800040006000000',
  ],
  [
    'link set dev lo up',
    { op: 'setLink', name: 'lo', state: 'up' },
    '2000000010000500ssssssss0000000000000000010000000100000001000000',
  ],
  [
    'addr add 10.7.0.5/24 brd + dev veth2 noprefixroute',
    { op: 'addAddress', dev: 'veth2', address: '10.7.0.5/24', prefixRoute: 'none' },
    '3800000014000506ssssssss000000000218000006000000080002000a0700050800080000020000080001000a070005080004000a0700ff',
  ],
  [
    'addr add fd00::7/64 dev veth2 nodad noprefixroute',
    { op: 'addAddress', dev: 'veth2', address: 'fd00::7/64', dad: 'skip', prefixRoute: 'none' },
    '4800000014000506ssssssss000000000a4000000600000014000200fd000000000000000000000000000007080008000202000014000100fd000000000000000000000000000007',
  ],
  [
    'link add link veth2 name mv0 address 02:00:00:00:00:04 mtu 1400 netns pod type macvlan mode bridge bcqueuelen 50',
    {
      op: 'addMacvlan',
      name: 'mv0',
      parent: 'veth2',
      mode: 'bridge',
      mac: '02:00:00:00:00:04',
      mtu: 1400,
      queue: 50,
      netns: 'pod',
    },
    '7000000010000506ssssssss00000000000000000000000000000000000000000a0001000200000000040000080004007805000008001c00040000000800050006000000080003006d763000240012000b0001006d6163766c616e001400020008000700320000000800010004000000',
  ],
  [
    'link set dev veth1 name veth9',
    { op: 'renameLink', name: 'veth1', to: 'veth9' },
    '2c00000010000500ssssssss00000000000000000400000000000000000000000a0003007665746839000000',
  ],
  [
    'link del dev veth2',
    { op: 'deleteLink', name: 'veth2' },
    '2000000011000500ssssssss0000000000000000060000000000000000000000',
  ],
  [
    'neigh replace 10.244.2.0 lladdr 26:98:46:47:a2:8f dev vx nud permanent',
    { op: 'putNeighbour', dev: 'vx', ip: '10.244.2.0', mac: '26:98:46:47:a2:8f' },
    '300000001c000505ssssssss00000000020000000700000080000000080001000af402000a00020026984647a28f0000',
  ],
  [
    'neigh replace fd00:2:: lladdr 26:98:46:47:a2:8f dev vx nud permanent',
    { op: 'putNeighbour', dev: 'vx', ip: 'fd00:2::', mac: '26:98:46:47:a2:8f' },
    '3c0000001c000505ssssssss000000000a000000070000008000000014000100fd0000020000000000000000000000000a00020026984647a28f0000',
  ],
  [
    'neigh del 10.244.2.0 dev vx',
    { op: 'deleteNeighbour', dev: 'vx', ip: '10.244.2.0' },
    '240000001d000500ssssssss00000000020000000700000080000000080001000af40200',
  ],
  [
    'fdb replace 26:98:46:47:a2:8f dev vx dst 192.0.2.2 self permanent',
    { op: 'putFdb', dev: 'vx', mac: '26:98:46:47:a2:8f', to: '192.0.2.2' },
    '300000001c000505ssssssss000000000700000007000000c00002000a00020026984647a28f000008000100c0000202',
  ],
  [
    'fdb replace 26:98:46:47:a2:8f dev vx dst 2001:db8::2 self permanent',
    { op: 'putFdb', dev: 'vx', mac: '26:98:46:47:a2:8f', to: '2001:db8::2' },
    '3c0000001c000505ssssssss000000000700000007000000c00002000a00020026984647a28f00001400010020010db8000000000000000000000002',
  ],
  [
    'fdb del 26:98:46:47:a2:8f dev vx dst 192.0.2.2 self',
    { op: 'deleteFdb', dev: 'vx', mac: '26:98:46:47:a2:8f', to: '192.0.2.2' },
    '300000001d000500ssssssss000000000700000007000000c00002000a00020026984647a28f000008000100c0000202',
  ],
  [
    'route replace 10.244.2.0/24 via 10.244.2.0 dev vx onlink proto 112',
    { op: 'putRoute', dev: 'vx', dst: '10.244.2.0/24', via: '10.244.2.0', gateway: 'onlink', protocol: 112 },
    '3400000018000505ssssssss0000000002180000fe70000104000000080001000af40200080005000af402000800040007000000',
  ],
  [
    'route del 10.244.2.0/24 dev vx proto 112',
    { op: 'deleteRoute', dev: 'vx', dst: '10.244.2.0/24', protocol: 112 },
    '2c00000019000500ssssssss0000000002180000fe70ff0000000000080001000af402000800040007000000',
  ],
  [
    'route del 10.244.3.0/24 dev vx',
    { op: 'deleteRoute', dev: 'vx', dst: '10.244.3.0/24' },
    '2c00000019000500ssssssss0000000002180000fe00ff0000000000080001000af403000800040007000000',
  ],
  [
    'route del fd00:2::/64 dev vx proto 112',
    { op: 'deleteRoute', dev: 'vx', dst: 'fd00:2::/64', protocol: 112 },
    '3800000019000500ssssssss000000000a400000fe7000000000000014000100fd0000020000000000000000000000000800040007000000',
  ],
];
for (const [line, op, hex] of golden)
  t.test(line, async (t) => {
    t.equal(ipLine(op), line, 'the line that ip was given');
    t.ok(canEncode(op));
    const bytes = Buffer.from(encode(op, resolve)?.finish(0) ?? []);
    t.equal(bytes.toString('hex'), hex.replace('ssssssss', '00000000'));
  });

const leftToIp: NetOp[] = [
  { op: 'addBridge', name: 'b', vlanFiltering: 'on' },
  { op: 'addRoute', dev: 'a', dst: '10.0.0.0/8', via: 'fe80::1' },
  { op: 'addRoute', dev: 'a', dst: 'default' },
  { op: 'addVlan', name: 'a', parent: 'b', id: 5 },
];
t.test('what is left to ip', async (t) => {
  for (const op of leftToIp) t.notOk(canEncode(op), ipLine(op));
  t.equal(encode({ op: 'setBridge', name: 'a', vlanFiltering: 'on' }, resolve), undefined);
  t.ok(canEncode({ op: 'look', name: 'a' }));
});

t.test('a request has its length and number', async (t) => {
  const bytes = new Request(18, 5).fixed([1, 1], [2, 0x0203], [4, 0x04050607]).finish(0x01020304);
  t.equal(Buffer.from(bytes).toString('hex'), '17000000120005000403020100000000010302'.concat('07060504'));
  t.throws(() => new Request(18, 5, 32).bytes(1, new Uint8Array(20)), RangeError);
});

t.test('attributes', async (t) => {
  const bytes = new Request(0, 0)
    .u8(1, 7)
    .name(2, 'ab')
    .nest(3, (inner) => inner.u16(4, 0x0102).u32(5, 0xfffffffe))
    .finish(0);
  const found = parseAttributes(bytes.subarray(16));
  t.same([...found.keys()], [1, 2, 3]);
  t.same([...(found.get(2) ?? [])], [97, 98, 0], 'without the padding');
  const inner = parseAttributes(found.get(3) ?? new Uint8Array());
  t.same([...(inner.get(4) ?? [])], [2, 1]);
  t.same([...(inner.get(5) ?? [])], [254, 255, 255, 255]);
  for (const length of [0, 1, 3, 4])
    t.equal(parseAttributes(bytes.subarray(16, 16 + length)).size, 0, 'cut short');
  t.same(
    [...parseAttributes(Uint8Array.from([4, 0, 1, 0x80])).keys()],
    [1],
    'NLA_F_NESTED is no part of the type',
  );
});

t.test('answers', async (t) => {
  const two = Buffer.concat([new Request(16, 0).u8(1, 7).finish(9), new Request(3, 0).finish(9)]);
  t.match(parseAnswers(two), [
    { type: 16, sequence: 9 },
    { type: 3, sequence: 9 },
  ]);
  t.equal(parseAnswers(two.subarray(0, 30)).length, 1, 'the second is cut short');
  t.equal(parseAnswers(two.subarray(0, 10)).length, 0);
  t.equal(parseAnswers(new Uint8Array(64)).length, 0, 'zeros end it');
});

// NLMSG_ERROR of `route add 10.0.0.0/8 via 172.31.0.1` (52 bytes of request, then NLMSGERR_ATTR_MSG).
t.test('a refusal with the words of the kernel', async (t) => {
  const asked = new Request(24, 0x605).fixed([4, 0], [4, 0], [4, 0]).u32(1, 1).u32(5, 2).u32(4, 3).finish(1);
  const words = new Request(0, 0).name(1, 'Nexthop has invalid gateway').finish(0).subarray(16);
  const error = Buffer.alloc(4);
  error.writeInt32LE(-101);
  t.same(parseError(Buffer.concat([error, asked, words])), {
    errno: 101,
    said: 'Nexthop has invalid gateway',
  });
  t.same(parseError(Buffer.concat([error, asked])), { errno: 101, said: '' });
  t.same(parseError(Buffer.alloc(20)), { errno: 0, said: '' }, 'an acknowledgement');
  t.equal(
    errnoText(101, 'Nexthop has invalid gateway'),
    'Nexthop has invalid gateway: Network is unreachable',
  );
  t.equal(errnoText(17), 'File exists');
  t.equal(errnoText(200), 'errno 200');
  t.equal(errnoName(95), 'EOPNOTSUPP');
  t.equal(errnoName(101), 'EUNKNOWN', 'as of ip');
});

const texts = ['10.0.0.1', '0.0.0.0', '::', '::1', 'fe80::1', '2001:db8::1:0:0:1', '1:2:3:4:5:6:7:8', '1::8'];
t.test('addresses', async (t) => {
  for (const text of texts) t.equal(addressText(addressBytes(text)), text);
  t.equal(addressText(addressBytes('::ffff:1.2.3.4')), '::ffff:102:304');
  for (const bad of ['', '1.2.3', '1.2.3.256', '1:2', '::1::', 'g::', '1.2.3.4.5', ':::', 'x'])
    t.throws(() => addressBytes(bad), { code: 'EINVAL' }, bad);
  t.throws(() => macBytes('02:00'), { code: 'EINVAL' });
  for (const [length, text] of [
    [24, '10.9.8.255'],
    [22, '10.9.11.255'],
    [8, '10.255.255.255'],
    [30, '10.9.8.7'],
    [1, '127.255.255.255'],
  ] as const)
    t.equal(addressText(broadcastOf(addressBytes('10.9.8.5'), length)), text);
});

t.test('MACs and texts as plugins write them', async (t) => {
  const mac = Uint8Array.from([0x02, 0, 0x0f, 0x10, 0xff, 0xa0]);
  t.equal(macText(mac), '02:00:0f:10:ff:a0');
  t.strictSame(macBytes('02:00:0F:10:ff:a0'), mac);
  for (const bad of [
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:01:02',
    '2:0:0:0:0:1',
    '02:00:00:00:00:g1',
    '02-00-00-00-00-01',
  ])
    t.throws(() => macBytes(bad), { code: 'EINVAL' }, bad);
  const [one, other] = [randomMac(), randomMac()];
  t.match(one, /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/, 'locally administered, unicast');
  t.not(one, other);
  t.equal(decodeText(encodeText('\ufeff{"é":"😀"}')), '\ufeff{"é":"😀"}', 'the byte order mark is kept');
  t.equal(decodeText(Uint8Array.from([0x61, 0xff])), 'a\ufffd');
});
