// static: its configuration, from four sources, and its CHECK.
import t from 'tap';
import { parseConf } from '../../../cni-plugins/static/conf.ts';
import { findFaults, staticPlugin } from '../../../cni-plugins/static/static.ts';
import { Fields } from '../../../lib/cni/json.ts';

const conf = (json: object, args: Record<string, string> = {}) => parseConf(new Fields(json, ''), args);
const written = {
  type: 'static',
  addresses: [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }, { address: 'FD00::0:5/64' }],
};

const taken: Array<[string, object, Record<string, string>, object[]]> = [
  ['as written', {}, {}, [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }, { address: 'fd00::5/64' }]],
  [
    'CNI_ARGS adds',
    {},
    { IP: '10.2.0.5/24, fd01::5/64', GATEWAY: '10.2.0.1,fd01::1' },
    [
      { address: '10.1.0.5/24', gateway: '10.1.0.1' },
      { address: 'fd00::5/64' },
      { address: '10.2.0.5/24', gateway: '10.2.0.1' },
      { address: 'fd01::5/64', gateway: 'fd01::1' },
    ],
  ],
  ['args replaces', { args: { cni: { ips: ['10.3.0.5/24'] } } }, {}, [{ address: '10.3.0.5/24' }]],
  [
    'the capability replaces that',
    { args: { cni: { ips: ['10.3.0.5/24'] } }, runtimeConfig: { ips: ['10.4.0.5/24'] } },
    { IP: '10.2.0.5/24' },
    [{ address: '10.4.0.5/24' }],
  ],
];
for (const [name, more, args, ips] of taken)
  t.test(name, async (t) => {
    t.strictSame(conf({ ipam: written, ...more }, args).ips, ips);
  });

const refused: Array<[string, object, Record<string, string>, number, RegExp]> = [
  ['no ipam', {}, {}, 7, /^ipam: /],
  [
    'no length',
    { ipam: { addresses: [{ address: '10.1.0.5' }] } },
    {},
    7,
    /^ipam\.addresses\[0\]\.address: /,
  ],
  ['no address', { ipam: { addresses: [{}] } }, {}, 7, /^ipam\.addresses\[0\]\.address: /],
  [
    "another family's gateway",
    { ipam: { addresses: [{ address: '10.1.0.5/24', gateway: 'fd00::1' }] } },
    {},
    7,
    /gateway: expected an IPv4 address, got "fd00::1"/,
  ],
  ['capability', { ipam: {}, runtimeConfig: { ips: ['x'] } }, {}, 7, /^runtimeConfig\.ips\[0\]: /],
  ['args', { ipam: {}, args: { cni: { ips: ['x'] } } }, {}, 7, /^args\.cni\.ips\[0\]: /],
  ['CNI_ARGS IP', { ipam: {} }, { IP: '10.1.0.5' }, 4, /^CNI_ARGS IP: /],
  ['CNI_ARGS GATEWAY', { ipam: {} }, { GATEWAY: '10.1.0.5/24' }, 4, /^CNI_ARGS GATEWAY: /],
  [
    'twice',
    { ipam: { addresses: [{ address: '10.1.0.5/24' }, { address: '10.1.0.5/16' }] } },
    {},
    7,
    /10\.1\.0\.5\/16/,
  ],
  ['route', { ipam: { routes: [{ dst: 'all' }] } }, {}, 7, /^ipam\.routes\[0\]\.dst: /],
];
for (const [name, json, args, cniCode, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json, args), { cniCode, message });
  });

t.test('CHECK', async (t) => {
  const ips = [{ address: '10.1.0.5/24', gateway: '10.1.0.1' }];
  t.strictSame(findFaults(ips, ips), []);
  t.strictSame(findFaults(ips, []), ['address 10.1.0.5/24 is not in prevResult']);
  t.strictSame(findFaults(ips, [{ address: '10.1.0.5/24' }]), [
    'address 10.1.0.5/24 has gateway none in prevResult, not 10.1.0.1',
  ]);
  t.equal(staticPlugin.ipam, true);
});
