// rtnetlink against `ip`: the plugins start no `ip` where they need none, and what both make is the same to every flag.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../../../lib/exec/exec.ts';
import { failedOp, ipNet, type NetOp } from '../../../lib/kernel/net.ts';
import { loadLibc } from '../../../lib/kernel/libc.ts';
import { netlinkNet } from '../../../lib/kernel/netlink/net.ts';
import { bridgeConf, type Lab, makeLab } from './fixture.ts';

/** Puts an `ip` in front of PATH that writes down that it was called, and is the real one else. */
function watchedPath(lab: Lab): { PATH: string; calls: () => string[] } {
  const bin = join(lab.dir, 'bin');
  const log = join(lab.dir, 'ip-calls');
  mkdirSync(bin);
  writeFileSync(join(bin, 'ip'), `#!/bin/sh\necho "$*" >> ${log}\nexec /sbin/ip "$@"\n`, { mode: 0o755 });
  const calls = (): string[] => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []);
  return { PATH: `${bin}:/usr/sbin:/usr/bin:/sbin:/bin`, calls };
}

const programs: Array<[name: string, env: Record<string, string>, calls: number]> = [
  ['by netlink', { PODWIRE_NET: 'netlink' }, 0],
  ['by ip', { PODWIRE_NET: 'ip' }, 2],
  ['without the C library', { PODWIRE_NET: 'netlink', PODWIRE_NO_FFI: '1' }, 2],
];
for (const [name, way, wanted] of programs)
  t.test(`programs that an ADD starts ${name}`, async (t) => {
    const lab = await makeLab();
    const netns = lab.container();
    const { PATH, calls } = watchedPath(lab);
    const env = { ...way, PATH };
    const added = await lab.call('ADD', bridgeConf(lab, { hairpinMode: true }), { netns, env });
    t.ok(added.ok, 'ADD', { found: added.json });
    t.equal(calls().length, wanted);
    t.ok((await lab.call('DEL', bridgeConf(lab), { netns, env })).ok);
    t.strictSame(lab.links(), ['br0']);
    lab.close();
  });

// The kernel's counters and the like, which differ from run to run, and what follows from the link's number.
const fleeting = /^(gc_timer|hello_timer|ifindex|link_index|link_netnsid|link_netns|peer_ifindex)$/;
const shown = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (key, one) => (fleeting.test(key) || key.endsWith('_timer') ? undefined : one)),
  );

const host: NetOp[] = [
  { op: 'addBridge', name: 'br0', mac: '02:00:00:00:00:01', mtu: 1400 },
  { op: 'setLink', name: 'br0', state: 'up' },
  { op: 'putAddress', dev: 'br0', address: '10.88.0.1/24' },
  { op: 'putAddress', dev: 'br0', address: '10.88.0.1/24' },
  { op: 'putAddress', dev: 'br0', address: 'fd00:88::1/64', dad: 'skip' },
  {
    op: 'addVeth',
    name: 'veth0',
    mac: '02:00:00:00:00:02',
    mtu: 1400,
    peer: { name: 'eth0', mac: '02:00:00:00:00:03', netns: '' },
  },
  { op: 'setLink', name: 'veth0', linkLocal: 'none' },
  { op: 'setLink', name: 'veth0', alias: 'podwire: default/web eth0', master: 'br0', state: 'up' },
  { op: 'setBridgePort', name: 'veth0', hairpin: 'on', isolated: 'on' },
];
const pod: NetOp[] = [
  { op: 'setLink', name: 'eth0', linkLocal: 'none' },
  { op: 'setLink', name: 'eth0', state: 'up' },
  { op: 'addAddress', dev: 'eth0', address: '10.88.0.2/24' },
  { op: 'addAddress', dev: 'eth0', address: 'fd00:88::2/64', dad: 'skip' },
  { op: 'deleteAddress', dev: 'eth0', address: '10.88.0.2/24' },
  { op: 'addAddress', dev: 'eth0', address: '10.88.0.3/24' },
  { op: 'addRoute', dev: 'eth0', dst: '0.0.0.0/0', via: '10.88.0.1' },
  { op: 'addRoute', dev: 'eth0', dst: '::/0', via: 'fd00:88::1' },
  {
    op: 'addRoute',
    dev: 'eth0',
    dst: '10.91.0.0/16',
    via: '10.88.0.1',
    mtu: 1300,
    advmss: 1200,
    metric: 7,
    table: 1000,
  },
  { op: 'putRoute', dev: 'eth0', dst: '10.92.0.0/16' },
  { op: 'putRoute', dev: 'eth0', dst: '10.92.0.0/16', via: '10.88.0.1' },
];
const wrong: Array<[name: string, ops: NetOp[]]> = [
  [
    'there already',
    [
      { op: 'setLink', name: 'br0', state: 'up' },
      { op: 'addBridge', name: 'br0' },
    ],
  ],
  ['no such link', [{ op: 'setLink', name: 'nowhere', state: 'up' }]],
  ['no such master', [{ op: 'setLink', name: 'veth0', master: 'nowhere' }]],
  ['no bridge', [{ op: 'setLink', name: 'br0', master: 'veth0' }]],
  ['no such namespace', [{ op: 'addVeth', name: 'veth9', peer: { name: 'eth9', netns: 'nowhere' } }]],
  ['no such address', [{ op: 'deleteAddress', dev: 'br0', address: '10.99.0.1/24' }]],
  ['an address twice', [{ op: 'addAddress', dev: 'br0', address: '10.88.0.1/24' }]],
  ['a gateway that is out of reach', [{ op: 'addRoute', dev: 'br0', dst: '10.9.0.0/16', via: '172.31.0.1' }]],
  ['a net with host bits', [{ op: 'addRoute', dev: 'br0', dst: '10.9.0.1/16' }]],
  ['an MTU too large', [{ op: 'setLink', name: 'br0', mtu: 100_000 }]],
];

