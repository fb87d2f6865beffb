// bandwidth against real namespaces, with a megabyte or two of real traffic.
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { until } from '../../until.ts';
import { addTo, makePod, resultOf } from './callers.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';

const conf = (more: object = {}): Conf => ({ cniVersion: '1.1.0', name: 'net', type: 'bandwidth', ...more });
const both = { ingressRate: 8_000_000, ingressBurst: 400_000, egressRate: 4_000_000, egressBurst: 400_000 };
const ifbs = (lab: Lab): string[] => lab.links().filter((name) => name.startsWith('pwb'));
const qdiscs = (lab: Lab, dev: string) =>
  JSON.parse(lab.inside(lab.host, ['tc', '-j', 'qdisc', 'show', 'dev', dev]));

for (const version of specVersions)
  t.test(`a round of all verbs, ${version}`, async (t) => {
    const lab = await makeLab();
    const one = await makePod(lab);
    const port = one.result.interfaces[1].name;
    const prevResult = resultOf(version, one.result);
    const call = conf({ cniVersion: version, ...both, prevResult });
    const options = { netns: one.netns, id: 'c1', args: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=web' };
    const added = await lab.call('ADD', call, options);
    t.match(added.json, { cniVersion: version, ips: prevResult.ips }, 'ADD');
    const [ifb] = ifbs(lab);
    const shown = added.json.interfaces[3];
    const [link] = lab.ip(lab.host, 'link', 'show', 'dev', ifb as string);
    t.match(link, {
      ifname: shown.name,
      address: shown.mac,
      ifalias: 'podwire: default/web eth0',
      linkinfo: { info_kind: 'ifb' },
    });
    t.strictSame(added.json.interfaces.slice(0, 3), prevResult.interfaces);
    t.match(qdiscs(lab, port), [
      { kind: 'tbf', root: true, options: { rate: 1_000_000, burst: 50_000 } },
      { kind: 'ingress' },
    ]);
    t.match(qdiscs(lab, ifb as string), [{ kind: 'tbf', options: { rate: 500_000, burst: 50_000 } }]);
    t.notOk(
      lab.ip(lab.host, 'addr', 'show', 'dev', ifb as string)[0].addr_info.length,
      'the device has no address',
    );
    if (version !== '0.3.1') {
      const later = { ...call, prevResult: added.json };
      t.ok((await lab.call('CHECK', later, options)).ok, 'CHECK when well');
      const slower = { ...later, ingressRate: 16_000_000 };
      t.match((await lab.call('CHECK', slower, options)).json, {
        code: 110,
        msg: /1000000 bytes\/s pass, not 2000000/,
      });
      lab.inside(lab.host, ['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
      t.match((await lab.call('CHECK', later, options)).json, { code: 110, msg: /does not lead to pwb/ });
      lab.inside(lab.host, ['ip', 'link', 'del', ifb as string]);
      t.match((await lab.call('CHECK', later, options)).json, { code: 110, msg: /pwb\w+ is missing/ });
    }
    if (version === '1.1.0') t.ok((await lab.call('STATUS', conf())).ok, 'STATUS');
    const { prevResult: _, ...bare } = call;
    for (const del of [call, call, bare, conf({ cniVersion: version })])
      t.ok((await lab.call('DEL', del as Conf, { id: 'c1' })).ok, 'DEL');
    t.strictSame(ifbs(lab), []);
    t.match((await lab.call('ADD', bare as Conf, options)).json, {
      code: 7,
      msg: /prevResult: .* must be chained/,
    });
    lab.close();
  });

/** Bytes per second from one namespace to another over one connection, counted where they arrive. */
function speed(from: string, to: string, address: string, bytes: number): number {
  const server = `
    require('net').createServer((s) => { let n = 0, first; s.on('data', (d) => { first ??= performance.now(); n += d.length; });
      s.on('end', () => { console.log(n / ((performance.now() - first) / 1000)); process.exit(0); }); })
      .listen(5001, '::', () => console.log('up'));`;
  const client = `const s = require('net').connect(5001, '${address}', () => s.end(Buffer.alloc(${bytes})));`;
  // One shell command, so that the test need not juggle two asynchronous ends.
  const script = `
    nsenter --net=/run/netns/${to} "$0" -e "$1" > "$3" & server=$!
    until grep -q up "$3"; do sleep 0.05; done
    nsenter --net=/run/netns/${from} "$0" -e "$2"; wait $server; tail -1 "$3"; rm -f "$3"`;
  const file = `/tmp/podwire-speed-${process.pid}`;
  return Number(
    execFileSync('sh', ['-c', script, process.execPath, server, client, file], { encoding: 'utf8' }),
  );
}

t.test('what passes', async (t) => {
  const lab = await makeLab();
  const [one, two] = [await makePod(lab), await makePod(lab)];
  const bytes = 1_000_000;
  const [first, second] = [one, two].map(({ result }) => result.ips[0].address.split('/')[0]) as [
    string,
    string,
  ];
  // On a busy machine a measurement may be of anything: one undisturbed is waited for.
  let measured = 0;
  const within = (measure: () => number) => (least: number, most: number) =>
    until(() => {
      measured = measure();
      return measured > least && measured < most;
    });
  const receives = within(() => speed(two.netns, one.netns, first, bytes));
  const sends = within(() => speed(one.netns, two.netns, second, bytes));
  t.ok(await receives(3_000_000, Number.POSITIVE_INFINITY), 'unlimited before', { measured });
  const added = await addTo(lab, one, conf({ runtimeConfig: { bandwidth: both } }));
  t.ok(added.ok, 'ADD with the capability bandwidth', { found: added.json });
  t.ok(await receives(500_000, 1_200_000), 'the container receives a megabyte a second', { measured });
  t.ok(await sends(250_000, 620_000), 'and sends half of one', { measured });
  t.ok((await lab.call('DEL', conf({ runtimeConfig: { bandwidth: both } }), { id: one.netns })).ok);
  t.ok((await lab.call('DEL', one.conf, { netns: one.netns, id: one.netns })).ok);
  t.strictSame(lab.links().sort(), ['br0', two.result.interfaces[1].name].sort());
  lab.close();
});

t.test('the list wins over the capability; 0 and nothing are no limit; one way only', async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  const port = one.result.interfaces[1].name;
  for (const none of [{}, { ingressRate: 0, ingressBurst: 0 }, { runtimeConfig: { bandwidth: {} } }]) {
    const { json } = await addTo(lab, one, conf(none));
    t.strictSame(json.interfaces, one.result.interfaces, JSON.stringify(none));
    t.strictSame(
      qdiscs(lab, port).filter(({ kind }: { kind: string }) => kind !== 'noqueue'),
      [],
    );
  }
  const more = { ingressRate: 1_000_000, ingressBurst: 100_000, runtimeConfig: { bandwidth: both } };
  t.ok((await addTo(lab, one, conf(more))).ok);
  t.match(qdiscs(lab, port), [{ kind: 'tbf', options: { rate: 125_000 } }]);
  t.strictSame(ifbs(lab), [], 'no device where only what the container receives is limited');
  lab.close();
});

t.test('an ADD that fails leaves nothing; one after a lost one succeeds', async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  const port = one.result.interfaces[1].name;
  lab.inside(lab.host, ['tc', 'qdisc', 'add', 'dev', port, 'ingress']);
  const failed = await addTo(lab, one, conf(both));
  t.match(failed.json, { code: 120, msg: /tc qdisc add dev veth\w+ handle ffff: ingress: .*/ });
  t.notMatch(failed.json.msg, /undoing it failed/);
  t.strictSame(ifbs(lab), []);
  t.ok((await addTo(lab, one, conf(both))).ok);
  lab.inside(lab.host, ['tc', 'qdisc', 'del', 'dev', port, 'ingress']);
  t.ok((await addTo(lab, one, conf(both))).ok, 'the device of the lost ADD is replaced');
  t.equal(ifbs(lab).length, 1);
  const foreign = { ...one.result, interfaces: [{ name: 'br0' }, { name: 'eth0', sandbox: '/x' }] };
  const none = await lab.call('ADD', conf({ ...both, prevResult: foreign }), { netns: one.netns });
  t.match(
    none.json,
    { code: 7, msg: /prevResult\.interfaces: expected the machine's end of eth0/ },
    'a bridge is never shaped',
  );
  lab.close();
});

t.test('a burst of less than a packet is told', async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  const { stderr } = await lab.exec({
    argv: [`${lab.plugins}/bandwidth`],
    input: JSON.stringify(conf({ ingressRate: 80_000, ingressBurst: 8000, prevResult: one.result })),
    env: {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'c1',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: `/run/netns/${one.netns}`,
      CNI_PATH: lab.plugins,
    },
  });
  t.match(stderr, /ingressBurst 8000 bits is less than one packet of 1514 bytes/);
  lab.close();
});

t.test('GC, and many at once', async (t) => {
  const lab = await makeLab();
  const pods = await Promise.all(Array.from({ length: 12 }, () => makePod(lab)));
  const other = pods.pop() as (typeof pods)[number];
  const answers = await Promise.all(pods.map((pod) => addTo(lab, pod, conf(both))));
  t.strictSame(
    answers.filter(({ ok }) => !ok),
    [],
  );
  t.ok((await addTo(lab, other, conf({ ...both, name: 'other' }))).ok);
  t.equal(ifbs(lab).length, 12);
  const valid = [{ containerID: pods[0]?.netns, ifname: 'eth0' }];
  t.ok((await lab.call('GC', conf({ 'cni.dev/valid-attachments': valid }))).ok);
  const kept = [answers[0]?.json.interfaces[3].name];
  t.equal(ifbs(lab).length, 2, "the valid one's, and another network's");
  t.ok(ifbs(lab).includes(kept[0]));
  lab.close();
});
