// firewall against real namespaces and real packets: who reaches whom under each ingressPolicy.
import t, { type Test } from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { addTo, ask, makeOutside, makePod, type Pod, resultOf, serveIn } from './callers.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';

const conf = (more: object = {}): Conf => ({ cniVersion: '1.1.0', name: 'net', type: 'firewall', ...more });
/** Our tables; bridge's masquerade names the containers too. */
const ruleset = (lab: Lab): string =>
  lab.inside(lab.host, ['nft', 'list', 'ruleset']).replace(/^table inet podwire-cni \{[\s\S]*?^\}/m, '');

for (const version of specVersions)
  for (const ingressPolicy of version === '1.1.0' ? ['open', 'same-bridge', 'isolated'] : ['same-bridge'])
    t.test(`a round of all verbs, ${ingressPolicy}, ${version}`, async (t) => {
      const lab = await makeLab();
      const one = await makePod(lab);
      const prevResult = resultOf(version, one.result);
      const call = conf({ cniVersion: version, ingressPolicy, prevResult });
      const options = { netns: one.netns, id: 'c1' };
      const added = await lab.call('ADD', call, options);
      t.match(added.json, { cniVersion: version, ips: prevResult.ips }, 'prevResult is passed on');
      t.match(ruleset(lab), /elements = \{ fd00:88::2 comment "\w{8}\.\w{16} c1 eth0" \}/);
      if (version !== '0.3.1') {
        t.ok((await lab.call('CHECK', call, options)).ok, 'CHECK when well');
        lab.inside(lab.host, ['nft', 'delete element inet podwire-firewall pods4 { 10.88.0.2 }']);
        t.match((await lab.call('CHECK', call, options)).json, {
          code: 110,
          msg: /pods4 .* for 10\.88\.0\.2/,
        });
      }
      if (version === '1.1.0') t.ok((await lab.call('STATUS', conf({ ingressPolicy }))).ok, 'STATUS');
      const { prevResult: _, ...bare } = call;
      for (const del of [call, call, bare])
        t.ok((await lab.call('DEL', del as Conf, { id: 'c1' })).ok, 'DEL');
      t.notMatch(ruleset(lab), /c1 eth0/);
      t.match((await lab.call('ADD', bare as Conf, options)).json, {
        code: 7,
        msg: /prevResult: .* must be chained/,
      });
      lab.close();
    });

// a1 and a2 on bridge bra, b1 on bridge brb; what is asked for, and who hears whom.
const cases = [
  { policy: 'open', same: true, across: true },
  { policy: 'same-bridge', same: true, across: false },
  { policy: 'isolated', same: false, across: false },
] as const;
for (const one of cases) t.test(`traffic, ${one.policy}`, (t) => traffic(t, one));

