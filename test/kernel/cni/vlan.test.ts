// What needs VLANs in the kernel: the plugin vlan, and bridge with vlan and vlanTrunk. Where the kernel has none, each
// test says so and is skipped; test/vm/cni.test.ts runs this file on a kernel that has.
import { join } from 'node:path';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { kernelHas, lackOf } from '../../../lib/kernel/link-info.ts';
import { ask, listen } from './echo.ts';
import { bridgeConf, type Conf, type Lab, makeLab } from './fixture.ts';
import { failedAdd, round } from './round.ts';

const noVlan = (await kernelHas('vlan')) ? false : lackOf('vlan');
const noFilter = (await kernelHas('bridge vlans')) ? false : lackOf('bridge vlans');

/** A machine whose eth0 is a trunk; behind it a host in VLANs 100 and 200. */
async function trunk(): Promise<{ lab: Lab; far: string }> {
  const lab = await makeLab();
  const far = lab.container();
  lab.inside(
    lab.host,
    ['ip', '-batch', '-'],
    `link add eth0 type veth peer name eth0 netns ${far}\nlink set eth0 up\n`,
  );
  const lines = [100, 200].flatMap((id) => [
    `link add link eth0 name v${id} type vlan id ${id}`,
    `addr add 10.${id}.0.1/24 dev v${id}`,
    `addr add fd00:${id}::1/64 dev v${id} nodad`,
    `link set v${id} up`,
  ]);
  lab.inside(far, ['ip', '-batch', '-'], `link set eth0 up\n${lines.join('\n')}\n`);
  return { lab, far };
}

