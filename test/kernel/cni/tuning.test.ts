// tuning against real namespaces: set, checked, put back; never anything of the machine's own.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { specVersions } from '../../../lib/cni/types.ts';
import { addTo, makePod, resultOf } from './callers.ts';
import { type Conf, type Lab, makeLab } from './fixture.ts';

const conf = (lab: Lab, more: object = {}): Conf => ({
  cniVersion: '1.1.0',
  name: 'net',
  type: 'tuning',
  dataDir: join(lab.dir, 'tuning'),
  ...more,
});
const link = (lab: Lab, netns: string) => lab.ip(netns, 'link', 'show', 'dev', 'eth0')[0];
const sysctl = (lab: Lab, netns: string, key: string): string =>
  lab.inside(netns, ['cat', `/proc/sys/${key.replaceAll('.', '/')}`]).trim();
const kept = (lab: Lab): string[] =>
  existsSync(join(lab.dir, 'tuning')) ? readdirSync(join(lab.dir, 'tuning')) : [];

const everything = {
  sysctl: {
    'net.core.somaxconn': '500',
    'net.ipv4.conf.IFNAME.arp_filter': '1',
    'net/ipv4/conf/IFNAME/proxy_arp': '1',
    'net.ipv4.ip_local_port_range': '20000 30000',
  },
  mac: '02:00:00:00:00:AB',
  mtu: 1400,
  promisc: true,
  allmulti: true,
  txQLen: 77,
};

for (const version of specVersions)
  t.test(`a round of all verbs, ${version}`, async (t) => {
    const lab = await makeLab();
    const one = await makePod(lab);
    const before = link(lab, one.netns);
    const onMachine = sysctl(lab, lab.host, 'net.core.somaxconn');
    const prevResult = resultOf(version, one.result);
    const call = conf(lab, { cniVersion: version, ...everything, prevResult });
    const options = { netns: one.netns, id: 'c1' };
    const added = await lab.call('ADD', call, options);
    const shown = added.json.interfaces[2];
    t.match(added.json, { cniVersion: version, ips: prevResult.ips }, 'ADD');
    t.equal(shown.mac, '02:00:00:00:00:ab', 'the result has the new MAC');
    t.equal(shown.mtu, version === '1.1.0' ? 1400 : undefined);
    const now = link(lab, one.netns);
    t.match(now, { address: '02:00:00:00:00:ab', mtu: 1400, txqlen: 77 });
    t.ok(now.flags.includes('PROMISC') && now.flags.includes('ALLMULTI'));
    t.equal(sysctl(lab, one.netns, 'net.core.somaxconn'), '500');
    t.equal(sysctl(lab, one.netns, 'net.ipv4.conf.eth0.arp_filter'), '1');
    t.equal(sysctl(lab, one.netns, 'net.ipv4.conf.eth0.proxy_arp'), '1');
    t.equal(sysctl(lab, lab.host, 'net.core.somaxconn'), onMachine, "the machine's own stays");
    t.strictSame(kept(lab), ['c1_eth0.json']);
    t.match(JSON.parse(readFileSync(join(lab.dir, 'tuning/c1_eth0.json'), 'utf8')), {
      mac: before.address,
      mtu: 1500,
      promisc: false,
      allmulti: false,
      txQLen: before.txqlen,
    });
    if (version !== '0.3.1') {
      const later = { ...call, prevResult: added.json };
      t.ok((await lab.call('CHECK', later, options)).ok, 'CHECK when well');
      lab.inside(one.netns, ['ip', 'link', 'set', 'eth0', 'mtu', '1300']);
      lab.inside(one.netns, ['tee', '/proc/sys/net/core/somaxconn'], '42');
      t.match((await lab.call('CHECK', later, options)).json, {
        code: 110,
        msg: 'eth0: mtu is 1300, not 1400; sysctl net.core.somaxconn is "42", not "500"',
      });
    }
    if (version === '1.1.0') t.ok((await lab.call('STATUS', conf(lab, everything))).ok, 'STATUS');
    t.ok((await lab.call('DEL', call, options)).ok, 'DEL');
    const after = link(lab, one.netns);
    t.match(after, { address: before.address, mtu: 1500, txqlen: before.txqlen }, 'as before');
    t.notOk(after.flags.includes('PROMISC') || after.flags.includes('ALLMULTI'));
    t.strictSame(kept(lab), []);
    const { prevResult: _, ...bare } = call;
    for (const netns of [one.netns, '', 'no-such-namespace'])
      t.ok((await lab.call('DEL', bare as Conf, { id: 'c1', netns })).ok, `DEL again, netns "${netns}"`);
    t.match((await lab.call('ADD', bare as Conf, options)).json, {
      code: 7,
      msg: /prevResult: .* must be chained/,
    });
    lab.close();
  });

t.test('where values come from', async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  const add = async (more: object, args = '') => {
    const { ok, json } = await lab.call('ADD', conf(lab, { ...more, prevResult: one.result }), {
      netns: one.netns,
      id: 'c1',
      args,
    });
    t.ok(ok, 'ADD', { found: json });
    return link(lab, one.netns);
  };
  const mac = (last: number) => `02:00:00:00:00:0${last}`;
  t.match(await add({ mac: mac(1) }, `MAC=${mac(2)}`), { address: mac(2) });
  t.match(await add({ mac: mac(1), runtimeConfig: { mac: mac(3) } }, `MAC=${mac(2)}`), { address: mac(3) });
  t.match(
    await add({
      runtimeConfig: { mac: mac(3) },
      mtu: 1400,
      args: { cni: { mac: mac(4), mtu: 1300, txQLen: 5 } },
    }),
    {
      address: mac(4),
      mtu: 1300,
      txqlen: 5,
    },
  );
  await add({
    sysctl: { 'net.core.somaxconn': '1' },
    args: { cni: { sysctl: { 'net.core.somaxconn': '2' } } },
  });
  t.equal(sysctl(lab, one.netns, 'net.core.somaxconn'), '2');
  lab.close();
});

