// vxlan: three "machines", each a namespace, on one underlay; Pods on each reach each other with their real addresses,
// packets as large as the MTU allows; peers come and go by a file; what is found there is reused, set right or made anew.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { vtepMac } from '../../../lib/kernel/overlay.ts';
import { ask, listen } from './echo.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';
import { failedAdd, round } from './round.ts';

interface Machine {
  readonly lab: Lab;
  readonly number: number;
}

/** Machines with eth0 on one switch, which lives in a namespace of the first. */
async function underlay(count: number): Promise<Machine[]> {
  const machines: Machine[] = [];
  for (let number = 1; number <= count; number++) machines.push({ lab: await makeLab(), number });
  const [first] = machines as [Machine];
  const wire = first.lab.container();
  first.lab.inside(wire, ['ip', '-batch', '-'], 'link add name sw type bridge\nlink set sw up\n');
  for (const { lab, number } of machines) {
    const lines = `link add eth0 type veth peer name p${number} netns ${wire}
addr add 192.0.2.${number}/24 dev eth0
addr add 2001:db8::${number}/64 dev eth0 nodad
link set eth0 up\n`;
    lab.inside(lab.host, ['ip', '-batch', '-'], lines);
    first.lab.inside(wire, ['ip', 'link', 'set', `p${number}`, 'master', 'sw', 'up']);
  }
  return machines;
}

const peer = (number: number) => ({
  node: `n${number}`,
  publicIP: `192.0.2.${number}`,
  subnets: [`10.244.${number}.0/24`, `fd00:244:${number}::/64`],
});
const peers = [1, 2, 3].map(peer);

