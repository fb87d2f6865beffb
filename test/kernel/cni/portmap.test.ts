// portmap against real namespaces and real packets: from outside, from the machine, from other containers, from itself.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';
import {
  addTo as publish,
  ask,
  makeOutside,
  makePod as pod,
  type Pod,
  resultOf,
  serveIn,
} from './callers.ts';

const portmapConf = (portMappings: object[], more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'portmap',
  runtimeConfig: { portMappings },
  ...more,
});
const ruleset = (lab: Lab): string => lab.inside(lab.host, ['nft', 'list', 'ruleset']);

const tcp = (hostPort: number, more: object = {}) => ({
  hostPort,
  containerPort: 80,
  protocol: 'tcp',
  ...more,
});
const udp = (hostPort: number, more: object = {}) => ({
  hostPort,
  containerPort: 80,
  protocol: 'udp',
  ...more,
});

for (const version of specVersions)
  t.test(`a round of all verbs, ${version}`, async (t) => {
    const lab = await makeLab();
    const one = await pod(lab);
    const prevResult = resultOf(version, one.result);
    const conf = portmapConf([tcp(8080), udp(8053), { ...tcp(9090), protocol: 'sctp' }], {
      cniVersion: version,
      prevResult,
    });
    const options = { netns: one.netns, id: 'c1' };
    const added = await lab.call('ADD', conf, options);
    t.match(added.json, { cniVersion: version, ips: prevResult.ips }, 'prevResult is passed on');
    t.match(ruleset(lab), /tcp \. 8080 comment "\w{8}\.\w{16} c1 eth0" : 10\.88\.0\.2 \. 80/);
    t.match(ruleset(lab), /sctp \. 9090 comment "\w{8}\.\w{16} c1 eth0" : fd00:88::2 \. 80/);
    if (version !== '0.3.1') {
      t.ok((await lab.call('CHECK', conf, options)).ok, 'CHECK when well');
      lab.inside(lab.host, ['nft', 'delete element inet podwire-hostport any4 { tcp . 8080 }']);
      t.match((await lab.call('CHECK', conf, options)).json, {
        code: 110,
        msg: /no element for tcp \. 8080/,
      });
      lab.inside(lab.host, ['nft', 'flush chain inet podwire-hostport guard']);
      t.match((await lab.call('CHECK', conf, options)).json, { code: 110, msg: /chain guard/ });
    }
    if (version === '1.1.0')
      t.ok((await lab.call('STATUS', { ...conf, prevResult: undefined })).ok, 'STATUS');
    const { runtimeConfig, prevResult: _, ...bare } = conf;
    for (const del of [conf, conf, bare])
      t.ok((await lab.call('DEL', del as Conf, { id: 'c1' })).ok, 'DEL, also again, also with nothing known');
    t.notMatch(ruleset(lab), /c1 eth0/);
    t.match((await lab.call('ADD', bare as Conf, options)).json, {
      code: 7,
      msg: /prevResult: .* must be chained/,
    });
    t.match((await lab.call('VERSION', bare as Conf)).json, { supportedVersions: specVersions });
    lab.close();
  });