t.test('an ADD that fails leaves the interface as it was', async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  // A tap takes the MAC, and then not this MTU: half of it was done.
  lab.inside(one.netns, ['ip', 'tuntap', 'add', 'dev', 'eth7', 'mode', 'tap']);
  const tap = () => lab.ip(one.netns, 'link', 'show', 'dev', 'eth7')[0];
  const before = tap();
  const change = { mac: '02:00:00:00:00:01', mtu: 65535, txQLen: 9 };
  const onTap = { netns: one.netns, id: one.netns, ifname: 'eth7' };
  const tooLong = await lab.call('ADD', conf(lab, { ...change, prevResult: one.result }), onTap);
  t.match(tooLong.json, { code: 120, msg: /ip link set dev eth7 address .* mtu 65535/ });
  t.match(tap(), { address: before.address, mtu: 1500, txqlen: before.txqlen });
  const noKey = await addTo(lab, one, conf(lab, { sysctl: { 'net.core.nothing': '1' } }));
  t.match(noKey.json, { code: 120, msg: /sysctl net\.core\.nothing=1: .*No such file/ });
  const badValue = await addTo(lab, one, conf(lab, { sysctl: { 'net.ipv4.ip_forward': 'yes' } }));
  t.match(badValue.json, { code: 120, msg: /sysctl net\.ipv4\.ip_forward=yes: .*Invalid argument/ });
  const gone = await lab.call('ADD', conf(lab, { mtu: 1400, prevResult: one.result }), {
    netns: one.netns,
    ifname: 'eth8',
  });
  t.match(gone.json, { code: 120, msg: /eth8: no such interface/ });
  t.strictSame(kept(lab), []);
  lab.close();
});

t.test("the machine's allow list", async (t) => {
  const lab = await makeLab();
  const one = await makePod(lab);
  const list = join(lab.dir, 'allowlist.conf');
  // ip netns exec gives each call a mount namespace of its own: the list is there for that call only.
  const script = `mkdir -p "$1/etc/cni/tuning" && cp "$2" "$1/etc/cni/tuning/" &&
    mount -t overlay overlay -o "lowerdir=$1/etc:/etc" /etc && exec "$3"`;
  const add = async (keys: string[]) => {
    const { stdout } = await lab.exec({
      argv: ['sh', '-c', script, 'sh', lab.dir, list, `${lab.plugins}/tuning`],
      input: JSON.stringify(
        conf(lab, { sysctl: Object.fromEntries(keys.map((key) => [key, '1'])), prevResult: one.result }),
      ),
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: 'c1',
        CNI_IFNAME: 'eth0',
        CNI_NETNS: `/run/netns/${one.netns}`,
        CNI_PATH: lab.plugins,
      },
      okCodes: [0, 1],
    });
    return JSON.parse(stdout);
  };
  writeFileSync(list, '\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$ \nsomaxconn\n');
  t.match(await add(['net.ipv4.conf.IFNAME.arp_filter', 'net.core.somaxconn']), { ips: one.result.ips });
  t.match(await add(['net.core.somaxconn', 'net.ipv4.conf.all.proxy_arp']), {
    code: 7,
    msg: /^sysctl\.net\.ipv4\.conf\.all\.proxy_arp: not allowed/,
  });
  t.equal(sysctl(lab, one.netns, 'net.ipv4.conf.all.proxy_arp'), '0');
  writeFileSync(list, '(\n');
  t.match(await add(['net.core.somaxconn']), { code: 7, msg: /allowlist\.conf: / });
  t.notOk(
    existsSync('/etc/cni/tuning/allowlist.conf') &&
      readFileSync('/etc/cni/tuning/allowlist.conf', 'utf8') === '(\n',
    'the machine has none of this',
  );
  lab.close();
});

t.test('GC, and a file that is cut short', async (t) => {
  const lab = await makeLab();
  const pods = [await makePod(lab), await makePod(lab), await makePod(lab)] as const;
  for (const [at, pod] of pods.entries())
    t.ok((await addTo(lab, pod, conf(lab, { mtu: 1400, name: at === 2 ? 'other' : 'net' }))).ok);
  const file = (at: number) => `${pods[at]?.netns}_eth0.json`;
  writeFileSync(join(lab.dir, 'tuning/foreign_eth0.json'), '{"mtu":1500}');
  const valid = [{ containerID: pods[0].netns, ifname: 'eth0' }];
  t.ok((await lab.call('GC', conf(lab, { 'cni.dev/valid-attachments': valid }))).ok);
  t.strictSame(
    kept(lab).sort(),
    [file(0), file(2), 'foreign_eth0.json'].sort(),
    'only what is of this network',
  );
  writeFileSync(join(lab.dir, 'tuning', file(0)), '{"mtu":15');
  t.ok((await lab.call('DEL', conf(lab), { netns: pods[0].netns, id: pods[0].netns })).ok);
  t.notOk(kept(lab).includes(file(0)));
  lab.close();
});