const vlanConf = (lab: Lab, more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'office',
  type: 'vlan',
  master: 'eth0',
  vlanId: 100,
  ipam: {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [[{ subnet: '10.100.0.0/24' }], [{ subnet: 'fd00:100::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }],
  },
  ...more,
});

for (const cniVersion of specVersions)
  t.test(`vlan ${cniVersion}`, { skip: noVlan }, async (t) => {
    const { lab, far } = await trunk();
    const netns = lab.container();
    const server = await listen(far);
    await round(t, {
      lab,
      conf: vlanConf(lab, { cniVersion, mtu: 1400 }),
      netns,
      meanwhile: async (result) => {
        t.equal(await ask(netns, { kind: 'tcp', to: '10.100.0.1' }), '10.100.0.2 4');
        t.equal(await ask(netns, { kind: 'tcp', to: 'fd00:100::1' }), 'fd00:100::2 4');
        const [link] = lab.ip(netns, 'link', 'show', 'dev', 'eth0');
        t.match(link, { mtu: 1400, address: result.interfaces[0].mac, linkinfo: { info_data: { id: 100 } } });
      },
    });
    await server.close();
    t.strictSame(lab.close(), ['eth0']);
  });

t.test('vlan: the other VLAN, a second container, failures', { skip: noVlan }, async (t) => {
  const { lab, far } = await trunk();
  const [netns, other] = [lab.container(), lab.container()];
  const server = await listen(far);
  const conf = vlanConf(lab);
  const added = await lab.call('ADD', { ...conf, vlanId: 200 }, { netns });
  t.ok(added.ok);
  t.equal(
    await ask(netns, { kind: 'udp', to: '10.100.0.1', ms: 600 }),
    'timeout',
    'the right address in the wrong VLAN',
  );
  const wrong = { ...conf, prevResult: added.json };
  t.match((await lab.call('CHECK', wrong, { netns })).json, { code: 110, msg: /in VLAN 200, not 100/ });
  t.match((await lab.call('ADD', { ...conf, vlanId: 200 }, { netns: other, id: 'c2' })).json, { code: 120 });
  t.strictSame(lab.leases('office'), ['10.100.0.2', 'fd00:100::2'], 'the second one left nothing');
  t.ok((await lab.call('DEL', conf, { netns })).ok);
  await failedAdd(t, { lab, conf: { ...conf, mtu: 9000 }, netns, code: 7, msg: /^mtu: / });
  const badRoute = { ...(conf.ipam as object), routes: [{ dst: '10.9.0.0/16', gw: '203.0.113.9' }] };
  await failedAdd(t, { lab, conf: { ...conf, ipam: badRoute }, netns, code: 120 });
  await server.close();
  t.strictSame(lab.close(), ['eth0']);
});

for (const cniVersion of specVersions)
  t.test(`bridge with vlan ${cniVersion}`, { skip: noFilter }, async (t) => {
    const lab = await makeLab();
    const [a, b, c] = [lab.container(), lab.container(), lab.container()];
    const conf = bridgeConf(lab, { cniVersion, vlan: 100, macspoofchk: true });
    const inOther = { ...conf, vlan: 200, isGateway: false };
    t.ok((await lab.call('ADD', conf, { netns: b, id: 'b' })).ok);
    t.ok((await lab.call('ADD', inOther, { netns: c, id: 'c' })).ok);
    const servers = await Promise.all([b, c, lab.host].map(listen));
    await round(t, {
      lab,
      conf: {
        ...conf,
        name: 'more',
        ipam: { ...(conf.ipam as object), ranges: [[{ subnet: '10.88.0.0/24', rangeStart: '10.88.0.50' }]] },
      },
      netns: a,
      meanwhile: async (result) => {
        t.equal(await ask(a, { kind: 'tcp', to: '10.88.0.2' }), '10.88.0.50 4', 'the same VLAN');
        t.equal(await ask(a, { kind: 'udp', to: '10.88.0.3', ms: 600 }), 'timeout', 'another one');
        t.equal(await ask(a, { kind: 'tcp', to: '10.88.0.1' }), '10.88.0.50 4', 'the gateway');
        t.equal(result.interfaces[3].name, 'br0.100');
        const port = result.interfaces[1].name;
        const rows = JSON.parse(lab.inside(lab.host, ['bridge', '-j', 'vlan', 'show', 'dev', port]));
        t.match(rows[0].vlans, [{ vlan: 100, flags: ['PVID', 'Egress Untagged'] }]);
        t.equal(rows[0].vlans.length, 1, 'no default VLAN');
      },
    });
    for (const server of servers) await server.close();
    t.ok((await lab.call('DEL', conf, { netns: b, id: 'b' })).ok);
    t.ok((await lab.call('DEL', inOther, { netns: c, id: 'c' })).ok);
    const left = lab.close();
    t.strictSame(left.filter((name) => !/^vlan[0-9a-f]{11}$/.test(name)).sort(), ['br0', 'br0.100']);
  });

t.test('bridge with vlanTrunk', { skip: noFilter || noVlan }, async (t) => {
  const lab = await makeLab();
  const [a, c] = [lab.container(), lab.container()];
  t.ok(
    (await lab.call('ADD', bridgeConf(lab), { netns: c, id: 'first' })).ok,
    'a bridge that filters nothing',
  );
  t.ok((await lab.call('DEL', bridgeConf(lab), { netns: c, id: 'first' })).ok);
  const conf = bridgeConf(lab, {
    isGateway: false,
    ipam: {},
    vlanTrunk: [{ minID: 100, maxID: 102 }, { id: 200 }],
  });
  const added = await lab.call('ADD', conf, { netns: a });
  t.ok(added.ok, 'ADD', { found: added.json });
  const withResult = { ...conf, prevResult: added.json };
  t.ok((await lab.call('CHECK', withResult, { netns: a })).ok, 'CHECK');
  const access = bridgeConf(lab, { isGateway: false, vlan: 200, preserveDefaultVlan: true });
  const near = await lab.call('ADD', access, { netns: c, id: 'c' });
  t.ok(near.ok);
  const server = await listen(c);
  lab.inside(
    a,
    ['ip', '-batch', '-'],
    'link add link eth0 name v200 type vlan id 200\naddr add 10.88.0.99/24 dev v200\nlink set v200 up\n',
  );
  t.equal(
    await ask(a, { kind: 'tcp', to: near.json.ips[0].address.split('/')[0] }),
    '10.88.0.99 4',
    'tagged through the trunk',
  );
  const vlans = (port: string) =>
    JSON.parse(lab.inside(lab.host, ['bridge', '-j', '-compressvlans', 'vlan', 'show', 'dev', port]))[0]
      .vlans;
  const port = added.json.interfaces[1].name;
  t.match(vlans(port), [{ vlan: 1 }, { vlan: 100, vlanEnd: 102 }, { vlan: 200 }]);
  lab.inside(lab.host, ['bridge', 'vlan', 'del', 'dev', port, 'vid', '101-102']);
  t.match((await lab.call('CHECK', withResult, { netns: a })).json, {
    code: 110,
    msg: /is not in VLAN 100-102/,
  });
  await server.close();
  for (const _ of [1, 2]) t.ok((await lab.call('DEL', conf, { netns: a })).ok);
  t.ok((await lab.call('DEL', access, { netns: c, id: 'c' })).ok);
  t.strictSame(lab.close(), ['br0']);
});
