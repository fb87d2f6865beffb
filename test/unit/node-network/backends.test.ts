// Backends: what they plan for a peer, and the very text that ip, bridge and wg get for it; MTUs; what a monitored line means.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Cidr, parseCidr } from '../../../lib/cni/address.ts';
import type { Command, Exec } from '../../../lib/exec/exec.ts';
import { ExecError } from '../../../lib/exec/errors.ts';
import { ipLine } from '../../../lib/kernel/net.ts';
import { overhead, planEntries } from '../../../lib/kernel/overlay.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { parseBackend } from '../../../lib/node-network/backend-config.ts';
import { createBackend } from '../../../lib/node-network/backends.ts';
import { applyAll, joinEntries, noEntries, sameEntries } from '../../../lib/node-network/entries.ts';
import { judgeLine } from '../../../lib/node-network/monitor.ts';
import { isOwnLinkName, linkName, ownAddressOps } from '../../../lib/node-network/own-link.ts';
import { backendNames, type LocalNode, type Peer } from '../../../lib/node-network/types.ts';
import { parseDump, wgCalls } from '../../../lib/node-network/wireguard.ts';

const cidr = (text: string): Cidr => parseCidr(text) as Cidr;
const key = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
const local = (family: 4 | 6 = 4): LocalNode => ({
  name: 'n1',
  podCidrs: [cidr('10.244.1.0/24'), cidr('fd00:1::/64')],
  underlay: {
    device: 'eth1',
    mtu: 1500,
    family,
    addresses: { 4: '192.0.2.1', 6: '2001:db8::1' },
    nets: [cidr('192.0.2.1/24'), cidr('2001:db8::1/64')],
  },
});
const peer: Peer = {
  name: 'n2',
  addresses: { 4: '192.0.2.2', 6: '2001:db8::2' },
  podCidrs: [cidr('10.244.2.0/24'), cidr('fd00:2::/64')],
  mac: '26:98:46:47:a2:8f',
  publicKey: key,
};
const paths = nodePaths('/');
const backend = (name: (typeof backendNames)[number]) => createBackend({ name }, paths);

/** What a plan becomes, as text. */
function text(name: (typeof backendNames)[number], where = local(), who = peer): string[] {
  const { link } = backend(name);
  const { entries } = backend(name).plan(where, who);
  const onlink = name === 'vxlan' || name === 'ipip';
  const ops = planEntries(link ?? where.underlay.device, entries, noEntries, {
    protocol: 112,
    ...(onlink ? { gateway: 'onlink' as const } : {}),
  });
  return [
    ...wgCalls(link ?? '', { wanted: entries, seen: noEntries }).map((args) => `wg ${args.join(' ')}`),
    ...ops.map(ipLine),
  ];
}

for (const [name, where, expected] of [
  [
    'vxlan',
    local(),
    [
      'fdb replace 26:98:46:47:a2:8f dev podwire-vx dst 192.0.2.2 self permanent',
      'neigh replace 10.244.2.0 lladdr 26:98:46:47:a2:8f dev podwire-vx nud permanent',
      'neigh replace fd00:2:: lladdr 26:98:46:47:a2:8f dev podwire-vx nud permanent',
      'route replace 10.244.2.0/24 via 10.244.2.0 dev podwire-vx onlink proto 112',
      'route replace fd00:2::/64 via fd00:2:: dev podwire-vx onlink proto 112',
    ],
  ],
  [
    'vxlan',
    local(6),
    [
      'fdb replace 26:98:46:47:a2:8f dev podwire-vx dst 2001:db8::2 self permanent',
      'neigh replace 10.244.2.0 lladdr 26:98:46:47:a2:8f dev podwire-vx nud permanent',
      'neigh replace fd00:2:: lladdr 26:98:46:47:a2:8f dev podwire-vx nud permanent',
      'route replace 10.244.2.0/24 via 10.244.2.0 dev podwire-vx onlink proto 112',
      'route replace fd00:2::/64 via fd00:2:: dev podwire-vx onlink proto 112',
    ],
  ],
  [
    'host-gw',
    local(),
    [
      'route replace 10.244.2.0/24 via 192.0.2.2 dev eth1 proto 112',
      'route replace fd00:2::/64 via 2001:db8::2 dev eth1 proto 112',
    ],
  ],
  [
    'wireguard',
    local(),
    [
      `wg set podwire-wg peer ${key} endpoint 192.0.2.2:51820 allowed-ips 10.244.2.0/24,fd00:2::/64`,
      'route replace 10.244.2.0/24 dev podwire-wg proto 112',
      'route replace fd00:2::/64 dev podwire-wg proto 112',
    ],
  ],
  ['ipip', local(), ['route replace 10.244.2.0/24 via 192.0.2.2 dev podwire-ipip onlink proto 112']],
] as const)
  t.test(`${name} over IPv${where.underlay.family}`, async (t) => t.strictSame(text(name, where), expected));