t.test('traffic', async (t) => {
  const lab = await makeLab();
  const outside = makeOutside(lab);
  const [one, two] = [await pod(lab), await pod(lab)];
  const conf = portmapConf([
    tcp(8080),
    udp(8080),
    tcp(8081, { hostIP: '192.0.2.10' }),
    tcp(8082, { hostIP: '::' }),
  ]);
  const added = await publish(lab, one, conf);
  t.ok(added.ok, 'ADD', { found: added.json });
  await serveIn(one.netns, 80, 'one');

  for (const nf of ['1', '0']) {
    for (const key of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'])
      lab.inside(lab.host, ['tee', `/proc/sys/net/bridge/${key}`], nf);
    t.test(`with bridge-nf-call-iptables = ${nf}`, (t) => everyWay(t, { lab, outside, one, two }));
  }
  t.test('the end', async (t) => {
    t.ok((await lab.call('DEL', conf, { id: one.netns })).ok);
    t.equal(
      ask(outside, { address: '192.0.2.1', port: 8080 }),
      'refused',
      "after DEL the port is the machine's again",
    );
    lab.close();
  });
});

interface Scene {
  readonly lab: Lab;
  readonly outside: string;
  readonly one: Pod;
  readonly two: Pod;
}

async function everyWay(t: Test, { lab, outside, one, two }: Scene): Promise<void> {
  const at = (netns: string, address: string, port = 8080, protocol: 'tcp' | 'udp' = 'tcp') =>
    ask(netns, { address, port, protocol });
  t.equal(at(outside, '192.0.2.1'), 'one 192.0.2.2', 'from outside, with the real source');
  t.equal(at(outside, '192.0.2.1', 8080, 'udp'), 'one 192.0.2.2', 'UDP');
  t.equal(at(outside, '2001:db8::1'), 'one 2001:db8::2', 'IPv6');
  t.equal(at(outside, '192.0.2.10', 8081), 'one 192.0.2.2', 'by the one address that is named');
  t.equal(at(outside, '192.0.2.1', 8081), 'refused', 'and by no other');
  t.equal(at(outside, '2001:db8::1', 8082), 'one 2001:db8::2', ':: is all of IPv6');
  t.equal(at(outside, '192.0.2.1', 8082), 'refused', 'and nothing of IPv4');
  t.match(at(lab.host, '127.0.0.1'), /^one 10\.88\.0\.1$/, 'from the machine by 127.0.0.1');
  t.match(at(lab.host, '127.0.0.1', 8080, 'udp'), /^one 10\.88\.0\.1$/);
  t.match(at(lab.host, '192.0.2.1'), /^one /, 'from the machine by its own address');
  t.match(at(lab.host, '2001:db8::1'), /^one /);
  t.match(at(two.netns, '192.0.2.1'), /^one /, 'from another container on the same bridge');
  t.match(at(two.netns, '10.88.0.1'), /^one /, 'by the gateway');
  t.match(at(two.netns, '2001:db8::1'), /^one /);
  t.match(at(two.netns, '192.0.2.1', 8080, 'udp'), /^one /);
  t.match(at(one.netns, '192.0.2.1'), /^one /, 'from itself');
  t.match(at(one.netns, '192.0.2.1', 8080, 'udp'), /^one /);
  t.match(at(one.netns, 'fd00:88::1'), /^one /, 'from itself, IPv6');
  t.equal(at(two.netns, '10.88.0.2', 80), 'one 10.88.0.3', 'past the host port there is no translation');
  t.equal(at(outside, '192.0.2.1', 9999), 'refused');
}

t.test('a wire cannot reach 127.0.0.1 by the switch that lets the machine do so', async (t) => {
  const lab = await makeLab();
  const one = await pod(lab);
  t.ok((await publish(lab, one, portmapConf([tcp(8080)]))).ok);
  t.equal(lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/conf/br0/route_localnet']), '1\n');
  for (const link of ['all', 'default'])
    t.equal(
      lab.inside(lab.host, ['cat', `/proc/sys/net/ipv4/conf/${link}/route_localnet`]),
      '0\n',
      `not ${link}`,
    );
  await serveIn(lab.host, 7777, 'machine');
  // The container does all it can: 127.0.0.1 is taken off its own lo and routed to the machine.
  lab.inside(one.netns, ['ip', 'addr', 'flush', 'dev', 'lo']);
  lab.inside(one.netns, ['ip', 'route', 'add', '127.0.0.0/8', 'via', '10.88.0.1', 'src', '10.88.0.2']);
  lab.inside(one.netns, ['tee', '/proc/sys/net/ipv4/conf/all/route_localnet'], '1');
  const question = { address: '127.0.0.1', port: 7777 };
  t.equal(ask(one.netns, { ...question, patience: 700 }), 'none', 'guarded');
  lab.inside(lab.host, ['nft', 'flush chain inet podwire-hostport guard']);
  t.match(ask(one.netns, question), /^machine /, 'it is the guard that holds: without it the packet arrives');
  lab.close();
});

t.test('one key, one holder', async (t) => {
  const lab = await makeLab();
  const [one, two] = [await pod(lab), await pod(lab)];
  t.ok((await publish(lab, one, portmapConf([tcp(8080), tcp(8081, { hostIP: '10.88.0.1' })]))).ok);
  const refused = await publish(lab, two, portmapConf([tcp(7000), tcp(8080)]));
  t.match(refused.json, { code: 130, msg: `host port 8080/tcp is taken by ${one.netns} eth0` });
  t.notMatch(ruleset(lab), /7000/, 'nothing of a refused ADD stays');
  const named = await publish(lab, two, portmapConf([tcp(8081, { hostIP: '10.88.0.1' })]));
  t.match(named.json, { code: 130, msg: /8081\/tcp of 10\.88\.0\.1 is taken/ });
  t.ok((await lab.call('DEL', portmapConf([tcp(8080)]), { id: two.netns })).ok);
  t.match(ruleset(lab), /tcp \. 8080/, 'the DEL of a refused ADD takes nothing from the holder');
  const beside = await publish(
    lab,
    two,
    portmapConf([udp(8080), tcp(8081, { hostIP: '192.0.2.9' }), tcp(8080, { hostIP: '10.88.0.1' })]),
  );
  t.ok(beside.ok, 'another protocol, another hostIP', { found: beside.json });
  t.ok(
    (await publish(lab, one, portmapConf([tcp(8080), tcp(8090)]))).ok,
    'an ADD after a lost one of the same container',
  );
  for (const { netns } of [one, two]) t.ok((await lab.call('DEL', portmapConf([]), { id: netns })).ok);
  t.notMatch(ruleset(lab), /elements = \{[^}]*\. 80[89]/);
  lab.close();
});

t.test('a UDP flow follows the mapping, and does not outlive it', async (t) => {
  const lab = await makeLab();
  const outside = makeOutside(lab);
  const [one, two] = [await pod(lab), await pod(lab)];
  for (const [{ netns }, word] of [
    [one, 'one'],
    [two, 'two'],
  ] as const)
    await serveIn(netns, 80, word);
  const question = { address: '192.0.2.1', port: 8053, protocol: 'udp', from: 5555 } as const;
  const inVain = { ...question, patience: 700 };
  const conf = portmapConf([udp(8053)]);
  t.equal(ask(outside, inVain), 'none', 'nobody yet; the machine remembers the flow');
  t.ok((await publish(lab, one, conf)).ok);
  t.match(ask(outside, question), /^one /, 'the same flow reaches the new container');
  t.ok((await lab.call('DEL', conf, { id: one.netns })).ok);
  t.equal(ask(outside, inVain), 'none', 'after DEL it reaches nobody');
  t.ok((await publish(lab, two, conf)).ok);
  t.match(ask(outside, question), /^two /, 'and then its successor');
  t.ok((await lab.call('DEL', portmapConf([]), { id: two.netns })).ok, 'DEL that knows no mappings');
  t.equal(ask(outside, inVain), 'none');
  lab.close();
});

t.test('without conntrack the rest still works', async (t) => {
  const lab = await makeLab();
  const one = await pod(lab);
  const bin = join(lab.dir, 'bin');
  execFileSync('sh', ['-c', `mkdir ${bin} && ln -s $(command -v nft) ${bin}/nft`]);
  const { stdout, stderr, exitCode } = await lab.exec({
    argv: [
      'unshare',
      '-m',
      'sh',
      '-c',
      `mount --bind /dev/null ${await conntrackPath()}; exec ${lab.plugins}/portmap`,
    ],
    input: JSON.stringify({ ...portmapConf([udp(8053)]), prevResult: one.result }),
    env: {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'c1',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: `/run/netns/${one.netns}`,
      CNI_PATH: lab.plugins,
    },
  });
  t.equal(exitCode, 0);
  t.match(JSON.parse(stdout), { ips: one.result.ips });
  t.match(stderr, /UDP flows of before/);
  lab.close();
});
const conntrackPath = async () =>
  execFileSync('readlink', ['-f', '/usr/sbin/conntrack'], { encoding: 'utf8' }).trim();

t.test('snat false, masqAll, markMasqBit, conditions', async (t) => {
  const lab = await makeLab();
  const outside = makeOutside(lab);
  const [one, two] = [await pod(lab), await pod(lab)];
  await serveIn(one.netns, 80, 'one');
  const from = (netns: string, port = 8080, address = '192.0.2.1') => ask(netns, { address, port });
  const round = async (more: object, look: () => void) => {
    const conf = portmapConf([tcp(8080)], more);
    const added = await publish(lab, one, conf);
    t.ok(added.ok, JSON.stringify(more), { found: added.json });
    t.ok(
      (await lab.call('CHECK', { ...conf, prevResult: added.json }, { netns: one.netns, id: one.netns })).ok,
    );
    look();
    t.ok((await lab.call('DEL', conf, { id: one.netns })).ok);
  };
  lab.inside(lab.host, ['tee', '/proc/sys/net/bridge/bridge-nf-call-iptables'], '0');
  await round({ snat: false }, () => {
    t.equal(from(outside), 'one 192.0.2.2');
    const inVain = { address: '192.0.2.1', port: 8080, patience: 700 };
    t.equal(ask(two.netns, inVain), 'none', 'without snat the answer comes past the machine');
    t.equal(lab.inside(lab.host, ['cat', '/proc/sys/net/ipv4/conf/br0/route_localnet']), '0\n');
  });
  await round({ masqAll: true }, () =>
    t.equal(from(outside), 'one 10.88.0.1', 'every caller is masqueraded'),
  );
  await round({ markMasqBit: 5 }, () => {
    t.equal(from(outside), 'one 192.0.2.2');
    lab.inside(
      lab.host,
      ['nft', '-f', '-'],
      'table ip t { chain c { type filter hook prerouting priority -150; meta mark set 0x20; }; }',
    );
    t.equal(from(outside), 'one 10.88.0.1', 'the bit asks for it');
    lab.inside(lab.host, ['nft', 'delete', 'table', 'ip', 't']);
  });
  await round({ conditionsV4: ['ip', 'saddr', '!=', '192.0.2.0/24'] }, () => {
    t.equal(from(outside), 'refused', 'kept out by conditionsV4');
    t.match(from(two.netns), /^one /);
  });
  await round({ conditionsV4: ['iifname "up0" ip daddr { 192.0.2.10, 192.0.2.11 }'] }, () => {
    t.equal(from(outside), 'refused');
    t.equal(from(outside, 8080, '192.0.2.10'), 'one 192.0.2.2');
  });
  t.notMatch(ruleset(lab), /elements = \{ "br0" \. 10\.88\.0\.2|tcp \. 8080/);
  lab.close();
});

t.test('GC: of this network, what is in no valid attachment', async (t) => {
  const lab = await makeLab();
  const [one, two, three] = [await pod(lab), await pod(lab), await pod(lab)];
  const other = portmapConf([tcp(8083)], { name: 'other' });
  for (const [which, conf] of [
    [one, portmapConf([tcp(8081)])],
    [two, portmapConf([udp(8082)])],
    [three, other],
  ] as const)
    t.ok((await publish(lab, which, conf)).ok);
  const valid = [{ containerID: one.netns, ifname: 'eth0' }];
  t.ok((await lab.call('GC', { ...portmapConf([]), 'cni.dev/valid-attachments': valid })).ok);
  t.match(ruleset(lab), /tcp \. 8081/);
  t.notMatch(ruleset(lab), /udp \. 8082/);
  t.match(ruleset(lab), /tcp \. 8083/, "another network's");
  lab.close();
});

const many = 50;
t.test(`${many} at once`, async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const ids = Array.from({ length: many }, (_, at) => `c${at}`);
  const confOf = (at: number) => ({
    ...portmapConf([tcp(9000 + at), tcp(8000)].slice(0, at % 10 === 0 ? 2 : 1)),
    prevResult: { cniVersion: '1.1.0', ips: [{ address: `10.88.0.${at + 2}/24` }] },
  });
  const added = await Promise.all(ids.map((id, at) => lab.call('ADD', confOf(at), { id, netns })));
  const failed = added.filter(({ ok }) => !ok);
  t.equal(failed.length, 4, 'of five that want port 8000 one has it');
  t.ok(
    failed.every(({ json }) => json.code === 130 && /8000\/tcp is taken by c\d+ eth0/.test(json.msg)),
    'and the others are told',
    { failed },
  );
  t.equal(ruleset(lab).match(/tcp \. 9\d\d\d comment/g)?.length, many - 4);
  const gone = await Promise.all(ids.map((id, at) => lab.call('DEL', confOf(at), { id })));
  t.strictSame(
    gone.filter(({ ok }) => !ok).map(({ json }) => json),
    [],
  );
  t.notMatch(ruleset(lab), /elements =(?! \{ (tcp|"lo"))/);
  lab.close();
});
