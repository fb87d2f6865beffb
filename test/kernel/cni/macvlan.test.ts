// macvlan and vlan against real namespaces: a container in the LAN behind a link of the machine, told by a host of that
// LAN; each mode; a parent in the container; failures; a kernel without vlan links.
import { join } from 'node:path';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { kernelHas } from '../../../lib/kernel/link-info.ts';
import { ask, listen } from './echo.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';
import { failedAdd, round } from './round.ts';

const macvlanConf = (lab: Lab, more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'lan',
  type: 'macvlan',
  master: 'eth0', // the same name as in the container: the kernel must not mix them up
  ipam: {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [
      [{ subnet: '192.0.2.0/24', rangeStart: '192.0.2.10' }],
      [{ subnet: '2001:db8::/64', rangeStart: '2001:db8::10' }],
    ],
    routes: [{ dst: '0.0.0.0/0' }],
  },
  ...more,
});

/** A machine with a link `eth0`, and a host of the LAN behind it. */
async function lan(): Promise<{ lab: Lab; far: string }> {
  const lab = await makeLab();
  const far = lab.container();
  const peer = `type veth peer name eth0 netns ${far}`;
  lab.inside(
    lab.host,
    ['ip', '-batch', '-'],
    `link add eth0 ${peer}\nlink set eth0 up\nroute add default dev eth0\n`,
  );
  const addresses =
    'addr add 192.0.2.1/24 dev eth0\naddr add 2001:db8::1/64 dev eth0 nodad\nlink set eth0 up\n';
  lab.inside(far, ['ip', '-batch', '-'], addresses);
  return { lab, far };
}

for (const cniVersion of specVersions)
  t.test(`macvlan ${cniVersion}`, async (t) => {
    const { lab, far } = await lan();
    const netns = lab.container();
    const server = await listen(far);
    await round(t, {
      lab,
      conf: macvlanConf(lab, {
        cniVersion,
        mtu: 1400,
        bcqueuelen: 100,
        runtimeConfig: { mac: '02:00:00:00:00:77' },
      }),
      netns,
      meanwhile: async (result) => {
        t.equal(await ask(netns, { kind: 'tcp', to: '192.0.2.1' }), '192.0.2.10 4');
        t.equal(await ask(netns, { kind: 'tcp', to: '2001:db8::1' }), '2001:db8::10 4');
        t.equal(lab.ip(far, 'neigh', 'show', '192.0.2.10')[0].lladdr, '02:00:00:00:00:77');
        const [link] = lab.ip(netns, 'link', 'show', 'dev', 'eth0');
        t.match(link, {
          address: '02:00:00:00:00:77',
          mtu: 1400,
          linkinfo: { info_data: { mode: 'bridge' } },
        });
        t.strictSame(
          result.interfaces[0],
          cniVersion === '1.1.0'
            ? { name: 'eth0', mac: '02:00:00:00:00:77', mtu: 1400, sandbox: `/run/netns/${netns}` }
            : { name: 'eth0', mac: '02:00:00:00:00:77', sandbox: `/run/netns/${netns}` },
        );
        t.strictSame(lab.links(), ['eth0']);
      },
    });
    await server.close();
    t.strictSame(lab.close(), ['eth0']);
  });

for (const mode of ['private', 'vepa', 'passthru'])
  t.test(`mode ${mode}, parent by the default route`, async (t) => {
    const { lab, far } = await lan();
    const netns = lab.container();
    const server = await listen(far);
    await round(t, {
      lab,
      conf: macvlanConf(lab, { mode, master: '' }),
      netns,
      meanwhile: async (result) => {
        t.equal(await ask(netns, { kind: 'udp', to: '192.0.2.1' }), '192.0.2.10 4');
        const [link] = lab.ip(netns, 'link', 'show', 'dev', 'eth0');
        t.equal(link.linkinfo.info_data.mode, mode);
        t.equal(link.address, result.interfaces[0].mac);
      },
    });
    await server.close();
    t.strictSame(lab.close(), ['eth0']);
  });