const vxlanConf = ({ lab, number }: Machine, more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'overlay',
  type: 'vxlan',
  node: `n${number}`,
  peers,
  ipam: {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [[{ subnet: `10.244.${number}.0/24` }], [{ subnet: `fd00:244:${number}::/64` }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
  ...more,
});
const withoutRoutes = (conf: Conf): Conf => ({ ...conf, ipam: { ...(conf.ipam as object), routes: [] } });
const vtep = (lab: Lab) => lab.ip(lab.host, 'link', 'show', 'dev', 'vxlan1')[0];
const routes = (lab: Lab): string[] =>
  ['-4', '-6'].flatMap((family) =>
    lab
      .ip(lab.host, family, 'route', 'show', 'dev', 'vxlan1')
      .filter((route: { gateway?: string }) => route.gateway)
      .map((route: { dst: string }) => route.dst),
  );
const fdb = (lab: Lab): string => lab.inside(lab.host, ['bridge', 'fdb', 'show', 'dev', 'vxlan1']);
const closeAll = (machines: readonly Machine[]): string[][] =>
  machines.map(({ lab }) => lab.close()).reverse();

t.test('three machines', async (t) => {
  const machines = await underlay(3);
  const [a, b, c] = machines as [Machine, Machine, Machine];
  const pods = machines.map(({ lab }) => lab.container());
  const [podA, podB, podC] = pods as [string, string, string];
  for (const [at, machine] of machines.entries()) {
    const added = await machine.lab.call('ADD', vxlanConf(machine), { netns: pods[at] as string });
    t.ok(added.ok, `ADD on ${at + 1}`, { found: added.json });
    t.match(added.json.interfaces[3], { name: 'vxlan1', mac: vtepMac(`n${at + 1}`), mtu: 1450 });
  }
  const servers = await Promise.all([podB, podC, b.lab.host].map(listen));
  for (const [kind, to, size, said] of [
    ['tcp', '10.244.2.2', 4, '10.244.1.2 4'],
    ['tcp', '10.244.3.2', 300_000, '10.244.1.2 300000'],
    ['udp', '10.244.3.2', 1450 - 28, '10.244.1.2 1422'],
    ['udp', '10.244.2.2', 5000, '10.244.1.2 5000'],
    ['tcp', 'fd00:244:3::2', 300_000, 'fd00:244:1::2 300000'],
    ['udp', 'fd00:244:2::2', 1450 - 48, 'fd00:244:1::2 1402'],
  ] as const)
    t.equal(await ask(podA, { kind, to, size }), said, `${kind} to ${to}, ${size} bytes, real source`);
  t.equal(await ask(podC, { kind: 'udp', to: '10.244.2.2' }), '10.244.3.2 4', 'third to second');
  t.equal(
    await ask(a.lab.host, { kind: 'tcp', to: '10.244.2.2' }),
    '10.244.1.0 4',
    'machine to Pod elsewhere',
  );
  t.equal(await ask(a.lab.host, { kind: 'tcp', to: 'fd00:244:2::2' }), 'fd00:244:1:: 4');
  t.equal(await ask(podA, { kind: 'tcp', to: '192.0.2.2' }), '10.244.1.2 4', 'Pod to a machine elsewhere');
  t.match(vtep(a.lab), {
    address: vtepMac('n1'),
    mtu: 1450,
    linkinfo: { info_data: { id: 1, port: 4789, local: '192.0.2.1', link: 'eth0', learning: false } },
  });
  t.equal(a.lab.ip(podA, 'link', 'show', 'dev', 'eth0')[0].mtu, 1450);
  t.notMatch(fdb(a.lab), '00:00:00:00:00:00', 'nothing is flooded');
  t.equal(fdb(a.lab).match(/dst 192\.0\.2\.[23]/g)?.length, 2);
  for (const server of servers) await server.close();
  for (const [at, machine] of machines.entries())
    t.ok((await machine.lab.call('DEL', vxlanConf(machine), { netns: pods[at] as string })).ok);
  t.ok(vtep(a.lab), 'the VTEP stays when the last container goes');
  for (const machine of machines)
    t.ok((await machine.lab.call('GC', { ...vxlanConf(machine), 'cni.dev/valid-attachments': [] })).ok);
  t.strictSame(a.lab.links(), ['eth0', 'vxbr1'], 'GC takes it');
  t.strictSame(a.lab.leases('overlay'), []);
  t.strictSame(c.lab.ip(c.lab.host, 'route', 'show', '10.244.1.0/24'), []);
  closeAll(machines);
});

for (const cniVersion of specVersions)
  t.test(`vxlan ${cniVersion}`, async (t) => {
    const machines = await underlay(1);
    const [a] = machines as [Machine];
    const netns = a.lab.container();
    await round(t, {
      lab: a.lab,
      conf: vxlanConf(a, { cniVersion, mtu: 1400, macspoofchk: true, id: 7, port: 8472 }),
      netns,
      meanwhile: (result) => {
        t.equal(result.interfaces[3].name, 'vxlan7');
        t.match(a.lab.ip(a.lab.host, 'link', 'show', 'dev', 'vxlan7')[0], {
          mtu: 1400,
          linkinfo: { info_data: { port: 8472 } },
        });
      },
    });
    t.strictSame(
      closeAll(machines)[0],
      cniVersion === '1.1.0' ? ['eth0', 'vxbr7'] : ['eth0', 'vxbr7', 'vxlan7'],
    );
  });

t.test('peers by a file', async (t) => {
  const machines = await underlay(2);
  const [a, b] = machines as [Machine, Machine];
  const file = join(a.lab.dir, 'peers.json');
  const conf = vxlanConf(a, { peers: [], peersFile: file, device: 'eth0' });
  const netns = a.lab.container();
  const say = (...numbers: number[]) => writeFileSync(file, JSON.stringify({ peers: numbers.map(peer) }));
  t.match((await a.lab.call('STATUS', conf)).json, { code: 50, msg: /peersFile: .* is not there/ });
  await failedAdd(t, { lab: a.lab, conf, netns, code: 11 });
  say(1);
  t.ok((await a.lab.call('STATUS', conf)).ok);
  const added = await a.lab.call('ADD', conf, { netns });
  t.ok(added.ok, 'ADD', { found: added.json });
  t.strictSame(routes(a.lab), []);
  const podB = b.lab.container();
  t.ok((await b.lab.call('ADD', vxlanConf(b), { netns: podB })).ok);
  const server = await listen(podB);

  say(1, 2, 3);
  const withResult = { ...conf, prevResult: added.json };
  t.ok((await a.lab.call('CHECK', withResult, { netns })).ok, 'CHECK takes up who came');
  t.strictSame(routes(a.lab).sort(), [
    '10.244.2.0/24',
    '10.244.3.0/24',
    'fd00:244:2::/64',
    'fd00:244:3::/64',
  ]);
  t.equal(await ask(netns, { kind: 'udp', to: '10.244.2.2' }), '10.244.1.2 4');

  say(1, 2);
  const other = a.lab.container();
  t.ok((await a.lab.call('ADD', conf, { netns: other, id: 'c2' })).ok, 'ADD drops who went');
  t.strictSame(routes(a.lab).sort(), ['10.244.2.0/24', 'fd00:244:2::/64']);
  t.notMatch(fdb(a.lab), '192.0.2.3');
  t.notMatch(JSON.stringify(a.lab.ip(a.lab.host, 'neigh', 'show', 'dev', 'vxlan1')), vtepMac('n3'));
  t.equal(await ask(other, { kind: 'tcp', to: 'fd00:244:2::2' }), 'fd00:244:1::3 4');

  a.lab.inside(a.lab.host, ['ip', 'link', 'set', 'vxlan1', 'down']);
  const third = a.lab.container();
  t.ok(
    (await a.lab.call('ADD', conf, { netns: third, id: 'c3' })).ok,
    'after a link went down and lost its routes',
  );
  t.equal(await ask(third, { kind: 'udp', to: '10.244.2.2' }), '10.244.1.4 4');
  a.lab.inside(a.lab.host, [
    'bridge',
    'fdb',
    'del',
    vtepMac('n2'),
    'dev',
    'vxlan1',
    'dst',
    '192.0.2.2',
    'self',
  ]);
  a.lab.inside(a.lab.host, ['ip', 'route', 'del', '10.244.2.0/24']);
  t.ok((await a.lab.call('CHECK', withResult, { netns })).ok);
  t.equal(
    await ask(third, { kind: 'udp', to: '10.244.2.2' }),
    '10.244.1.4 4',
    'CHECK puts back what was lost',
  );
  writeFileSync(file, '{"peers": [');
  t.match((await a.lab.call('CHECK', withResult, { netns })).json, { code: 6, msg: /peers\.json: not JSON/ });
  t.equal(routes(a.lab).length, 2, 'a broken file takes nothing away');
  for (const [id, pod] of [
    ['c1', netns],
    ['c2', other],
    ['c3', third],
  ] as const)
    t.ok((await a.lab.call('DEL', conf, { netns: pod, id })).ok, 'DEL does not need the file');
  await server.close();
  t.ok((await a.lab.call('GC', { ...conf, 'cni.dev/valid-attachments': [] })).ok, 'nor does GC');
  t.strictSame(closeAll(machines)[1], ['eth0', 'vxbr1']);
});

t.test('over IPv6, and to the world under the machine’s address', async (t) => {
  const machines = await underlay(2);
  const [a, b] = machines as [Machine, Machine];
  const six = [1, 2].map((number) => ({ ...peer(number), publicIP: `2001:db8::${number}` }));
  const [podA, podB] = [a.lab.container(), b.lab.container()];
  const conf = vxlanConf(a, { peers: six, ipMasq: true, local: '2001:db8::1' });
  const added = await a.lab.call('ADD', conf, { netns: podA });
  t.ok(added.ok, 'ADD', { found: added.json });
  t.ok((await b.lab.call('ADD', vxlanConf(b, { peers: six, ipMasq: true }), { netns: podB })).ok);
  const servers = await Promise.all([podB, b.lab.host].map(listen));
  t.equal(vtep(a.lab).mtu, 1430);
  t.equal(await ask(podA, { kind: 'tcp', to: '10.244.2.2', size: 300_000 }), '10.244.1.2 300000');
  t.equal(await ask(podA, { kind: 'udp', to: 'fd00:244:2::2', size: 1430 - 48 }), 'fd00:244:1::2 1382');
  t.equal(
    await ask(podA, { kind: 'tcp', to: '192.0.2.2' }),
    '192.0.2.1 4',
    'masqueraded outside the overlay only',
  );
  for (const server of servers) await server.close();
  t.ok((await a.lab.call('CHECK', { ...conf, prevResult: added.json }, { netns: podA })).ok);
  t.ok((await a.lab.call('DEL', conf, { netns: podA })).ok);
  t.notMatch(a.lab.inside(a.lab.host, ['nft', 'list', 'ruleset']), /10\.244\.1\.2[^\d]/);
  closeAll(machines);
});

t.test('what is there already', async (t) => {
  const machines = await underlay(1);
  const [a] = machines as [Machine];
  const { lab } = a;
  const netns = lab.container();
  const conf = withoutRoutes(vxlanConf(a)); // several interfaces in one container
  const stderr = async (more: object, id: string): Promise<string> => {
    const result = await lab.exec({
      argv: [join(lab.plugins, 'vxlan')],
      input: JSON.stringify({ ...conf, ...more }),
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: id,
        CNI_IFNAME: id,
        CNI_NETNS: `/run/netns/${netns}`,
        CNI_PATH: lab.plugins,
      },
    });
    return result.stderr;
  };
  t.equal(await stderr({}, 'e1'), '', 'a new one is nothing to tell of');
  const first = vtep(lab).ifindex;
  t.equal(await stderr({}, 'e2'), '');
  t.match(await stderr({ mtu: 1400 }, 'e3'), /vxlan1 set right: its MTU was 1450, not 1400/);
  t.equal(vtep(lab).ifindex, first);
  t.match(await stderr({ mtu: 1400, port: 8472 }, 'e4'), /vxlan1 is made anew: its port is 4789, not 8472/);
  t.not(vtep(lab).ifindex, first);
  t.equal(routes(lab).length, 4, 'with all its entries');
  t.match(
    (
      await lab.call(
        'CHECK',
        { ...conf, prevResult: { cniVersion: '1.1.0', interfaces: [{ name: 'e1' }] } },
        { netns, id: 'e1', ifname: 'e1' },
      )
    ).json,
    {
      code: 110,
    },
  );
  for (const id of ['e1', 'e2', 'e3', 'e4'])
    t.ok((await lab.call('DEL', conf, { netns, id, ifname: id })).ok);

  lab.inside(lab.host, ['ip', 'link', 'add', 'foreign', 'type', 'bridge']);
  const taken = { ...conf, vtep: 'foreign' };
  await failedAdd(t, {
    lab,
    conf: taken,
    netns,
    code: 113,
    msg: /^vtep: link foreign is there .*no vxlan \(bridge\)/,
  });
  const twice = { ...conf, vtep: 'vxlan9', port: 8472 };
  await failedAdd(t, {
    lab,
    conf: twice,
    netns,
    code: 113,
    msg: /^id, port: VNI 1 at port 8472 belongs to another/,
  });
  t.match((await lab.call('GC', { ...taken, 'cni.dev/valid-attachments': [] })).ok, true);
  t.ok(lab.links().includes('foreign'), 'GC takes only what is ours');
  const nowhere = { ...conf, device: 'nope' };
  await failedAdd(t, { lab, conf: nowhere, netns, code: 50, msg: /^underlay: no link nope/ });
  t.match((await lab.call('STATUS', nowhere)).json, { code: 50 });
  const lost = { ...conf, vtep: 'vxlan8', peers: [{ ...peer(2), publicIP: '198.51.100.9' }] };
  await failedAdd(t, {
    lab,
    conf: lost,
    netns,
    code: 50,
    msg: /^underlay: no route to n2 \(198\.51\.100\.9\)/,
  });
  const clash = { ...conf, id: 8, bridge: 'vxbr1', peers: [{ ...peer(2), subnets: ['10.244.1.0/25'] }] };
  await failedAdd(t, { lab, conf: clash, netns, code: 7, msg: /subnet of n2/ });
  closeAll(machines);
});

t.test('many at once', async (t) => {
  const machines = await underlay(1);
  const [a] = machines as [Machine];
  const netns = a.lab.container();
  const conf = withoutRoutes(vxlanConf(a));
  const ids = Array.from({ length: 8 }, (_, at) => `e${at}`);
  const answers = await Promise.all(ids.map((id) => a.lab.call('ADD', conf, { netns, id, ifname: id })));
  t.strictSame(
    answers.map(({ ok }) => ok),
    ids.map(() => true),
    answers.find(({ ok }) => !ok)?.json.msg,
  );
  t.equal(routes(a.lab).length, 4);
  for (const id of ids) t.ok((await a.lab.call('DEL', conf, { netns, id, ifname: id })).ok);
  t.strictSame(a.lab.leases('overlay'), []);
  closeAll(machines);
});
