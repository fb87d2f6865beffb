// bandwidth: its configuration, and the golden texts that an ADD hands to ip and tc.
import t from 'tap';
import { parseConf } from '../../../cni-plugins/bandwidth/conf.ts';
import {
  askLines,
  ifbLines,
  ifbName,
  ifbPrefix,
  portCandidates,
  shapeFaults,
  shapeLines,
  tightBuckets,
  unshapeLines,
} from '../../../cni-plugins/bandwidth/plan.ts';
import { Fields } from '../../../lib/cni/json.ts';
import { burstBytes, tbfWords, tcAsk, tcBatch } from '../../../lib/kernel/tc.ts';

const conf = (json: object) => parseConf(new Fields(json, ''));
const refused: Array<[string, object, number, RegExp]> = [
  ['a rate without burst', { ingressRate: 1000 }, 7, /^ingressBurst: .* beside ingressRate/],
  ['a burst without rate', { egressBurst: 1000 }, 7, /^egressRate: .* beside egressBurst/],
  ['a negative rate', { ingressRate: -1, ingressBurst: 8 }, 7, /^ingressRate: /],
  [
    'a text',
    { runtimeConfig: { bandwidth: { egressRate: '1M' } } },
    7,
    /^runtimeConfig\.bandwidth\.egressRate: .*"1M"/,
  ],
  ['4 GB of burst', { ingressRate: 8, ingressBurst: 8 * 2 ** 32 }, 7, /^ingressBurst: /],
  ['subnets', { unshapedSubnets: ['10.0.0.0/8'] }, 2, /^unshapedSubnets: /],
  ['subnets too', { shapedSubnets: ['10.0.0.0/8'] }, 2, /^shapedSubnets: /],
];
for (const [name, json, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode, message });
  });

const shape = (rate: number, burst: number) => ({ rate, burst });

t.test('where the values come from', async (t) => {
  const bandwidth = { egressRate: 100, egressBurst: 80 };
  t.strictSame(conf({}), { ingress: undefined, egress: undefined });
  t.strictSame(conf({ unshapedSubnets: [], runtimeConfig: { bandwidth } }), {
    ingress: undefined,
    egress: shape(100, 80),
  });
  t.strictSame(conf({ ingressRate: 16, ingressBurst: 8, runtimeConfig: { bandwidth } }), {
    ingress: shape(16, 8),
    egress: undefined,
  });
  t.strictSame(
    conf({ ingressRate: 0, runtimeConfig: { bandwidth } }),
    { ingress: undefined, egress: undefined },
    'a 0 of the list counts',
  );
});

const buckets: Array<[string, number, number, number]> = [
  ['bits to bytes', 1_000_000, 100_000, 12_500],
  ['a burst that Kubernetes means as none', 1_000_000, 2 ** 31 - 1, 34_250_000],
  ['the same, fast enough to count', 10_000_000_000, 2 ** 31 - 1, 268_435_455],
  ['less than a byte', 8, 8, 1],
];
for (const [name, rate, burst, bytes] of buckets)
  t.test(`bucket: ${name}`, async (t) => {
    t.equal(burstBytes({ rate, burst }), bytes);
    t.equal(tbfWords({ rate, burst }), `tbf rate ${rate}bit burst ${bytes} latency 25ms`);
  });

const two = { ingress: shape(8_000_000, 80_000), egress: shape(4_000_000, 80_000) };

