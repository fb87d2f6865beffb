// All chained plugins in one list, by lib/cni; and mixed with Debian's Go plugins, either way.
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseList } from '../../../lib/cni/conf.ts';
import { Cni } from '../../../lib/cni/runtime.ts';
import { ask, makeOutside, serveIn, stopServers } from './callers.ts';
import { bridgeConf, type Lab, makeLab, plugins } from './fixture.ts';

t.teardown(stopServers);

const dualIpam = (lab: Lab) => ({
  type: 'host-local',
  dataDir: join(lab.dir, 'leases'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
});

function listOf(lab: Lab, cniVersion: string) {
  const {
    cniVersion: _,
    name,
    ...bridge
  } = bridgeConf(lab, {
    ipam: dualIpam(lab),
    hairpinMode: true,
    ipMasq: true,
  });
  return parseList({
    cniVersion,
    name,
    plugins: [
      bridge,
      { type: 'tuning', dataDir: join(lab.dir, 'tuning'), mtu: 1400, sysctl: { 'net.core.somaxconn': '99' } },
      { type: 'firewall', ingressPolicy: 'same-bridge' },
      { type: 'portmap', capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ],
  });
}

const capabilityArgs = {
  portMappings: [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostPort: 8080, containerPort: 80, protocol: 'udp' },
  ],
  bandwidth: { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 },
};

/** What is left of attachments in the machine's namespace: links, elements with an owner, leases, former settings. */
const leftOf = (lab: Lab, id: string) => ({
  links: lab.links().filter((name) => name !== 'br0' && name !== 'up0'),
  leases: lab.leases('net'),
  owned: lab.inside(lab.host, ['nft', 'list', 'ruleset']).includes(id),
  former: existsSync(join(lab.dir, 'tuning', `${id}_eth0.json`)),
});
const nothing = { links: [], leases: [], owned: false, former: false };

const nodeDir = mkdtempSync(join(tmpdir(), 'podwire-chain-'));
t.teardown(() => rmSync(nodeDir, { recursive: true }));

for (const [form, version] of [
  ['compiled', '1.1.0'],
  ['compiled', '0.4.0'],
  ['node', '1.1.0'],
] as const)
  t.test(`all of them, ${form} form, ${version}`, async (t) => {
    const { outDir } = await plugins(form, form === 'node' ? nodeDir : undefined);
    const lab = await makeLab({ plugins: outDir });
    const outside = makeOutside(lab);
    const netns = lab.container();
    const cni = new Cni({ pluginDirs: [outDir], cacheDir: join(lab.dir, 'cache'), exec: lab.exec });
    const list = listOf(lab, version);
    const key = { containerId: netns, ifname: 'eth0' };
    const result = await cni.addNetworkList(list, { ...key, netns: `/run/netns/${netns}`, capabilityArgs });
    t.equal(result.interfaces?.length, 4, 'bridge, pair, and the device of bandwidth');
    if (version === '1.1.0') t.equal(result.interfaces?.[2]?.mtu, 1400, 'as tuning made it');
    const stop = await serveIn(netns, 80, 'pod');
    t.match(ask(outside, { address: '192.0.2.1', port: 8080 }), 'pod 192.0.2.2');
    t.match(ask(lab.host, { address: '127.0.0.1', port: 8080, protocol: 'udp' }), /^pod /);
    await cni.checkNetworkList(list, { ...key, netns: `/run/netns/${netns}` });
    await cni.getStatus(list);
    await cni.gcNetworkList(list, [key]);
    t.match(ask(outside, { address: '192.0.2.1', port: 8080 }), 'pod 192.0.2.2', 'GC keeps what is valid');
    stop();
    if (version === '1.1.0' && form === 'compiled') {
      // The runtime has forgotten everything, and the container is gone: GC of the plugins alone.
      rmSync(join(lab.dir, 'cache'), { recursive: true });
      await cni.gcNetworkList(list, []);
    } else await cni.delNetworkList(list, key);
    t.strictSame(leftOf(lab, netns), nothing);
    await cni.delNetworkList(list, key);
    lab.close();
  });

const go = '/usr/lib/cni';
const noGo = existsSync(join(go, 'portmap'))
  ? false
  : `${go} has no portmap: apt-get install containernetworking-plugins`;

for (const theirs of [
  ['bridge', 'host-local'],
  ['portmap', 'firewall', 'tuning', 'bandwidth'],
])
  t.test(`Debian's ${theirs.join(', ')} among ours`, { skip: noGo }, async (t) => {
    const lab = await makeLab();
    const outside = makeOutside(lab);
    const netns = lab.container();
    const folder = mkdtempSync(join(lab.dir, 'mixed-'));
    for (const type of ['bridge', 'host-local', 'portmap', 'firewall', 'tuning', 'bandwidth'])
      symlinkSync(theirs.includes(type) ? join(go, type) : join(lab.plugins, type), join(folder, type));
    const cni = new Cni({ pluginDirs: [folder], cacheDir: join(lab.dir, 'cache'), exec: lab.exec });
    const list = listOf(lab, '1.0.0');
    const key = { containerId: netns, ifname: 'eth0' };
    await cni.addNetworkList(list, { ...key, netns: `/run/netns/${netns}`, capabilityArgs });
    const stop = await serveIn(netns, 80, 'pod');
    t.match(ask(outside, { address: '192.0.2.1', port: 8080 }), 'pod 192.0.2.2');
    t.match(ask(lab.host, { address: '127.0.0.1', port: 8080 }), /^pod /);
    t.equal(lab.ip(netns, 'link', 'show', 'dev', 'eth0')[0].mtu, 1400);
    if (theirs.includes('portmap'))
      t.comment(
        "no CHECK: that of Go's portmap 1.1.1 looks for IPv4 rules in IPv6's table, and fails where all is well",
      );
    else await cni.checkNetworkList(list, { ...key, netns: `/run/netns/${netns}` });
    stop();
    await cni.delNetworkList(list, key);
    const { links, leases, former } = leftOf(lab, netns);
    t.strictSame({ links, leases, former }, { links: [], leases: [], former: false });
    lab.close();
  });