t.equal(
  text('wireguard', local(6))[0]?.split(' ')[6],
  '[2001:db8::2]:51820',
  'an IPv6 endpoint has brackets',
);

for (const [name, who, reason, routes] of [
  ['vxlan', { ...peer, addresses: { 6: '2001:db8::2' } }, 'NoAddress', 0],
  ['vxlan', { ...peer, family: 6 }, 'FamilyDiffers', 0],
  ['wireguard', { ...peer, publicKey: undefined }, 'NoPublicKey', 0],
  ['wireguard', { ...peer, publicKey: 'remove allowed-ips 0.0.0.0/0' }, 'NoPublicKey', 0],
  ['wireguard', { ...peer, addresses: {} }, 'NoAddress', 0],
  ['host-gw', { ...peer, addresses: { 4: '198.51.100.2' } }, 'NotOnLink', 0],
  ['host-gw', { ...peer, addresses: { 4: '192.0.2.2' } }, 'FamilyNotCarried', 1],
  ['ipip', peer, 'FamilyNotCarried', 1],
  ['ipip', { ...peer, addresses: { 6: '2001:db8::2' } }, 'NoAddress', 0],
] as const)
  t.test(`${name}: ${reason}`, async (t) => {
    const { entries, problem } = backend(name).plan(local(), who as Peer);
    t.match(problem, { reason, message: /n2/ });
    t.equal(entries.routes.size, routes);
  });

t.test('what headers weigh', async (t) => {
  t.strictSame(
    backendNames.map((name) => [name, overhead[name](4), overhead[name](6)]),
    [
      ['vxlan', 50, 70],
      ['host-gw', 0, 0],
      ['wireguard', 60, 80],
      ['ipip', 20, 40],
    ],
  );
});

t.test('names', async (t) => {
  for (const tag of ['', 'abc123'])
    for (const kind of ['vxlan', 'wireguard', 'ipip'] as const) {
      t.ok(linkName(kind, tag).length <= 15);
      t.ok(isOwnLinkName(linkName(kind, tag)));
    }
  t.notOk(isOwnLinkName('eth0'));
});

t.test('own addresses', async (t) => {
  const seen = { name: 'podwire-vx', addresses: ['10.244.1.0/32', '10.9.0.0/32'] };
  t.strictSame(ownAddressOps(seen, local()).map(ipLine), [
    'addr replace fd00:1::/128 dev podwire-vx nodad',
    'addr del 10.9.0.0/32 dev podwire-vx',
  ]);
});

t.test('a change of one peer is few commands, however many there are', async (t) => {
  const commands: Command[] = [];
  const exec: Exec = async (command) => {
    commands.push(command);
    return { stdout: '', stderr: '', exitCode: 0 };
  };
  const vxlan = createBackend({ name: 'vxlan' }, paths, { exec });
  const seen = vxlan.plan(local(), peer).entries;
  const wanted = vxlan.plan(local(), { ...peer, addresses: { 4: '192.0.2.22' } }).entries;
  t.strictSame(await vxlan.apply(local(), { wanted, seen }), []);
  t.strictSame(
    commands.map(({ argv, input }) => [argv.join(' '), input]),
    [['bridge -batch -', 'fdb replace 26:98:46:47:a2:8f dev podwire-vx dst 192.0.2.22 self permanent\n']],
  );
  commands.length = 0;
  await vxlan.apply(local(), { wanted: noEntries, seen });
  t.strictSame(
    commands.map(({ argv, input }) => [argv.join(' '), input?.trim().split('\n')]),
    [
      ['bridge -batch -', ['fdb del 26:98:46:47:a2:8f dev podwire-vx dst 192.0.2.2 self']],
      [
        'ip -batch -',
        [
          'route del 10.244.2.0/24 dev podwire-vx proto 112',
          'route del fd00:2::/64 dev podwire-vx proto 112',
          'neigh del 10.244.2.0 dev podwire-vx',
          'neigh del fd00:2:: dev podwire-vx',
        ],
      ],
    ],
  );
});