async function traffic(t: Test, { policy, same, across }: (typeof cases)[number]): Promise<void> {
  const lab = await makeLab();
  const outside = makeOutside(lab);
  const ipam = (lab_: Lab, at: number) => ({
    type: 'host-local',
    dataDir: `${lab_.dir}/leases`,
    ranges: [[{ subnet: `10.${at}.0.0/24` }], [{ subnet: `fd00:${at}::/64` }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
  const onA = { name: 'a', bridge: 'bra', ipMasq: false, ipam: ipam(lab, 88) };
  const onB = { name: 'b', bridge: 'brb', ipMasq: false, ipam: ipam(lab, 99) };
  const [a1, a2, b1] = [await makePod(lab, onA), await makePod(lab, onA), await makePod(lab, onB)];
  lab.inside(outside, ['ip', 'route', 'add', '10.0.0.0/8', 'via', '192.0.2.1']);
  const call = (name: string) => conf({ name, ingressPolicy: policy });
  for (const [pod, name] of [
    [a1, 'a'],
    [a2, 'a'],
    [b1, 'b'],
  ] as const) {
    const { ok, json } = await addTo(lab, pod, call(name));
    t.ok(ok, 'ADD', { found: json });
    await serveIn(pod.netns, 80, 'pod');
  }
  await serveIn(outside, 80, 'out');
  const from = (netns: string, address: string, expected = true) =>
    ask(netns, { address, port: 80, ...(expected ? {} : { patience: 500 }) });
  const hears = (netns: string, pod: Pod, at: number, expected = true) =>
    from(netns, pod.result.ips[at].address.split('/')[0], expected);
  for (const nf of ['1', '0']) {
    for (const key of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'])
      lab.inside(lab.host, ['tee', `/proc/sys/net/bridge/${key}`], nf);
    for (const at of [0, 1]) {
      const what = `IPv${at === 0 ? 4 : 6}, bridge-nf-call ${nf}`;
      t.equal(hears(a2.netns, a1, at, same).startsWith('pod'), same, `same bridge, ${what}`);
      t.equal(hears(b1.netns, a1, at, across).startsWith('pod'), across, `from the other bridge, ${what}`);
      t.equal(hears(a1.netns, b1, at, across).startsWith('pod'), across, `to the other bridge, ${what}`);
      t.match(hears(lab.host, a1, at), /^pod /, `from the machine, ${what}`);
      t.match(hears(outside, a1, at), /^pod /, `from outside, ${what}`);
    }
    t.match(from(a1.netns, '192.0.2.2'), /^out /, 'to the outside');
    t.match(from(a1.netns, '2001:db8::2'), /^out /);
  }
  for (const [pod, name] of [
    [a1, 'a'],
    [a2, 'a'],
    [b1, 'b'],
  ] as const)
    t.ok((await lab.call('DEL', call(name), { id: pod.netns })).ok);
  t.match(hears(b1.netns, a1, 0), /^pod /, 'after DEL nothing is kept out');
  t.match(hears(a2.netns, a1, 0), /^pod /);
  t.notMatch(ruleset(lab), /eth0"/);
  lab.close();
}

t.test('a lone pair, as of ptp, leaves nothing', async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'lo' }, { name: 'eth0', sandbox: `/run/netns/${netns}` }],
    ips: [{ address: '10.1.0.2/32', interface: 1 }],
  };
  const call = conf({ ingressPolicy: 'isolated', prevResult });
  t.ok((await lab.call('ADD', call, { netns })).ok);
  t.match(ruleset(lab), /set bridges \{\s+type ifname\s+elements = \{ "lo" comment/);
  t.ok((await lab.call('DEL', call, { netns })).ok);
  t.notMatch(ruleset(lab), /elements/);
  const none = { ...prevResult, interfaces: [] };
  t.match((await lab.call('ADD', { ...call, prevResult: none }, { netns })).json, {
    code: 7,
    msg: /prevResult\.interfaces: .* ingressPolicy isolated/,
  });
  lab.close();
});

t.test("another's FORWARD policy is told, and admin is a person's", async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  lab.inside(
    lab.host,
    ['nft', '-f', '-'],
    'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }',
  );
  const told = async (command: string, more: object = {}) => {
    const { stderr, exitCode } = await lab.exec({
      argv: [`${lab.plugins}/firewall`],
      input: JSON.stringify(conf({ prevResult: one.result, ...more })),
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c1',
        CNI_IFNAME: 'eth0',
        CNI_NETNS: `/run/netns/${one.netns}`,
        CNI_PATH: lab.plugins,
      },
    });
    t.equal(exitCode, 0, command);
    return stderr;
  };
  t.match(await told('ADD'), /firewall: ip filter FORWARD: policy drop/);
  t.match(await told('CHECK'), /ip filter FORWARD/);
  t.match(await told('STATUS', { prevResult: undefined }), /ip filter FORWARD/);
  lab.inside(lab.host, ['nft', 'add rule inet podwire-firewall admin counter comment "mine"']);
  t.equal(await told('ADD'), '', 'told once, when the table is made');
  t.ok((await addTo(lab, one, conf({ ingressPolicy: 'isolated' }))).ok, 'a new skeleton');
  t.match(ruleset(lab), /chain admin \{\s+counter packets \d+ bytes \d+ comment "mine"/);
  lab.close();
});

t.test('GC: of this network, what is in no valid attachment', async (t) => {
  const lab = await makeLab();
  const pods = [await makePod(lab), await makePod(lab), await makePod(lab)] as const;
  const confs = [
    conf({ ingressPolicy: 'isolated' }),
    conf({ ingressPolicy: 'isolated' }),
    conf({ name: 'other' }),
  ];
  for (const [at, pod] of pods.entries()) t.ok((await addTo(lab, pod, confs[at] as Conf)).ok);
  const valid = [{ containerID: pods[0].netns, ifname: 'eth0' }];
  t.ok((await lab.call('GC', conf({ 'cni.dev/valid-attachments': valid }))).ok);
  for (const [at, stays] of [true, false, true].entries())
    t.equal(ruleset(lab).includes(`${pods[at]?.netns} eth0`), stays, `${at}`);
  lab.close();
});

const many = 30;
t.test(`${many} at once`, async (t) => {
  const lab = await makeLab();
  const netns = lab.container();
  const call = (at: number) =>
    conf({
      ingressPolicy: 'isolated',
      prevResult: {
        cniVersion: '1.1.0',
        interfaces: [{ name: 'lo' }, { name: `veth${at}` }],
        ips: [{ address: `10.88.0.${at + 2}/24` }],
      },
    });
  const ids = Array.from({ length: many }, (_, at) => `c${at}`);
  const failures = async (command: string) => {
    const answers = await Promise.all(ids.map((id, at) => lab.call(command, call(at), { id, netns })));
    return answers.filter(({ ok }) => !ok).map(({ json }) => json);
  };
  t.strictSame(await failures('ADD'), []);
  t.strictSame(await failures('CHECK'), []);
  t.strictSame(await failures('DEL'), []);
  t.notMatch(ruleset(lab), /c\d+ eth0/);
  lab.close();
});
