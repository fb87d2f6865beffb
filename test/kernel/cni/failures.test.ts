// An ADD that fails leaves nothing; a DEL may be repeated; what belongs to others is not touched.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bridgeConf, type Conf, type Lab, makeLab } from './fixture.ts';

interface Fault {
  readonly name: string;
  readonly conf: (lab: Lab) => Conf;
  /** Before the ADD. */
  readonly prepare?: (lab: Lab, netns: string) => void;
  readonly code: number;
  readonly msg: RegExp;
  readonly links?: string[];
}

const ipam = (lab: Lab, more: object = {}) => ({ ...(bridgeConf(lab).ipam as object), ...more });
const faults: Fault[] = [
  {
    name: 'the interface is there already',
    conf: (lab) => bridgeConf(lab),
    prepare: (lab, netns) => lab.inside(netns, ['ip', 'link', 'add', 'name', 'eth0', 'type', 'bridge']),
    code: 111,
    msg: /eth0 exists already/,
    links: ['br0'],
  },
  {
    name: 'a route that the kernel refuses, in the container',
    conf: (lab) =>
      bridgeConf(lab, { ipam: ipam(lab, { routes: [{ dst: '10.9.0.0/16', gw: '172.31.0.1' }] }) }),
    code: 120,
    msg: /route add 10\.9\.0\.0\/16 via 172\.31\.0\.1/,
    links: ['br0'],
  },
  {
    name: 'the bridge is none',
    conf: (lab) => bridgeConf(lab, { isGateway: false }),
    prepare: (lab) =>
      lab.inside(lab.host, ['ip', 'link', 'add', 'name', 'br0', 'type', 'veth', 'peer', 'name', 'br0peer']),
    code: 112,
    msg: /br0 exists and is no bridge \(veth\)/,
    links: ['br0', 'br0peer'],
  },
  {
    name: 'the bridge has another address',
    conf: (lab) => bridgeConf(lab),
    prepare: (lab) => {
      lab.inside(lab.host, ['ip', 'link', 'add', 'name', 'br0', 'type', 'bridge']);
      lab.inside(lab.host, ['ip', 'addr', 'add', '10.7.0.1/24', 'dev', 'br0']);
    },
    code: 112,
    msg: /10\.7\.0\.1\/24, not 10\.88\.0\.1\/24/,
    links: ['br0'],
  },
  {
    name: 'an IPAM plugin that is not there',
    conf: (lab) => bridgeConf(lab, { ipam: { type: 'nowhere' } }),
    code: 7,
    msg: /"nowhere": no such executable/,
  },
  {
    name: 'a key that is not served',
    conf: (lab) => bridgeConf(lab, { ipMasqBackend: 'iptables' }),
    code: 2,
    msg: /ipMasqBackend/,
  },
];

for (const fault of faults)
  t.test(fault.name, async (t) => {
    const lab = await makeLab();
    const netns = lab.container();
    fault.prepare?.(lab, netns);
    const before = lab.ip(netns, 'link', 'show').length;
    const { ok, json } = await lab.call('ADD', fault.conf(lab), { netns });
    t.notOk(ok);
    t.match(json, { cniVersion: '1.1.0', code: fault.code, msg: fault.msg });
    t.notMatch(json.msg, /undoing it failed/);
    t.strictSame(lab.leases('net'), [], 'no lease is left');
    t.strictSame(lab.links().sort(), fault.links ?? [], 'no link is left');
    t.equal(lab.ip(netns, 'link', 'show').length, before);
    lab.close();
  });

t.test('a second ADD does not harm the first', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const conf = bridgeConf(lab);
  const { json } = await lab.call('ADD', conf, { netns });
  t.match((await lab.call('ADD', conf, { netns })).json, { code: 101 });
  t.match((await lab.call('ADD', conf, { netns, id: 'other' })).json, { code: 111 });
  t.ok((await lab.call('CHECK', { ...conf, prevResult: json }, { netns })).ok);
  t.strictSame(lab.leases('net'), ['10.88.0.2']);
  t.ok((await lab.call('DEL', conf, { netns })).ok);
  lab.close();
});

