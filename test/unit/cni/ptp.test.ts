// ptp: its configuration, and the golden texts that an ADD hands to ip.
import t from 'tap';
import { parseConf } from '../../../cni-plugins/ptp/conf.ts';
import { planAdd, type Wish } from '../../../cni-plugins/ptp/plan.ts';
import { Fields } from '../../../lib/cni/json.ts';
import type { CniResult } from '../../../lib/cni/types.ts';
import { ipLine } from '../../../lib/kernel/net.ts';

const conf = (json: object) => parseConf(new Fields({ ipam: { type: 'host-local' }, ...json }, ''), {});

const refused: Array<[string, object, number, RegExp]> = [
  ['no ipam', { ipam: {} }, 7, /^ipam: /],
  ['iptables', { ipMasqBackend: 'iptables' }, 2, /^ipMasqBackend: "iptables"/],
  ['mtu', { mtu: 20 }, 7, /^mtu: .*68/],
  ['mac', { runtimeConfig: { mac: '03:00:00:00:00:01' } }, 7, /^mac: /],
];
for (const [name, json, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode, message });
  });

const wish = (ipam: CniResult, json: object = {}): Wish => ({
  conf: conf(json),
  netns: '/run/netns/web',
  ifname: 'eth0',
  veth: 'vethabc01234567',
  alias: 'podwire: default/web eth0',
  macs: { host: '02:00:00:00:00:01', container: '02:00:00:00:00:02' },
  ipv6: true,
  ipam,
});

t.test('dual stack', async (t) => {
  const { host, pod, result } = planAdd(
    wish(
      {
        ips: [
          { address: '10.1.0.2/24', gateway: '10.1.0.1' },
          { address: 'fd00::2/64', gateway: 'fd00::1' },
        ],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
      { mtu: 1400 },
    ),
  );
  t.strictSame(host.map(ipLine), [
    'link add name vethabc01234567 address 02:00:00:00:00:01 mtu 1400 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1400 netns web',
    'link set dev vethabc01234567 addrgenmode none',
    'link set dev vethabc01234567 alias "podwire: default/web eth0" up',
    'addr replace fe80::ff:fe00:1/64 dev vethabc01234567 nodad',
    'addr replace 10.1.0.1/32 brd + dev vethabc01234567',
    'addr replace fd00::1/128 dev vethabc01234567 nodad',
    'route add 10.1.0.2/32 dev vethabc01234567',
    'route add fd00::2/128 dev vethabc01234567',
  ]);
  t.strictSame(pod.map(ipLine), [
    'link set dev eth0 addrgenmode none',
    'link set dev eth0 up',
    'addr add fe80::ff:fe00:2/64 dev eth0 nodad',
    'addr add 10.1.0.2/24 brd + dev eth0 noprefixroute',
    'addr add fd00::2/64 dev eth0 nodad noprefixroute',
    'route replace 10.1.0.1/32 dev eth0 src 10.1.0.2 scope 253',
    'route replace 10.1.0.0/24 via 10.1.0.1 dev eth0 src 10.1.0.2',
    'route replace fd00::1/128 dev eth0 src fd00::2 scope 253',
    'route replace fd00::/64 via fd00::1 dev eth0 src fd00::2',
    'route add 0.0.0.0/0 via 10.1.0.1 dev eth0',
    'route add ::/0 via fd00::1 dev eth0',
  ]);
  t.match(result, {
    interfaces: [
      { name: 'vethabc01234567', mtu: 1400 },
      { name: 'eth0', mtu: 1400, sandbox: '/run/netns/web' },
    ],
    ips: [{ interface: 1 }, { interface: 1 }],
  });
});

t.test('one address', async (t) => {
  const { pod } = planAdd(wish({ ips: [{ address: '10.1.0.2/32', gateway: '169.254.1.1' }] }));
  t.strictSame(pod.map(ipLine).slice(1), [
    'addr add 10.1.0.2/32 brd + dev eth0 noprefixroute',
    'route replace 169.254.1.1/32 dev eth0 src 10.1.0.2 scope 253',
  ]);
});

for (const [name, gateway] of [
  ['none', undefined],
  ['its own', '10.1.0.2'],
  ["another family's", 'fd00::1'],
] as const)
  t.test(`refused gateway: ${name}`, async (t) => {
    const ip = gateway === undefined ? {} : { gateway };
    t.throws(() => planAdd(wish({ ips: [{ address: '10.1.0.2/24', ...ip }] })), {
      cniCode: 7,
      message: /^ipam: gave 10\.1\.0\.2\/24 with/,
    });
  });