t.test('what the kernel refuses is left out, and the rest goes on', async (t) => {
  const lines: string[] = [];
  const exec: Exec = async ({ argv, input = '' }) => {
    for (const [at, line] of input.trim().split('\n').entries()) {
      const said = line.includes('10.9.1')
        ? 'Nexthop has invalid gateway'
        : line.includes('10.9.2')
          ? 'No such process'
          : '';
      if (said) {
        const stderr = `Error: ${said}\nCommand failed -:${at + 1}\n`;
        throw new ExecError('EXEC_FAILED', 'ip', { argv, stderr, exitCode: 1 });
      }
      lines.push(line);
    }
    return { stdout: '', stderr: '', exitCode: 0 };
  };
  const refused = await applyAll(
    [
      { op: 'putRoute', dev: 'd', dst: '10.9.1.0/24' },
      { op: 'deleteRoute', dev: 'd', dst: '10.9.2.0/24' },
      { op: 'putRoute', dev: 'd', dst: '10.9.3.0/24' },
    ],
    { exec },
  );
  t.match(refused, [{ key: '10.9.1.0/24', message: /invalid gateway/ }]);
  t.equal(refused.length, 1, 'what is gone already is no failure');
  t.strictSame(lines, ['route replace 10.9.3.0/24 dev d']);
});

t.test('wg: what is said and what is read', async (t) => {
  const link = 'podwire-wg';
  const [a, b, c] = ['A', 'B', 'C'].map((letter) => `${letter.repeat(42)}A=`) as [string, string, string];
  const dump = `priv\t${key}\t51820\toff
${a}\t(none)\t192.0.2.2:51820\tfd00:2::/64,10.244.2.0/24\t0\t0\t0\toff
${b}\t(none)\t(none)\t10.244.3.0/24\t0\t0\t0\toff\n`;
  const seen = parseDump(dump);
  t.match(seen, { publicKey: key, port: 51820 });
  const wanted = new Map([
    [a, '192.0.2.2:51820 10.244.2.0/24,fd00:2::/64'],
    [c, '192.0.2.3:51820 10.244.3.0/24'],
  ]);
  t.strictSame(
    wgCalls(link, {
      wanted: { ...noEntries, tunnels: wanted },
      seen: { ...noEntries, tunnels: seen.tunnels },
    }),
    [
      [
        'set',
        link,
        'peer',
        b,
        'remove',
        'peer',
        c,
        'endpoint',
        '192.0.2.3:51820',
        'allowed-ips',
        '10.244.3.0/24',
      ],
    ],
  );
  const many = new Map(
    Array.from({ length: 1000 }, (_, at) => [`key${at}`, '192.0.2.3:51820 10.244.3.0/24']),
  );
  const calls = wgCalls(link, { wanted: { ...noEntries, tunnels: many }, seen: noEntries });
  t.ok(
    calls.every((call) => call.length < 3100 && call[2] === 'peer'),
    'cut at peers',
  );
  t.equal(calls.flat().filter((word) => word === 'peer').length, 1000);
});

t.test('wireguard: the private key stays in a file of its own', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'podwire-wg-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const asked: string[][] = [];
  const exec: Exec = async ({ argv, input }) => {
    asked.push([...argv]);
    if (argv[1] === 'pubkey') t.equal(input, key.replace('x', 'y'));
    return { stdout: `${argv[1] === 'genkey' ? key.replace('x', 'y') : key}\n`, stderr: '', exitCode: 0 };
  };
  const made = createBackend({ name: 'wireguard' }, nodePaths(root), { exec });
  for (let times = 0; times < 2; times++)
    t.strictSame(await made.annotations(), { 'network.podwire.io/wireguard-public-key': key });
  t.strictSame(
    asked.map((argv) => argv[1]),
    ['genkey', 'pubkey', 'pubkey'],
    'made once',
  );
  t.equal(statSync(join(nodePaths(root).state, 'wireguard.key')).mode & 0o777, 0o600);
});

t.test('entries joined and compared', async (t) => {
  const [one, two] = [
    backend('vxlan').plan(local(), peer).entries,
    backend('wireguard').plan(local(), peer).entries,
  ];
  t.ok(sameEntries(joinEntries([one]), one));
  t.notOk(sameEntries(one, two));
  t.notOk(sameEntries(two, { ...two, tunnels: new Map() }));
  t.ok(sameEntries(joinEntries([]), noEntries));
});