t.test('forceAddress, and a bridge that has no port', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  lab.inside(lab.host, [
    'ip',
    'link',
    'add',
    'name',
    'br0',
    'address',
    '02:00:00:00:00:77',
    'type',
    'bridge',
  ]);
  lab.inside(lab.host, ['ip', 'addr', 'add', '10.7.0.1/24', 'dev', 'br0']);
  const { ok, json } = await lab.call('ADD', bridgeConf(lab, { forceAddress: true }), { netns });
  t.ok(ok, 'ADD', { found: json });
  t.equal(json.interfaces[0].mac, '02:00:00:00:00:77');
  const [br0] = lab.ip(lab.host, '-4', 'addr', 'show', 'dev', 'br0');
  t.match(br0.addr_info, [{ local: '10.88.0.1', prefixlen: 24 }]);
  lab.close();
});

t.test('GC removes what is in no valid attachment', async (t) => {
  const lab = await makeLab();
  const conf = bridgeConf(lab, { ipMasq: true });
  const other = bridgeConf(lab, {
    name: 'other',
    ipam: ipam(lab, { ranges: [[{ subnet: '10.88.0.0/24', rangeStart: '10.88.0.100' }]] }),
  });
  const [one, two, three] = [lab.container(), lab.container(), lab.container()];
  const first = await lab.call('ADD', conf, { netns: one, id: 'keep' });
  await lab.call('ADD', conf, { netns: two, id: 'lost' });
  const foreign = await lab.call('ADD', other, { netns: three, id: 'foreign' });
  t.equal(lab.links().length, 4);
  const gc = { ...conf, 'cni.dev/valid-attachments': [{ containerID: 'keep', ifname: 'eth0' }] };
  t.ok((await lab.call('GC', gc)).ok);
  t.strictSame(lab.leases('net'), ['10.88.0.2']);
  t.strictSame(
    lab.links().sort(),
    ['br0', first.json.interfaces[1].name, foreign.json.interfaces[1].name].sort(),
    "another network's port on the same bridge stays",
  );
  t.match(lab.inside(lab.host, ['nft', 'list', 'table', 'inet', 'podwire-cni']), /keep eth0/);
  t.notMatch(lab.inside(lab.host, ['nft', 'list', 'table', 'inet', 'podwire-cni']), /lost eth0/);
  lab.close();
});

t.test('masquerade', async (t) => {
  const lab = await makeLab();
  const conf = bridgeConf(lab, { ipMasq: true });
  const netns = lab.container();
  const ruleset = (): string => lab.inside(lab.host, ['nft', 'list', 'table', 'inet', 'podwire-cni']);
  t.ok((await lab.call('ADD', conf, { netns })).ok);
  t.match(ruleset(), /elements = \{ 10\.88\.0\.2 comment "c1 eth0" \}/);
  t.match(ruleset(), /ip saddr @from4-\w+ ip daddr != @near4-\w+ masquerade comment "podwire: network net"/);
  const second = lab.container();
  t.ok((await lab.call('ADD', conf, { netns: second, id: 'c2' })).ok);
  t.equal(ruleset().match(/ masquerade /g)?.length, 2, 'one rule a family, however many containers');
  for (const id of ['c1', 'c2', 'c1'])
    t.ok((await lab.call('DEL', conf, { id })).ok, `DEL ${id} with neither result nor namespace`);
  t.notMatch(ruleset(), /10\.88\.0\.[23]/);
  lab.close();
});

const go = '/usr/lib/cni';
const noGo = existsSync(join(go, 'host-local'))
  ? false
  : `${go} has no host-local: apt-get install containernetworking-plugins`;
