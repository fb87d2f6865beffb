// lib/cni with our plugins as executables: whole chains over every version, DEL without any memory, many containers at once,
// a GC in the middle, and STATUS of a network that is full.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { plugins } from '../../../cni-plugins/registry.ts';
import { parseList } from '../../../lib/cni/conf.ts';
import { Cni } from '../../../lib/cni/runtime.ts';
import { specVersions } from '../../../lib/cni/types.ts';
import { type Lab, makeLab } from './fixture.ts';

const links = [
  { type: 'portmap', capabilities: { portMappings: true } },
  { type: 'firewall', ingressPolicy: 'open' },
  { type: 'bandwidth', capabilities: { bandwidth: true } },
  { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } },
].filter(({ type }) => Object.hasOwn(plugins, type));

const chain = (
  lab: Lab,
  more: object = {},
  ranges: object[][] = [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
) =>
  parseList({
    cniVersion: '1.1.0',
    name: 'net',
    ...more,
    plugins: [
      {
        type: 'bridge',
        bridge: 'br0',
        isGateway: true,
        ipMasq: true,
        ipam: {
          type: 'host-local',
          dataDir: join(lab.dir, 'leases'),
          ranges,
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      ...links,
    ],
  });

const who = (netns: string, containerId = netns) => ({
  containerId,
  ifname: 'eth0',
  netns: `/run/netns/${netns}`,
  capabilityArgs: {
    portMappings: [
      { hostPort: 20_000 + Number(/\d+$/.exec(netns)?.[0] ?? 0), containerPort: 80, protocol: 'tcp' },
    ],
    bandwidth: { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 },
  },
});

/** What is left beside the bridge. */
function rest(lab: Lab): string[] {
  const rules = lab.inside(lab.host, ['nft', 'list', 'ruleset']).split('\n');
  return [
    ...lab.links().filter((name) => name !== 'br0'),
    ...lab.leases('net'),
    ...rules.filter((line) => /10\.88\.0\.[2-9]|fd00:88::[2-9]|dport 200/.test(line)),
    ...readdirSync(join(lab.dir, 'cache/results')),
  ];
}
const cniOf = (lab: Lab) =>
  new Cni({ pluginDirs: [lab.plugins], cacheDir: join(lab.dir, 'cache'), exec: lab.exec });

for (const cniVersion of specVersions)
  t.test(`a chain of ${links.length + 1} plugins in ${cniVersion}`, async (t) => {
    const lab = await makeLab();
    const cni = cniOf(lab);
    const netns = lab.container();
    const list = chain(lab, { cniVersion });
    t.strictSame(
      (await cni.validateNetworkList(list)).sort(),
      links.flatMap(({ capabilities = {} }: { capabilities?: object }) => Object.keys(capabilities)).sort(),
    );
    const result = await cni.addNetworkList(list, who(netns));
    t.strictSame(
      result.ips?.map(({ address }) => address),
      ['10.88.0.2/24', 'fd00:88::2/64'],
    );
    await cni.checkNetworkList(list, who(netns));
    await cni.getStatus(list);
    await cni.delNetworkList(list, { containerId: netns, ifname: 'eth0' });
    t.strictSame(rest(lab), [], 'DEL knows the rest from what was kept');
    await cni.delNetworkList(list, { containerId: netns, ifname: 'eth0' });

    await cni.addNetworkList(list, who(netns));
    rmSync(join(lab.dir, 'cache/results'), { recursive: true });
    await cni.delNetworkList(list, { containerId: netns, ifname: 'eth0' });
    await cni.addNetworkList(list, who(netns));
    await cni.delNetworkList(list, { containerId: netns, ifname: 'eth0' });
    t.strictSame(rest(lab), [], 'and without: nothing stands in the way of the next');
    lab.close();
  });

t.test('eight containers at once, and GC in the middle', async (t) => {
  const lab = await makeLab();
  const cni = cniOf(lab);
  const list = chain(lab);
  const names = Array.from({ length: 8 }, () => lab.container());
  const added = names.map((name) => cni.addNetworkList(list, who(name)));
  const gc = cni.gcNetworkList(
    list,
    names.slice(0, 3).map((containerId) => ({ containerId, ifname: 'eth0' })),
  );
  const results = await Promise.all(added);
  const ips = results.flatMap((one) => (one.ips ?? []).map(({ address }) => address));
  t.equal(new Set(ips).size, 16, 'all addresses are different');
  await gc;
  t.equal(lab.leases('net').length, 6, 'what is not valid is free again');
  for (const name of names.slice(0, 3)) await cni.checkNetworkList(list, who(name));
  await Promise.all(names.map((name) => cni.delNetworkList(list, who(name))));
  t.strictSame(rest(lab), []);
  lab.close();
});

t.test('a kept result that is lost: the plugins’ own GC frees what nobody remembers', async (t) => {
  const lab = await makeLab();
  const cni = cniOf(lab);
  const list = chain(lab);
  const [keep, lost] = [lab.container(), lab.container()];
  for (const name of [keep, lost]) await cni.addNetworkList(list, who(name));
  rmSync(join(lab.dir, 'cache/results'), { recursive: true });
  await cni.gcNetworkList(list, [{ containerId: keep, ifname: 'eth0' }]);
  t.equal(lab.leases('net').length, 2);
  t.equal(lab.links().filter((name) => name.startsWith('veth')).length, 1);
  await cni.gcNetworkList(list, []);
  await cni.addNetworkList(list, who(lost));
  await cni.delNetworkList(list, who(lost));
  t.strictSame(rest(lab), []);
  lab.close();
});

t.test('a network that is full', async (t) => {
  const lab = await makeLab();
  const cni = cniOf(lab);
  const list = chain(lab, {}, [[{ subnet: '10.88.0.0/30' }]]);
  const [one, two] = [lab.container(), lab.container()];
  await cni.getStatus(list);
  await cni.addNetworkList(list, who(one));
  await t.rejects(cni.getStatus(list), { cniCode: 50, message: /no free address/ });
  await t.rejects(cni.addNetworkList(list, who(two)), { cniCode: 100 } as never);
  await cni.delNetworkList(list, who(one));
  await cni.getStatus(list);
  t.strictSame(rest(lab), []);
  lab.close();
});