const watched = {
  link: 'podwire-vx',
  underlay: 'eth1',
  wanted: backend('vxlan').plan(local(), peer).entries,
};
for (const [line, verdict] of [
  ['5: podwire-vx: <BROADCAST,MULTICAST> mtu 1450 qdisc noop state DOWN group default \\', 'link'],
  ['Deleted 5: podwire-vx: <BROADCAST,MULTICAST> mtu 1450', 'link'],
  ['2: eth1@if3: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400', 'link'],
  ['Deleted 5: podwire-vx    inet 10.244.1.0/32 scope global podwire-vx\\', 'link'],
  ['Deleted 1: lo    inet 10.244.1.0/32 scope host lo:podwire\\', 'link'],
  ['1: lo    inet 10.244.1.0/32 scope host lo:podwire\\', undefined],
  ['Deleted 1: lo    inet 127.0.0.2/8 scope host lo\\', undefined],
  ['9: veth3ca9@if2: <BROADCAST,MULTICAST> mtu 1450', undefined],
  ['Deleted 10.244.2.0/24 via 10.244.2.0 dev podwire-vx proto 112 onlink ', 'entries'],
  ['10.244.2.0/24 via 10.244.2.0 dev podwire-vx proto 112 onlink ', undefined],
  ['10.244.2.0/24 via 192.0.2.9 dev eth1 ', 'entries'],
  ['Deleted 10.244.2.0/24 via 192.0.2.9 dev eth1 ', undefined],
  ['Deleted 10.244.7.0/24 via 10.244.7.0 dev podwire-vx proto 112 onlink ', undefined],
  ['Deleted fd00:2::/64 via fd00:2:: dev podwire-vx proto 112 metric 1024 onlink pref medium', 'entries'],
  ['local 10.244.1.0 dev podwire-vx table local proto kernel scope host src 10.244.1.0 ', undefined],
  ['10.244.2.0 dev podwire-vx lladdr 26:98:46:47:a2:8f PERMANENT ', undefined],
  ['10.244.2.0 dev podwire-vx lladdr 26:98:46:47:a2:90 PERMANENT ', 'entries'],
  ['10.244.2.0 dev podwire-vx FAILED ', 'entries'],
  ['Deleted 10.244.2.0 dev podwire-vx FAILED ', 'entries'],
  ['Deleted 10.244.7.0 dev podwire-vx FAILED ', undefined],
  ['192.0.2.2 dev podwire-vx lladdr 26:98:46:47:a2:8f NOARP PERMANENT ', undefined],
  ['192.0.2.7 dev podwire-vx lladdr 26:98:46:47:a2:8f NOARP PERMANENT ', 'entries'],
  ['Deleted 192.0.2.2 dev podwire-vx lladdr 26:98:46:47:a2:8f NOARP PERMANENT ', 'entries'],
  ['192.0.2.2 dev eth1 lladdr 52:54:00:12:34:56 REACHABLE ', undefined],
  ['ff02::16 dev podwire-vx lladdr 33:33:00:00:00:16 NOARP ', undefined],
  ['', undefined],
] as const)
  t.equal(judgeLine(line, watched), verdict, `monitored: ${line}`);

for (const [given, config] of [
  ['vxlan', { name: 'vxlan' }],
  ['vxlan,vni=5,port=4789,tx-offload=off', { name: 'vxlan', vni: 5, port: 4789, txOffload: 'off' }],
  ['host-gw', { name: 'host-gw' }],
  ['wireguard,port=51821', { name: 'wireguard', port: 51821 }],
] as const)
  t.test(`written ${given}`, async (t) => t.strictSame(parseBackend(given), config));

for (const [given, message] of [
  ['', /expected one of vxlan, host-gw, wireguard, ipip/],
  ['flannel', /expected one of/],
  ['vxlan,vni=0', /vni: expected 1 to 16777215, got "0"/],
  ['vxlan,vni=x', /vni: expected/],
  ['vxlan,mtu=9', /"mtu": vxlan takes vni, port, tx-offload/],
  ['vxlan,tx-offload=maybe', /tx-offload: expected on or off/],
  ['host-gw,port=1', /"port": host-gw takes no options/],
  ['wireguard,toString=1', /"toString": wireguard takes port/],
] as const)
  t.test(`refused: ${given}`, async (t) => {
    t.throws(() => parseBackend(given), { code: 'BAD_NETWORK_BACKEND', message });
  });
