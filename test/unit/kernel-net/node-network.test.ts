// The node's own part of the network: the golden table, the default conflist, and what is refused.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { table as hostPortTable } from '../../../cni-plugins/portmap/rules.ts';
import { isIdleTable } from '../../../lib/kernel/nftables.ts';
import { pluginTables } from '../../../lib/node-network/node-network.ts';
import { parseList } from '../../../lib/cni/conf.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import {
  bridgeName,
  defaultConflist,
  parsePodCidr,
  writeDefaultConflist,
} from '../../../lib/node-network/conflist.ts';
import { nodeTable } from '../../../lib/node-network/node-network.ts';

t.test('the table', async (t) => {
  t.equal(
    nodeTable('10.244.0.0/24,fd00::/64', 'abc123'),
    `add table inet podwire-abc123
delete table inet podwire-abc123
table inet podwire-abc123 {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/24 ip daddr != { 10.244.0.0/24, 224.0.0.0/4 } masquerade comment "podwire: Pods leave 10.244.0.0/24 under the node's address"
    ip6 saddr fd00::/64 ip6 daddr != { fd00::/64, ff00::/8 } masquerade comment "podwire: Pods leave fd00::/64 under the node's address"
  }
}
`,
  );
});

const refused: Array<[string, RegExp]> = [
  ['', /expected a network/],
  ['10.244.0.0', /"10\.244\.0\.0": expected a network/],
  ['10.244.0.1/24', /host bits; did you mean 10\.244\.0\.0\/24/],
  ['10.244.0.0/32', /no room/],
  ['10.244.0.0/24,10.245.0.0/24', /one range an address family/],
];
for (const [text, message] of refused)
  t.test(`refused: ${JSON.stringify(text)}`, async (t) => {
    t.throws(() => parsePodCidr(text), { code: 'INVALID_POD_CIDR', message });
  });

t.test('the default conflist', async (t) => {
  const conflist = defaultConflist({
    tag: '',
    podCidr: '10.244.0.0/24',
    bridge: 'podwire0',
    dataDir: '/d',
    mtu: 1400,
  });
  t.strictSame(conflist, {
    cniVersion: '1.0.0',
    cniVersions: ['1.0.0', '1.1.0'],
    name: 'podwire',
    plugins: [
      {
        type: 'bridge',
        bridge: 'podwire0',
        isGateway: true,
        hairpinMode: true,
        mtu: 1400,
        ipam: {
          type: 'host-local',
          dataDir: '/d',
          ranges: [[{ subnet: '10.244.0.0/24' }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ],
  });
  t.equal(parseList(conflist).plugins.length, 3);
  t.equal(bridgeName(''), 'podwire0');
  t.equal(bridgeName('abc123'), 'pwabc123');
});

t.test("written once, and never over a person's own", async (t) => {
  const paths = nodePaths(t.testdir());
  const network = { podCidr: '10.244.0.0/24', bridge: 'b' };
  const file = writeDefaultConflist(paths, network);
  t.equal(file, join(paths.cniConf, '10-podwire.conflist'));
  t.match(JSON.parse(readFileSync(file as string, 'utf8')), {
    plugins: [{ ipam: { dataDir: join(paths.cni, 'networks') } }],
  });
  writeFileSync(file as string, '{}');
  t.equal(writeDefaultConflist(paths, network), undefined);
  t.equal(readFileSync(file as string, 'utf8'), '{}');
  const other = nodePaths(t.testdir({ etc: { podwire: { cni: { 'net.d': { '05-mine.conf': '{}' } } } } }));
  t.equal(writeDefaultConflist(other, network), undefined);
});

t.test('Pods of the whole cluster are not masqueraded', async (t) => {
  const rules = (cluster: string[]): string[] =>
    nodeTable('10.244.1.0/24,fd00:1::/64', '', cluster)
      .split('\n')
      .flatMap((line) => /daddr != (\{.*\}) masquerade/.exec(line)?.[1] ?? []);
  for (const [cluster, expected] of [
    [
      ['10.244.0.0/16', 'fd00::/16'],
      ['{ 10.244.0.0/16, 224.0.0.0/4 }', '{ fd00::/16, ff00::/8 }'],
    ],
    [['10.99.0.0/16'], ['{ 10.244.1.0/24, 10.99.0.0/16, 224.0.0.0/4 }', '{ fd00:1::/64, ff00::/8 }']],
    [
      ['10.244.1.128/25', '10.244.2.0/24'],
      ['{ 10.244.1.0/24, 10.244.2.0/24, 224.0.0.0/4 }', '{ fd00:1::/64, ff00::/8 }'],
    ],
    [
      ['10.244.0.0/16', '10.9.3.0/24', '10.9.0.0/16', '10.9.0.0/16', 'fd00:9::/64'],
      ['{ 10.244.0.0/16, 10.9.0.0/16, 224.0.0.0/4 }', '{ fd00:1::/64, fd00:9::/64, ff00::/8 }'],
    ],
    [[], ['{ 10.244.1.0/24, 224.0.0.0/4 }', '{ fd00:1::/64, ff00::/8 }']],
  ] as const)
    t.strictSame(rules([...cluster]), expected, `cluster ${cluster.join()}`);
});

t.test('tables that the plugins share with others go only when nobody keeps anything in them', async (t) => {
  const frame = { table: { name: 'podwire-hostport' } };
  t.ok(isIdleTable([frame, { map: { name: 'any4' } }, { set: { name: 'all4', elem: [] } }, { chain: {} }]));
  t.notOk(isIdleTable([frame, { map: { name: 'any4', elem: [['tcp', 80]] } }]));
  t.same(pluginTables[0].join(' '), hostPortTable, "portmap's own name for it");
});
