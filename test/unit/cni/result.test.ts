// Results between the versions of the specification.
import t from 'tap';
import { parseResult, parseVersion, toVersion } from '../../../lib/cni/result.ts';
import type { CniResult, SpecVersion } from '../../../lib/cni/types.ts';

const whole: CniResult = {
  interfaces: [
    { name: 'br0', mac: '02:00:00:00:00:01' },
    { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1400, sandbox: '/run/netns/x' },
  ],
  ips: [
    { address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 1 },
    { address: 'fd00::2/64', interface: 1 },
  ],
  routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.1', mtu: 1300, advmss: 1260, priority: 7, table: 9, scope: 0 }],
  dns: { nameservers: ['10.0.0.1'] },
};
const plainInterfaces = [
  { name: 'br0', mac: '02:00:00:00:00:01' },
  { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/x' },
];
const plainRoutes = [{ dst: '0.0.0.0/0', gw: '10.1.0.1' }];
const oldIps = [
  { version: '4', address: '10.1.0.2/24', gateway: '10.1.0.1', interface: 1 },
  { version: '6', address: 'fd00::2/64', interface: 1 },
];

const cases: Array<[SpecVersion, object]> = [
  ['1.1.0', { cniVersion: '1.1.0', ...whole }],
  [
    '1.0.0',
    { cniVersion: '1.0.0', interfaces: plainInterfaces, ips: whole.ips, routes: plainRoutes, dns: whole.dns },
  ],
  [
    '0.4.0',
    { cniVersion: '0.4.0', interfaces: plainInterfaces, ips: oldIps, routes: plainRoutes, dns: whole.dns },
  ],
  [
    '0.3.1',
    { cniVersion: '0.3.1', interfaces: plainInterfaces, ips: oldIps, routes: plainRoutes, dns: whole.dns },
  ],
];
for (const [version, json] of cases)
  t.test(`to and from ${version}`, async (t) => {
    t.strictSame(toVersion(whole, version), json);
    const back = parseResult(json, 'prevResult');
    t.strictSame(toVersion(back, version), json, 'read again, it says the same');
  });

t.test('an empty result', async (t) => {
  t.strictSame(toVersion({}, '1.0.0'), { cniVersion: '1.0.0' });
  t.strictSame(parseResult({ cniVersion: '1.0.0', dns: {} }, 'r'), {});
});

for (const value of [undefined, '0.2.0', '2.0.0', 1, null])
  t.test(`version ${JSON.stringify(value)}`, async (t) => {
    t.throws(() => parseVersion(value), { cniCode: 1, message: /cniVersion/ });
  });

const wrong: Array<[unknown, RegExp]> = [
  [7, /^prevResult: expected a JSON object/],
  [{ ips: [{ address: '10.0.0.1' }] }, /^prevResult\.ips\[0\]\.address/],
  [{ ips: [{ address: '10.0.0.1/8', gateway: 'x' }] }, /gateway/],
  [{ routes: [{ dst: 'default' }] }, /^prevResult\.routes\[0\]\.dst/],
  [{ interfaces: {} }, /^prevResult\.interfaces: expected an array/],
  [{ dns: { search: [1] } }, /^prevResult\.dns\.search\[0\]/],
];
for (const [value, message] of wrong)
  t.test(`refused: ${JSON.stringify(value)}`, async (t) => {
    t.throws(() => parseResult(value, 'prevResult'), { cniCode: 7, message });
  });