const libc = loadLibc();
t.ok(libc, 'the C library can be called here');
/** Carries everything out in a lab of its own, in the namespace by name: our own is the machine's. */
async function carriedOut(
  t: Test,
  way: 'netlink' | 'ip',
): Promise<{ made: unknown; failures: unknown; facts: unknown }> {
  const net = way === 'netlink' && libc ? netlinkNet(libc) : ipNet();
  const lab = await makeLab();
  const netns = lab.container();
  const named = (op: NetOp): NetOp =>
    op.op === 'addVeth' && op.peer.netns === '' ? { ...op, peer: { ...op.peer, netns } } : op;
  await net.apply(host.map(named), lab.host);
  await net.apply(pod, netns);
  const [look] = await net.apply([{ op: 'look', name: 'veth0' }], lab.host);
  const facts = [
    look,
    await net.inspect('br0', lab.host),
    await net.inspect('nowhere', lab.host),
    await net.inspect('eth0', netns),
  ];
  const failures: unknown[] = [];
  for (const [name, ops] of wrong) {
    const error = await net.apply(ops, lab.host).then(
      () => undefined,
      (thrown: Error & { code?: string }) => thrown,
    );
    failures.push([name, error?.code]);
    // What `ip` finds wrong before it asks the kernel, it reports without a line.
    if (way === 'netlink') t.equal(failedOp(error, ops), ops.at(-1), `${name}: told which change it was`);
  }
  const nowhere = await net
    .apply(host, 'nowhere')
    .catch((thrown: Error & { code?: string }) => [thrown.name, thrown.code]);
  // Carrier and duplicate detection of the bridge's own addresses take their time.
  await run({ argv: ['sleep', '0.2'] });
  const made = [
    lab.ip(lab.host, 'addr'),
    lab.ip(netns, 'addr'),
    lab.ip(netns, 'route', 'show', 'table', 'all'),
    lab.ip(netns, '-6', 'route'),
  ];
  const removed = [await net.deleteLink('veth0', lab.host), await net.deleteLink('veth0', lab.host)];
  lab.close();
  return { made: shown(made), failures: [...failures, nowhere, removed], facts };
}

t.test('both make the same, and fail alike', async (t) => {
  const byNetlink = await carriedOut(t, 'netlink');
  const byIp = await carriedOut(t, 'ip');
  t.strictSame(byNetlink.made, byIp.made, 'links, addresses and routes');
  t.strictSame(byNetlink.failures, byIp.failures, 'failures');
  t.strictSame(byNetlink.facts, byIp.facts, 'what is told of a link');
});

t.test('Node comes back from the namespace, and leaves no descriptor open', async (t) => {
  const lab = await makeLab();
  if (!libc) return t.fail('no C library');
  const net = netlinkNet(libc);
  const here = (): string => readFileSync('/proc/thread-self/net/dev', 'utf8').split('\n').length.toString();
  const open = async (): Promise<number> => (await import('node:fs')).readdirSync('/proc/self/fd').length;
  await net.inspect('lo', lab.host);
  const [before, descriptors] = [here(), await open()];
  for (let n = 0; n < 20; n++) {
    await net.inspect('lo', lab.host);
    await net.apply([{ op: 'setLink', name: 'lo', state: 'up' }], lab.host);
    await net.apply([{ op: 'setLink', name: 'nowhere', state: 'up' }], lab.host).catch(() => {});
  }
  t.equal(here(), before);
  t.equal(await open(), descriptors);
  lab.close();
  rmSync(lab.dir, { recursive: true, force: true });
});