t.test("Debian's Go plugins share our leases, both ways", { skip: noGo }, async (t) => {
  const lab = await makeLab();
  const conf = bridgeConf(lab, { cniVersion: '1.0.0' });
  const [a, b, c] = [lab.container(), lab.container(), lab.container()];
  const path = (folder: string) => (folder === go ? go : lab.plugins);
  const goAdd = await lab.call('ADD', conf, { netns: a, id: 'go', path: path(go) });
  t.equal(goAdd.json.ips[0].address, '10.88.0.2/24');
  t.equal((await lab.call('ADD', conf, { netns: b, id: 'ours' })).json.ips[0].address, '10.88.0.3/24');
  t.equal(
    (await lab.call('ADD', conf, { netns: c, id: 'go2', path: go })).json.ips[0].address,
    '10.88.0.4/24',
  );
  t.ok((await lab.call('DEL', conf, { netns: a, id: 'go' })).ok, 'ours unmakes what Go made');
  t.ok((await lab.call('DEL', conf, { netns: b, id: 'ours', path: go })).ok, 'and the other way round');
  t.strictSame(lab.leases('net'), ['10.88.0.4']);
  t.ok((await lab.call('DEL', conf, { netns: c, id: 'go2' })).ok);
  t.strictSame(lab.leases('net'), []);
  t.strictSame(lab.links(), ['br0']);
  // Mixed in one call: our bridge runs Go's host-local, found first in CNI_PATH.
  const mixed = join(lab.dir, 'mixed');
  lab.inside(lab.host, ['mkdir', mixed]);
  lab.inside(lab.host, ['ln', '-s', join(go, 'host-local'), join(mixed, 'host-local')]);
  const goFirst = { netns: a, id: 'mix', path: `${lab.plugins}:${mixed}` };
  lab.inside(lab.host, ['ln', '-s', join(lab.plugins, 'podwire-cni'), join(mixed, 'bridge')]);
  const call = { ...goFirst, path: mixed };
  t.equal((await lab.call('ADD', conf, call)).json.ips[0].address, '10.88.0.5/24');
  t.notOk(existsSync(join(lab.dir, 'leases/net/.podwire/x')));
  t.ok((await lab.call('DEL', conf, call)).ok);
  t.strictSame(lab.leases('net'), []);
  lab.close();
});

t.test('the trace makes a script that builds the same', async (t) => {
  const { explainScript } = await import('../../../lib/cni/explain.ts');
  const { parseTrace } = await import('../../../lib/kernel/trace.ts');
  const lab = await makeLab();
  const [warm, netns] = [lab.container(), lab.container()];
  const conf = bridgeConf(lab, { hairpinMode: true, ipMasq: true });
  const trace = join(lab.dir, 'trace');
  const shown = () => ({
    inner: lab
      .ip(netns, '-4', 'addr', 'show', 'dev', 'eth0')[0]
      .addr_info.map((one: { local: string }) => one.local),
    routes: lab
      .ip(netns, 'route', 'show')
      .map((one: { dst: string; gateway?: string }) => `${one.dst} ${one.gateway ?? ''}`),
    port: lab
      .ip(lab.host, 'link', 'show', 'master', 'br0')
      .filter((one: { ifalias?: string }) => one.ifalias?.includes('c1'))
      .map((one: { ifname: string; address: string }) => [one.ifname, one.address]),
  });
  t.ok(
    (await lab.call('ADD', conf, { netns: warm, id: 'warm' })).ok,
    'the bridge is there when the Pod comes',
  );
  t.ok((await lab.call('ADD', conf, { netns, env: { PODWIRE_TRACE: trace } })).ok);
  const before = shown();
  const script = explainScript(parseTrace(readFileSync(trace, 'utf8')), 'pod default/web');
  t.match(script, /ip link show dev br0 >\/dev\/null 2>&1 \|\| ip link add name br0/);
  const file = join(lab.dir, 'explain.sh');
  writeFileSync(file, script);
  for (const where of ['with the bridge there', 'with nothing there']) {
    t.ok((await lab.call('DEL', conf, { netns })).ok);
    if (where === 'with nothing there') lab.inside(lab.host, ['ip', 'link', 'del', 'br0']);
    lab.inside(lab.host, ['sh', file]);
    t.strictSame(shown(), before, where);
  }
  lab.close();
});