t.test('lines of an ADD', async (t) => {
  t.strictSame(shapeLines(two, 'veth1', 'pwb1'), [
    'qdisc replace dev veth1 root handle 1: tbf rate 8000000bit burst 10000 latency 25ms',
    'qdisc replace dev pwb1 root handle 1: tbf rate 4000000bit burst 10000 latency 25ms',
    'qdisc add dev veth1 handle ffff: ingress',
    'filter add dev veth1 parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev pwb1',
  ]);
  t.equal(shapeLines({ ...two, egress: undefined }, 'veth1', 'pwb1').length, 1);
  t.strictSame(unshapeLines(two, 'veth1'), ['qdisc del dev veth1 root', 'qdisc del dev veth1 ingress']);
  const ifb = {
    name: 'pwb1',
    mac: '02:00:00:00:00:01',
    mtu: 1450,
    alias: 'podwire: default/web eth0',
    ipv6: true,
  };
  t.strictSame(ifbLines(ifb), [
    'link add name pwb1 address 02:00:00:00:00:01 mtu 1450 type ifb',
    'link set dev pwb1 addrgenmode none',
    'link set dev pwb1 alias "podwire: default/web eth0" up',
  ]);
  t.equal(ifbLines({ ...ifb, ipv6: false }).length, 2);
});

t.test('names', async (t) => {
  const name = ifbName('net', { containerId: 'c1', ifname: 'eth0' });
  t.match(name, /^pwb[0-9a-f]{12}$/);
  t.ok(name.startsWith(ifbPrefix('net')));
  t.not(name, ifbName('net', { containerId: 'c1', ifname: 'eth1' }));
});

t.test('faults', async (t) => {
  const names = { port: 'veth1', ifb: 'pwb1' };
  const tbf = (rate: number, burst = 10_000) => ({ kind: 'tbf', root: true, options: { rate, burst } });
  const redirect = { kind: 'u32', options: { actions: [{ kind: 'mirred', to_dev: 'pwb1' }] } };
  t.strictSame(
    shapeFaults(two, names, [
      [tbf(1_000_000), { kind: 'ingress' }],
      [tbf(500_000, 9_990)],
      [{ kind: 'u32' }, redirect],
    ]),
    [],
  );
  t.strictSame(shapeFaults(two, names, [[], [tbf(400_000, 5)], []]), [
    'veth1 has no token bucket',
    'pwb1 lets 400000 bytes/s pass, not 500000',
    'pwb1 has a burst of 5 bytes, not 10000',
    'veth1 does not lead to pwb1',
  ]);
  t.strictSame(askLines(two, 'veth1', 'pwb1'), [
    'qdisc show dev veth1',
    'qdisc show dev pwb1',
    'filter show dev veth1 parent ffff:',
  ]);
  t.strictSame(askLines({ ...two, egress: undefined }, 'veth1', 'pwb1'), ['qdisc show dev veth1']);
});

t.test('tight buckets', async (t) => {
  t.strictSame(tightBuckets(two, 1500), []);
  t.match(tightBuckets({ ...two, egress: shape(8000, 12_000) }, 1500), [
    /^egressBurst 12000 bits is less than one packet of 1514/,
  ]);
});

t.test("the machine's end is listed last before the container's", async (t) => {
  const result = {
    interfaces: [{ name: 'br0' }, { name: 'veth1' }, { name: 'eth0', sandbox: '/x' }, { name: 'ifb9' }],
  };
  t.strictSame(portCandidates(result, 'eth0'), ['veth1', 'br0']);
  t.strictSame(portCandidates({}, 'eth0'), []);
});

t.test('tc: what is run, asked and reported', async (t) => {
  const seen: string[] = [];
  const exec = async ({ argv, input = '' }: { argv: readonly string[]; input?: string }) => {
    seen.push(`${argv.join(' ')} < ${JSON.stringify(input)}`);
    return { stdout: '[{"kind":"tbf"}]\n[]\n', stderr: '', exitCode: 0 };
  };
  await tcBatch([], { exec });
  await tcBatch(['qdisc del dev a root'], { exec, netns: 'x', trace: (line) => seen.push(line.tool) });
  t.strictSame(await tcAsk(['qdisc show dev a', 'qdisc show dev b'], { exec }), [[{ kind: 'tbf' }], []]);
  t.strictSame(seen, [
    'nsenter --net=/run/netns/x tc -batch - < "qdisc del dev a root\\n"',
    'tc',
    'tc -j -batch - < "qdisc show dev a\\nqdisc show dev b\\n"',
  ]);
});
