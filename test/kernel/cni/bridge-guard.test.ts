// bridge: macspoofchk against real frames with wrong senders, disableContainerInterface, and what a kernel without VLAN
// filtering makes of vlan.
import { join } from 'node:path';
import t from 'tap';
import { kernelHas } from '../../../lib/kernel/link-info.ts';
import { bridgeConf, type Lab, makeLab } from './fixture.ts';
import { ask, listen } from './echo.ts';

const dual = (lab: Lab) => ({
  type: 'host-local',
  dataDir: join(lab.dir, 'leases'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
});
const tables = (lab: Lab): string => lab.inside(lab.host, ['nft', 'list', 'tables']);
const guards = (lab: Lab): string => lab.inside(lab.host, ['nft', 'list', 'table', 'bridge', 'podwire-cni']);

t.test('macspoofchk', async (t) => {
  const lab = await makeLab();
  const [a, b] = [lab.container(), lab.container()];
  const conf = bridgeConf(lab, { macspoofchk: true, ipam: dual(lab) });
  const added = await lab.call('ADD', conf, { netns: a, id: 'a' });
  t.ok(added.ok, 'ADD', { found: added.json });
  t.ok((await lab.call('ADD', conf, { netns: b, id: 'b' })).ok);
  const withResult = { ...conf, prevResult: added.json };
  t.ok((await lab.call('CHECK', withResult, { netns: a, id: 'a' })).ok, 'CHECK');
  const server = await listen(b);

  t.equal(await ask(a, { kind: 'tcp', to: '10.88.0.3' }), '10.88.0.2 4');
  t.equal(await ask(a, { kind: 'tcp', to: 'fd00:88::3' }), 'fd00:88::2 4');
  t.equal(await ask(a, { kind: 'udp', to: '10.88.0.3', size: 900 }), '10.88.0.2 900');

  const mac = lab.ip(a, 'link', 'show', 'dev', 'eth0')[0].address;
  lab.inside(a, ['ip', 'link', 'set', 'dev', 'eth0', 'address', '02:00:00:00:00:99']);
  t.equal(await ask(a, { kind: 'udp', to: '10.88.0.3', ms: 600 }), 'timeout', 'another MAC');
  lab.inside(a, ['ip', 'link', 'set', 'dev', 'eth0', 'address', mac]);
  t.equal(await ask(a, { kind: 'udp', to: '10.88.0.3' }), '10.88.0.2 4');

  lab.inside(
    a,
    ['ip', '-batch', '-'],
    'addr add 10.88.0.99/32 dev eth0\nroute add 10.88.0.3 dev eth0 src 10.88.0.99\n',
  );
  t.equal(await ask(a, { kind: 'udp', to: '10.88.0.3', ms: 600 }), 'timeout', 'another IPv4 address');
  lab.inside(a, ['ip', 'route', 'del', '10.88.0.3']);
  lab.inside(
    a,
    ['ip', '-batch', '-'],
    'addr add fd00:88::99/128 dev eth0 nodad\nroute add fd00:88::3 dev eth0 src fd00:88::99\n',
  );
  t.equal(await ask(a, { kind: 'udp', to: 'fd00:88::3', ms: 600 }), 'timeout', 'another IPv6 address');
  lab.inside(a, ['ip', '-batch', '-'], 'route del fd00:88::3\naddr del fd00:88::99/128 dev eth0\n');
  t.equal(await ask(a, { kind: 'udp', to: 'fd00:88::3' }), 'fd00:88::2 4');

  const port = added.json.interfaces[1].name;
  lab.inside(lab.host, ['nft', 'flush', 'chain', 'bridge', 'podwire-cni', `spoof-${port}`]);
  t.match((await lab.call('CHECK', withResult, { netns: a, id: 'a' })).json, {
    code: 110,
    msg: /macspoofchk/,
  });

  for (const netns of [a, a, '']) t.ok((await lab.call('DEL', conf, { netns, id: 'a' })).ok, 'DEL');
  t.notMatch(guards(lab), port);
  t.match(guards(lab), /spoof-veth/, "the other's rules stay");
  const gone = { ...conf, 'cni.dev/valid-attachments': [] };
  t.ok((await lab.call('GC', gone)).ok, 'GC');
  t.notMatch(guards(lab), /spoof-veth|veth/);
  t.strictSame(lab.leases('net'), []);
  await server.close();
  t.strictSame(lab.close(), ['br0']);
});

t.test('macspoofchk without addresses, and one that fails', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const conf = bridgeConf(lab, { macspoofchk: true, isGateway: false, ipam: {} });
  t.ok((await lab.call('DEL', conf, { netns })).ok, 'DEL where nothing ever was');
  t.equal(tables(lab), '', 'and it makes no table');
  const added = await lab.call('ADD', conf, { netns });
  t.ok(added.ok);
  t.match((await lab.call('ADD', conf, { netns })).json, { code: 111 });
  t.ok(
    (await lab.call('CHECK', { ...conf, prevResult: added.json }, { netns })).ok,
    'the first one is as it was',
  );
  t.notMatch(guards(lab), /ip saddr/);
  const other = { ...conf, name: 'other' };
  lab.inside(netns, ['ip', 'link', 'add', 'eth1', 'type', 'bridge']);
  t.match((await lab.call('ADD', other, { netns, ifname: 'eth1' })).json, { code: 111 });
  t.equal(guards(lab).match(/chain spoof-/g)?.length, 1, 'a failed ADD leaves no rules');
  t.ok((await lab.call('DEL', conf, { netns })).ok);
  lab.close();
});

t.test('disableContainerInterface', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const conf = bridgeConf(lab, { isGateway: false, disableContainerInterface: true, ipam: {} });
  const added = await lab.call('ADD', conf, { netns });
  t.ok(added.ok, 'ADD', { found: added.json });
  t.notOk(lab.ip(netns, 'link', 'show', 'dev', 'eth0')[0].flags.includes('UP'));
  t.ok((await lab.call('CHECK', { ...conf, prevResult: added.json }, { netns })).ok);
  t.match((await lab.call('ADD', { ...conf, ipam: dual(lab) }, { netns })).json, { code: 7 });
  for (const _ of [1, 2]) t.ok((await lab.call('DEL', conf, { netns })).ok);
  t.strictSame(lab.close(), ['br0']);
});

t.test('vlan', async (t) => {
  if (await kernelHas('bridge vlans')) {
    t.comment('this kernel filters VLANs: test/vm/cni.test.ts shows that they work');
    return;
  }
  const lab = await makeLab();
  const netns = lab.container();
  const conf = bridgeConf(lab, { vlan: 100 });
  const lacks = {
    code: 50,
    msg: /^vlan, vlanTrunk: this kernel has no VLAN filtering.*CONFIG_BRIDGE_VLAN_FIL/,
  };
  t.match((await lab.call('STATUS', conf)).json, lacks);
  t.match((await lab.call('ADD', conf, { netns })).json, lacks, 'no bridge yet');
  t.strictSame(lab.links(), []);
  t.strictSame(lab.leases('net'), []);
  t.ok((await lab.call('ADD', bridgeConf(lab), { netns })).ok);
  t.match((await lab.call('ADD', conf, { netns, ifname: 'eth1', id: 'c2' })).json, lacks, 'an older bridge');
  t.ok((await lab.call('DEL', conf, { netns })).ok);
  t.strictSame(lab.close(), ['br0']);
});
