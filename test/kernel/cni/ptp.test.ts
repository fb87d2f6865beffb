// ptp against real namespaces: container to container through the machine, both families, masquerading, MTU, failures.
import { join } from 'node:path';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { ask, listen } from './echo.ts';
import { bridgeConf, type Conf, type Lab, makeLab } from './fixture.ts';
import { failedAdd, round } from './round.ts';

const ptpConf = (lab: Lab, more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'ptp',
  ipam: {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
  ...more,
});

for (const cniVersion of specVersions)
  t.test(`ptp ${cniVersion}`, async (t) => {
    const lab = await makeLab();
    const [a, b] = [lab.container(), lab.container()];
    const conf = ptpConf(lab, { cniVersion, mtu: 1400 });
    t.ok((await lab.call('ADD', conf, { netns: b, id: 'b' })).ok);
    const server = await listen(b);
    await round(t, {
      lab,
      conf: {
        ...conf,
        name: 'other',
        ipam: {
          ...(conf.ipam as object),
          ranges: [[{ subnet: '10.89.0.0/24' }], [{ subnet: 'fd00:89::/64' }]],
        },
      },
      netns: a,
      meanwhile: async (result) => {
        t.equal(
          await ask(a, { kind: 'tcp', to: '10.88.0.2', size: 100_000 }),
          '10.89.0.2 100000',
          'real source',
        );
        t.equal(
          await ask(a, { kind: 'udp', to: '10.88.0.2', size: 1400 - 28 }),
          '10.89.0.2 1372',
          'a full packet',
        );
        t.equal(await ask(a, { kind: 'tcp', to: 'fd00:88::2', size: 100_000 }), 'fd00:89::2 100000');
        t.equal(await ask(a, { kind: 'udp', to: 'fd00:88::2', size: 1400 - 48 }), 'fd00:89::2 1352');
        const [veth] = lab.ip(lab.host, 'addr', 'show', 'dev', result.interfaces[0].name);
        t.equal(veth.address, result.interfaces[0].mac);
        t.equal(veth.mtu, 1400);
        t.match(
          lab.ip(a, 'route', 'show', '10.89.0.0/24'),
          [{ gateway: '10.89.0.1' }],
          'its own net, too, is routed',
        );
      },
    });
    await server.close();
    t.ok((await lab.call('DEL', conf, { netns: b, id: 'b' })).ok);
    t.strictSame(lab.close(), []);
  });

t.test('containers of one network reach each other through the machine', async (t) => {
  const lab = await makeLab();
  const [a, b] = [lab.container(), lab.container()];
  const conf = ptpConf(lab);
  for (const [id, netns] of [
    ['a', a],
    ['b', b],
  ] as const)
    t.ok((await lab.call('ADD', conf, { netns, id })).ok);
  const server = await listen(b);
  t.equal(await ask(a, { kind: 'tcp', to: '10.88.0.3' }), '10.88.0.2 4');
  t.equal(await ask(a, { kind: 'tcp', to: 'fd00:88::3' }), 'fd00:88::2 4');
  t.equal(await ask(lab.host, { kind: 'udp', to: '10.88.0.3' }), '10.88.0.1 4', 'from the machine');
  t.equal(lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/ip_forward']), '1\n');
  await server.close();
  const stale = { ...conf, 'cni.dev/valid-attachments': [{ containerID: 'b', ifname: 'eth0' }] };
  t.ok((await lab.call('GC', stale)).ok);
  t.equal(lab.links().length, 1, "GC took a's pair");
  t.strictSame(lab.leases('net'), ['10.88.0.3', 'fd00:88::3']);
  t.ok((await lab.call('DEL', conf, { id: 'b' })).ok, 'DEL without namespace takes the pair all the same');
  t.strictSame(lab.close(), []);
});

t.test('ipMasq', async (t) => {
  const lab = await makeLab();
  const [a, outside] = [lab.container(), lab.container()];
  lab.inside(
    lab.host,
    ['ip', '-batch', '-'],
    `link add up0 type veth peer name eth0 netns ${outside}\naddr add 192.0.2.1/24 dev up0\nlink set up0 up\n`,
  );
  lab.inside(outside, ['ip', '-batch', '-'], 'addr add 192.0.2.2/24 dev eth0\nlink set eth0 up\n');
  const server = await listen(outside);
  const conf = ptpConf(lab, { ipMasq: true });
  t.ok((await lab.call('ADD', conf, { netns: a })).ok);
  t.equal(await ask(a, { kind: 'tcp', to: '192.0.2.2' }), '192.0.2.1 4', "the machine's address");
  t.ok((await lab.call('DEL', conf, { netns: a })).ok);
  t.notMatch(lab.inside(lab.host, ['nft', 'list', 'ruleset']), /10\.88\.0\.2/);
  await server.close();
  t.strictSame(lab.close(), ['up0']);
});

t.test('failures', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const conf = ptpConf(lab);
  const noGateway = { type: 'static', addresses: [{ address: '10.88.0.9/24' }] };
  await failedAdd(t, { lab, conf: { ...conf, ipam: noGateway }, netns, code: 7, msg: /without a gateway/ });
  const badRoute = { ...(conf.ipam as object), routes: [{ dst: '10.9.0.0/16', gw: '203.0.113.9' }] };
  await failedAdd(t, { lab, conf: { ...conf, ipam: badRoute }, netns, code: 120 });
  lab.inside(netns, ['ip', 'link', 'add', 'eth0', 'type', 'bridge']);
  await failedAdd(t, { lab, conf, netns, code: 111, msg: /eth0 exists already/ });
  lab.inside(netns, ['ip', 'link', 'del', 'eth0']);
  const added = await lab.call('ADD', conf, { netns });
  lab.inside(lab.host, ['ip', 'link', 'set', 'dev', added.json.interfaces[0].name, 'down']);
  t.match((await lab.call('CHECK', { ...conf, prevResult: added.json }, { netns })).json, {
    code: 110,
    msg: /machine's end veth\w+ is down/,
  });
  t.ok((await lab.call('DEL', conf, { netns })).ok);
  t.strictSame(lab.close(), []);
});

for (const type of ['bridge', 'ptp'])
  t.test(`${type}: an MTU too small for IPv6 carries IPv4`, async (t) => {
    const lab = await makeLab();
    const netns = lab.container();
    const { ipam } = bridgeConf(lab);
    const conf = type === 'ptp' ? ptpConf(lab, { ipam, mtu: 1230 }) : bridgeConf(lab, { mtu: 1230 });
    const added = await lab.call('ADD', conf, { netns });
    t.ok(added.ok, 'ADD', { found: added.json });
    const [eth0] = lab.ip(netns, 'addr', 'show', 'dev', 'eth0');
    t.match(eth0, { mtu: 1230, addr_info: [{ local: '10.88.0.2' }] });
    t.ok((await lab.call('DEL', conf, { netns })).ok);
    t.strictSame(lab.close(), type === 'ptp' ? [] : ['br0']);
  });