t.test('no addresses; and a parent in the container', async (t) => {
  const { lab } = await lan();
  const netns = lab.container();
  const plain = macvlanConf(lab, { ipam: {} });
  t.ok((await lab.call('ADD', plain, { netns })).ok);
  const inner = macvlanConf(lab, { master: 'eth0', linkInContainer: true, ipam: {} });
  const added = await lab.call('ADD', inner, { netns, ifname: 'eth1' });
  t.ok(added.ok, 'ADD', { found: added.json });
  t.ok((await lab.call('CHECK', { ...inner, prevResult: added.json }, { netns, ifname: 'eth1' })).ok);
  for (const _ of [1, 2]) t.ok((await lab.call('DEL', inner, { netns, ifname: 'eth1' })).ok);
  t.ok((await lab.call('DEL', plain, { netns })).ok);
  t.strictSame(
    lab.ip(netns, 'link', 'show').map((link: { ifname: string }) => link.ifname),
    ['lo'],
  );
  t.strictSame(lab.close(), ['eth0']);
});

t.test('failures', async (t) => {
  const { lab } = await lan();
  const netns = lab.container();
  const conf = macvlanConf(lab);
  const absent = { ...conf, master: 'nope' };
  await failedAdd(t, { lab, conf: absent, netns, code: 7, msg: /^master: no link nope on this machine/ });
  t.match((await lab.call('STATUS', absent)).json, { code: 50, msg: /^master: no link nope/ });
  await failedAdd(t, { lab, conf: { ...conf, mtu: 9000 }, netns, code: 7, msg: /^mtu: .*1500/ });
  const badRoute = { ...(conf.ipam as object), routes: [{ dst: '10.9.0.0/16', gw: '203.0.113.9' }] };
  await failedAdd(t, { lab, conf: { ...conf, ipam: badRoute }, netns, code: 120 });
  lab.inside(netns, ['ip', 'link', 'add', 'eth0', 'type', 'bridge']);
  await failedAdd(t, { lab, conf, netns, code: 111, msg: /eth0 exists already/ });
  const result = { interfaces: [{ name: 'eth0', sandbox: `/run/netns/${netns}` }] };
  const plain = { ...conf, ipam: {}, prevResult: { cniVersion: '1.1.0', ...result } };
  t.match((await lab.call('CHECK', plain, { netns })).json, {
    code: 110,
    msg: /eth0 is no macvlan \(bridge\)/,
  });
  lab.inside(lab.host, ['ip', 'route', 'del', 'default']);
  lab.inside(netns, ['ip', 'link', 'del', 'eth0']);
  await failedAdd(t, {
    lab,
    conf: { ...conf, master: '' },
    netns,
    code: 7,
    msg: /no default route on this machine/,
  });
  t.strictSame(lab.close(), ['eth0']);
});

t.test('vlan on a kernel without it', async (t) => {
  if (await kernelHas('vlan')) {
    t.comment('this kernel has vlan links: test/vm/cni.test.ts shows that they work');
    return;
  }
  const { lab } = await lan();
  const netns = lab.container();
  const conf = { ...macvlanConf(lab), type: 'vlan', vlanId: 100 };
  const msg = /^vlan: this kernel has no vlan links \(CONFIG_VLAN_8021Q\)/;
  t.match((await lab.call('STATUS', conf)).json, { code: 50, msg });
  await failedAdd(t, { lab, conf, netns, code: 50, msg });
  for (const _ of [1, 2]) t.ok((await lab.call('DEL', conf, { netns })).ok);
  t.ok((await lab.call('GC', { ...conf, 'cni.dev/valid-attachments': [] })).ok);
  t.match((await lab.call('ADD', { ...conf, master: '' }, { netns })).json, { code: 7, msg: /^master: / });
  t.strictSame(lab.close(), ['eth0']);
});
