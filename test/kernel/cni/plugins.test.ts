// Each plugin, each verb, each version, against real namespaces, in both forms (compiled and Node).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { bridgeConf, type Conf, type Lab, makeLab, plugins, readLease } from './fixture.ts';

const dualIpam = (lab: Lab) => ({
  type: 'host-local',
  dataDir: join(lab.dir, 'leases'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
});
const addressesOf = (lab: Lab, netns: string, dev: string): string[] =>
  (lab.ip(netns, 'addr', 'show', 'dev', dev)[0].addr_info as Array<{ local: string; prefixlen: number }>).map(
    (one) => `${one.local}/${one.prefixlen}`,
  );

const nodeDir = mkdtempSync(join(tmpdir(), 'podwire-cni-node-'));
t.teardown(() => rmSync(nodeDir, { recursive: true }));

for (const form of ['compiled', 'node'] as const) {
  const versions = form === 'compiled' ? specVersions : (['1.1.0'] as const);
  t.test(`${form} form`, async (t) => {
    const { outDir } = await plugins(form, form === 'node' ? nodeDir : undefined);
    for (const version of versions)
      t.test(`bridge + host-local ${version}`, (t) => bridgeRound(t, { outDir, version }));
    for (const version of versions)
      t.test(`loopback ${version}`, (t) => loopbackRound(t, { outDir, version }));
    for (const version of versions)
      t.test(`host-local alone ${version}`, (t) => hostLocalRound(t, { outDir, version }));
  });
}

interface Round {
  readonly outDir: string;
  readonly version: string;
}

async function bridgeRound(t: Tap, { outDir, version }: Round): Promise<void> {
  const lab = await makeLab({ plugins: outDir });
  const netns = lab.container();
  const conf = bridgeConf(lab, { cniVersion: version, hairpinMode: true, ipam: dualIpam(lab) });
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web';

  const added = await lab.call('ADD', conf, { netns, args });
  t.ok(added.ok, 'ADD', { found: added.json });
  const [bridge, port, inner] = added.json.interfaces;
  t.match(added.json, {
    cniVersion: version,
    ips: [
      { address: '10.88.0.2/24', gateway: '10.88.0.1', interface: 2 },
      { address: 'fd00:88::2/64', interface: 2 },
    ],
  });
  t.equal(added.json.ips[0].version, version < '1' ? '4' : undefined);
  t.equal(inner.sandbox, `/run/netns/${netns}`);

  const [eth0] = lab.ip(netns, 'addr', 'show', 'dev', 'eth0');
  t.equal(eth0.address, inner.mac, 'the MAC of the result is the real one');
  t.ok(
    eth0.addr_info.every((one: { tentative?: boolean; flags?: string[] }) => !one.tentative),
    'no address waits for duplicate detection',
  );
  t.ok(
    addressesOf(lab, netns, 'eth0').includes('10.88.0.2/24') &&
      addressesOf(lab, netns, 'eth0').includes('fd00:88::2/64'),
  );
  t.match(lab.ip(netns, 'route', 'show', 'default'), [{ gateway: '10.88.0.1', dev: 'eth0' }]);
  t.match(lab.ip(netns, '-6', 'route', 'show', 'default'), [{ gateway: 'fd00:88::1', dev: 'eth0' }]);
  const [veth] = lab.ip(lab.host, 'link', 'show', 'dev', port.name);
  t.match(veth, {
    address: port.mac,
    master: 'br0',
    ifalias: 'podwire: default/web eth0',
    linkinfo: { info_slave_data: { hairpin: true } },
  });
  const [br0] = lab.ip(lab.host, 'link', 'show', 'dev', 'br0');
  t.equal(br0.address, bridge.mac);
  t.ok(addressesOf(lab, lab.host, 'br0').includes('10.88.0.1/24'));
  t.equal(
    lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/ipv6/conf/br0/accept_ra']),
    '1\n0\n',
  );
  t.equal(readLease(lab, 'net', '10.88.0.2'), 'c1\r\neth0');

  if (version !== '0.3.1') await checkRound(t, { lab, conf: { ...conf, prevResult: added.json }, netns });

  t.ok((await lab.call('DEL', { ...conf, prevResult: added.json }, { netns, args })).ok, 'DEL');
  t.strictSame(lab.leases('net'), []);
  t.strictSame(lab.links(), ['br0']);
  t.notOk(lab.ip(netns, 'link', 'show').some((link: { ifname: string }) => link.ifname === 'eth0'));
  t.ok((await lab.call('DEL', conf, { netns })).ok, 'DEL again, without result');
  t.ok((await lab.call('DEL', conf)).ok, 'DEL without namespace');
  t.ok((await lab.call('DEL', conf, { netns: 'no-such-namespace' })).ok, 'DEL with a namespace that is gone');
  const [after] = lab.ip(lab.host, 'link', 'show', 'dev', 'br0');
  t.equal(after.address, bridge.mac, "the bridge's MAC does not change with its ports");
  lab.close();
}

async function checkRound(
  t: Tap,
  { lab, conf, netns }: { lab: Lab; conf: Conf; netns: string },
): Promise<void> {
  t.ok((await lab.call('CHECK', conf, { netns })).ok, 'CHECK when well');
  lab.inside(netns, ['ip', 'route', 'del', 'default']);
  t.match((await lab.call('CHECK', conf, { netns })).json, { code: 110, msg: /no route to 0\.0\.0\.0\/0/ });
  lab.inside(netns, ['ip', 'addr', 'del', '10.88.0.2/24', 'dev', 'eth0']);
  t.match((await lab.call('CHECK', conf, { netns })).json, {
    code: 110,
    msg: /lacks address 10\.88\.0\.2\/24/,
  });
}

async function loopbackRound(t: Tap, { outDir, version }: Round): Promise<void> {
  const lab = await makeLab({ plugins: outDir });
  const netns = lab.container();
  const conf = { cniVersion: version, name: 'lo', type: 'loopback' };
  const flags = (): string[] => lab.ip(netns, 'link', 'show', 'dev', 'lo')[0].flags;
  t.notOk(flags().includes('UP'));
  const added = await lab.call('ADD', conf, { netns, ifname: 'lo' });
  t.match(added.json, {
    cniVersion: version,
    interfaces: [{ name: 'lo' }],
    ips: [{ address: '127.0.0.1/8' }],
  });
  t.ok(flags().includes('UP'));
  if (version !== '0.3.1')
    t.ok((await lab.call('CHECK', { ...conf, prevResult: added.json }, { netns, ifname: 'lo' })).ok);
  const chained = await lab.call(
    'ADD',
    {
      ...conf,
      prevResult: {
        cniVersion: version,
        ips: [{ ...(version < '1' ? { version: '4' } : {}), address: '10.0.0.1/8' }],
      },
    },
    { netns, ifname: 'lo' },
  );
  t.match(chained.json, { ips: [{ address: '10.0.0.1/8' }] }, 'in a chain it passes on what came');
  for (const name of [netns, netns, 'no-such-namespace', ''])
    t.ok((await lab.call('DEL', conf, { netns: name, ifname: 'lo' })).ok);
  t.notOk(flags().includes('UP'));
  lab.close();
}

async function hostLocalRound(t: Tap, { outDir, version }: Round): Promise<void> {
  const lab = await makeLab({ plugins: outDir });
  const conf = { cniVersion: version, name: 'net', type: 'host-local', ipam: dualIpam(lab) };
  const netns = '/run/netns/not-looked-at';
  const added = await lab.call('ADD', conf, { netns });
  t.match(added.json, {
    cniVersion: version,
    ips: [{ address: '10.88.0.2/24' }, { address: 'fd00:88::2/64' }],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
  t.notOk('interfaces' in added.json, 'IPAM knows no interfaces');
  t.match((await lab.call('ADD', conf, { netns })).json, { code: 101 });
  const asked = await lab.call('ADD', conf, { netns, id: 'c2', args: 'IP=10.88.0.77' });
  t.equal(asked.json.ips[0].address, '10.88.0.77/24');
  t.match((await lab.call('ADD', conf, { netns, id: 'c3', args: 'IP=10.88.0.77' })).json, {
    code: 102,
    msg: /10\.88\.0\.77/,
  });
  t.strictSame(lab.leases('net'), ['10.88.0.2', '10.88.0.77', 'fd00:88::2', 'fd00:88::3']);
  if (version === '1.1.0') {
    t.ok((await lab.call('STATUS', conf)).ok);
    const valid = [{ containerID: 'c2', ifname: 'eth0' }];
    t.ok((await lab.call('GC', { ...conf, 'cni.dev/valid-attachments': valid })).ok);
    t.strictSame(lab.leases('net'), ['10.88.0.77', 'fd00:88::3']);
    const tiny = {
      ...conf,
      name: 'tiny',
      ipam: { ...dualIpam(lab), ranges: [[{ subnet: '10.89.0.0/30' }]] },
    };
    t.ok((await lab.call('ADD', tiny, { netns })).ok);
    t.match((await lab.call('STATUS', tiny)).json, { code: 50, msg: /10\.89\.0\.1-10\.89\.0\.2/ });
    t.match((await lab.call('ADD', tiny, { netns, id: 'c9' })).json, {
      code: 100,
      msg: 'no free address in range 10.89.0.1-10.89.0.2',
    });
  }
  for (const id of ['c1', 'c2', 'c1', 'never']) t.ok((await lab.call('DEL', conf, { id })).ok);
  t.strictSame(lab.leases('net'), []);
  lab.close();
}

type Tap = Test;
