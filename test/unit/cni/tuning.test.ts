// tuning: its configuration, the line that an ADD hands to ip, and what CHECK finds.
import t from 'tap';
import { checkAllowed, parseConf } from '../../../cni-plugins/tuning/conf.ts';
import {
  findFaults,
  formerOf,
  settingsLine,
  settingsOf,
  withSettings,
} from '../../../cni-plugins/tuning/plan.ts';
import { Fields } from '../../../lib/cni/json.ts';

const conf = (json: object, args: Record<string, string> = {}, ifname = 'eth0') =>
  parseConf(new Fields(json, ''), { args, ifname });

const refused: Array<[string, object, RegExp]> = [
  [
    'a key of the whole machine',
    { sysctl: { 'kernel.shmmax': '1' } },
    /^sysctl\.kernel\.shmmax: expected a key below net\./,
  ],
  ['a way out', { sysctl: { 'net/../kernel/shmmax': '1' } }, /^sysctl\.net\/\.\.\/kernel/],
  ['a way out by dots', { sysctl: { 'net...kernel.shmmax': '1' } }, /^sysctl\./],
  ['net alone', { sysctl: { 'net.x': '1' } }, /^sysctl\.net\.x: /],
  [
    'a number',
    { sysctl: { 'net.core.somaxconn': 1 } },
    /^sysctl\.net\.core\.somaxconn: expected a string, got 1/,
  ],
  [
    'two lines',
    { sysctl: { 'net.core.somaxconn': '1\n2' } },
    /^sysctl\.net\.core\.somaxconn: expected a value/,
  ],
  ['nothing', { sysctl: { 'net.core.somaxconn': '' } }, /^sysctl\.net\.core\.somaxconn: expected a value/],
  [
    'one key in two spellings',
    { sysctl: { 'net.core.somaxconn': '1', 'net/core/somaxconn': '2' } },
    /one spelling of net\.core\.somaxconn/,
  ],
  ['a multicast MAC', { mac: '01:00:00:00:00:00' }, /^mac: /],
  ['a tiny MTU', { mtu: 60 }, /^mtu: .*68/],
  ['a text for a boolean', { promisc: 'on' }, /^promisc: expected true or false/],
  ['a negative length', { txQLen: -1 }, /^txQLen: /],
  ['a folder that is none', { dataDir: 'run' }, /^dataDir: expected an absolute path/],
];
for (const [name, json, message] of refused)
  t.test(`refused: ${name}`, async (t) => {
    t.throws(() => conf(json), { cniCode: 7, message });
  });

t.test('defaults, and values that ask for nothing', async (t) => {
  const nothing = { sysctls: [], link: {}, dataDir: '/run/cni/tuning' };
  for (const json of [{}, { mac: '', mtu: 0, promisc: false, dataDir: '' }])
    t.strictSame(conf(json), nothing);
  t.strictSame(
    conf({ allmulti: false, txQLen: 0 }).link,
    { allmulti: false, txQLen: 0 },
    'these are asked for',
  );
});

t.test('sysctl keys', async (t) => {
  const paths = (sysctl: object, ifname = 'eth0') =>
    conf({ sysctl }, {}, ifname).sysctls.map(({ path }) => path);
  t.strictSame(paths({ 'net.ipv4.conf.IFNAME.arp_filter': '1' }), [
    '/proc/sys/net/ipv4/conf/eth0/arp_filter',
  ]);
  t.strictSame(paths({ 'net.ipv4.conf.IFNAME.arp_filter': '1' }, 'eth0.100'), [
    '/proc/sys/net/ipv4/conf/eth0.100/arp_filter',
  ]);
  t.strictSame(paths({ 'net/ipv4/conf/eth0.5/arp_filter': '1' }), [
    '/proc/sys/net/ipv4/conf/eth0.5/arp_filter',
  ]);
  const both = conf({
    sysctl: { 'net.core.somaxconn': '1' },
    args: { cni: { sysctl: { 'net/core/somaxconn': '2' } } },
  });
  t.match(both.sysctls, [{ value: '2' }], 'args.cni wins');
});

t.test('the allow list', async (t) => {
  const { sysctls } = conf({ sysctl: { 'net.core.somaxconn': '1', 'net.ipv4.conf.IFNAME.arp_filter': '1' } });
  t.doesNotThrow(() => checkAllowed(sysctls, undefined), 'no list: all');
  t.doesNotThrow(() => checkAllowed(sysctls, 'somax\n\n ^net\\.ipv4\\.conf\\.IFNAME\\. \n'));
  t.throws(() => checkAllowed(sysctls, 'somax'), {
    cniCode: 7,
    message: /^sysctl\.net\.ipv4\.conf\.IFNAME\.arp_filter: not allowed/,
  });
  t.throws(() => checkAllowed(sysctls, ''), { cniCode: 7, message: /not allowed/ });
  t.throws(() => checkAllowed(sysctls, '['), { cniCode: 7, message: /allowlist\.conf: / });
});

t.test('the line, and what is put back', async (t) => {
  const wanted = conf({ mac: '02:00:00:00:00:01', mtu: 1400, promisc: true, txQLen: 7 }).link;
  t.equal(
    settingsLine('eth0', wanted),
    'link set dev eth0 address 02:00:00:00:00:01 mtu 1400 promisc on txqueuelen 7',
  );
  t.equal(settingsLine('eth0', {}), undefined);
  const now = settingsOf({
    address: '02:00:00:00:00:99',
    mtu: 1500,
    txqlen: 1000,
    flags: ['UP', 'ALLMULTI'],
  });
  t.strictSame(now, { mac: '02:00:00:00:00:99', mtu: 1500, promisc: false, allmulti: true, txQLen: 1000 });
  t.equal(
    settingsLine('eth0', formerOf(wanted, now)),
    'link set dev eth0 address 02:00:00:00:00:99 mtu 1500 promisc off txqueuelen 1000',
    'only what was changed',
  );
});

t.test('the result afterwards', async (t) => {
  const result = { interfaces: [{ name: 'eth0' }, { name: 'eth0', mac: 'a', sandbox: '/x' }] };
  t.strictSame(withSettings(result, 'eth0', { mac: 'b', mtu: 9, promisc: true }), {
    interfaces: [{ name: 'eth0' }, { name: 'eth0', mac: 'b', sandbox: '/x', mtu: 9 }],
  });
  t.strictSame(withSettings({}, 'eth0', { mtu: 9 }), {});
});

t.test('faults', async (t) => {
  const { sysctls } = conf({ sysctl: { 'net.ipv4.tcp_rmem': '1 2 3', 'net.core.somaxconn': '5' } });
  const wanted = { ifname: 'eth0', link: { mtu: 1400 }, sysctls };
  t.strictSame(findFaults(wanted, { link: { mtu: 1400, promisc: true }, values: ['1\t2\t3', '5'] }), []);
  t.strictSame(findFaults(wanted, { link: undefined, values: ['1\t2\t4', ''] }), [
    'eth0 is missing in the container',
    'sysctl net.ipv4.tcp_rmem is "1 2 4", not "1 2 3"',
    'sysctl net.core.somaxconn is "", not "5"',
  ]);
});
