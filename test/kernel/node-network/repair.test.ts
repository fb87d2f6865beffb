// The network keeps itself: what a hand takes away is back, a changed peer changes its own entries
// only, and a restart changes nothing while traffic flows.
import { spawn } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { vtepMac } from '../../../lib/kernel/overlay.ts';
import { ask, listen } from '../cni/echo.ts';
import { until } from '../../until.ts';
import { addresses, makeWorld, startFlow } from './world.ts';

const words = (text: string): string[] => text.split(' ');

t.test('vxlan', async (t) => {
  const world = await makeWorld(3);
  t.teardown(() => world.close());
  for (const number of [1, 2, 3]) await world.putNode(number);
  let one = await world.start(1);
  const two = await world.start(2);
  const link = (await one.status()).link ?? '';
  const run = (text: string): string => world.inside(one.netns, ...words(text));
  const look = (text: string): string => {
    try {
      return run(text);
    } catch {
      return ''; // no such link at this moment
    }
  };
  const facts = (): string =>
    ['ip -4 route', 'ip -6 route', 'ip neigh', 'bridge fdb']
      .map((what) => look(`${what} show dev ${link}`))
      .join('\n')
      .split('\n')
      .filter((line) => line !== '' && !/^(ff02::|33:33:|fe80|multicast)/.test(line))
      .sort()
      .join('\n');
  const table = (): string => run('nft list tables');
  const right = facts();
  const tables = table();
  t.match(right, /10\.244\.2\.0\/24 via 10\.244\.2\.0 proto 112 onlink/);
  t.equal(right.match(/dst 192\.0\.2\.[23] self permanent/g)?.length, 2);

  for (const [name, ...commands] of [
    ['a route', 'ip route del 10.244.2.0/24'],
    ['an IPv6 route', `ip -6 route del fd00:244:0:3::/64 dev ${link}`],
    ['a route by another way', 'ip route replace 10.244.2.0/24 via 192.0.2.9 dev eth0'],
    ['a neighbour', `ip neigh del 10.244.3.0 dev ${link}`],
    [
      'a neighbour that leads astray',
      `ip neigh replace 10.244.3.0 lladdr 02:00:00:00:00:99 dev ${link} nud permanent`,
    ],
    ['an FDB entry', `bridge fdb del ${vtepMac('n2')} dev ${link} dst 192.0.2.2 self`],
    [
      'an FDB entry that leads astray',
      `bridge fdb replace ${vtepMac('n2')} dev ${link} dst 192.0.2.77 self permanent`,
    ],
    ['our own address', `ip addr del 10.244.1.0/32 dev ${link}`],
    ['the link down', `ip link set ${link} down`],
    ['the MTU', `ip link set ${link} mtu 1280`],
    ['the MAC', `ip link set ${link} address 02:00:00:00:00:77`],
    ['the link', `ip link del ${link}`],
    ['the table', `nft delete ${tables.trim()}`],
    ['forwarding', 'sysctl -qw net.ipv4.ip_forward=0'],
    ['everything at once', `ip -4 route flush proto 112`, `ip neigh flush dev ${link} nud permanent`],
  ] as const)
    t.test(`by hand: ${name}`, async (t) => {
      for (const command of commands) run(command);
      const begin = Date.now();
      const back = await until(
        () =>
          facts() === right &&
          table() === tables &&
          look('cat /proc/sys/net/ipv4/ip_forward') === '1\n' &&
          look(`ip addr show dev ${link}`).includes('10.244.1.0/32'),
      );
      t.ok(back, `back after ${Date.now() - begin} ms`, { facts: facts() });
    });

  t.test('a peer changes', async (t) => {
    await world.putNode(3, { addresses: ['192.0.2.33'] });
    t.ok(await until(() => /dst 192\.0\.2\.33 self permanent/.test(facts())), 'another address');
    await world.putNode(3, { podCIDRs: ['10.244.33.0/24'], addresses: ['192.0.2.33'] });
    t.ok(await until(() => /10\.244\.33\.0\/24/.test(facts())), 'another subnet');
    t.notMatch(facts(), /10\.244\.3\.0|fd00:244:0:3::|192\.0\.2\.3 /, 'nothing of the former ones');
    await world.client.delete('nodes', { name: 'n3' });
    t.ok(await until(() => !facts().includes('192.0.2.33')), 'gone');
    t.match(facts(), /10\.244\.2\.0\/24/);
    await world.putNode(3);
    t.ok(await until(() => facts() === right), 'and back');
  });

  t.test('a node that claims what another has waits', async (t) => {
    await world.putNode(4, { podCIDRs: ['10.244.2.0/24'], addresses: ['192.0.2.4'] });
    await world.putNode(5, { podCIDRs: [], addresses: ['192.0.2.5'] });
    await world.putNode(6, {
      addresses: ['192.0.2.6'],
      annotations: { 'network.podwire.io/backend': 'host-gw' },
    });
    t.ok(await until(async () => (await one.status()).problems.n6 !== undefined));
    t.match((await one.status()).problems, {
      n4: { reason: 'SubnetTaken', message: '10.244.2.0/24 of n4 belongs to n2' },
      n5: { reason: 'NoPodCIDR' },
      n6: { reason: 'BackendDiffers' },
    });
    t.equal(facts(), right);
    for (const name of ['n4', 'n5', 'n6']) await world.client.delete('nodes', { name });
  });

  t.test('a subnet outside the ranges of the cluster: no masquerade on the way there either', async (t) => {
    const masquerade = () => world.inside(world.netns(1), 'nft', 'list', 'ruleset');
    await world.putNode(4, { podCIDRs: ['10.9.4.0/24'], addresses: ['192.0.2.4'] });
    t.ok(await until(() => masquerade().includes('10.9.4.0/24')));
    await world.client.delete('nodes', { name: 'n4' });
    t.ok(await until(() => !masquerade().includes('10.9.4.0/24')), 'gone with its node');
    t.ok(await until(() => facts() === right));
  });

  t.test('its own Node, deleted and made anew, tells the others again', async (t) => {
    await world.client.delete('nodes', { name: 'n1' });
    await world.putNode(1);
    const told = async () => (await world.client.get('nodes', { name: 'n1' })).metadata.annotations;
    t.ok(await until(async () => (await told())?.['network.podwire.io/backend'] === 'vxlan vni=1 port=8472'));
    t.equal(facts(), right);
  });

  t.test('a restart, killed, with traffic', async (t) => {
    const [podOne, podTwo] = [world.pod(1), world.pod(2)];
    const echo = await listen(podTwo);
    t.teardown(() => echo.close());
    t.ok(await until(async () => (await ask(podOne, { kind: 'udp', to: '10.244.2.2' })) === '10.244.1.2 4'));
    const count = await startFlow(podOne, '10.244.2.2');
    const monitor = spawn('nsenter', [
      `--net=/run/netns/${one.netns}`,
      'ip',
      '-o',
      'monitor',
      'link',
      'route',
      'neigh',
    ]);
    let changes = '';
    monitor.stdout.on('data', (data) => {
      changes += data;
    });
    await one.end('SIGKILL');
    one = await world.start(1);
    await one.resync();
    const { sent, received } = await count();
    t.ok(sent > 5, `${sent} datagrams sent meanwhile: the quicker the restart, the fewer`);
    t.equal(received, sent, 'none was lost');
    monitor.kill();
    t.notMatch(changes, new RegExp(`(${link}|proto 112).*`), 'the kernel was not changed');
    t.equal(facts(), right);
  });

  t.test('a link that is ours and wrong is made anew', async (t) => {
    await one.end();
    run(`ip link del ${link}`);
    run(`ip link add ${link} type vxlan id 7 dstport 8472 local 192.0.2.1 dev eth0`);
    world.batch(one.netns, `link set ${link} alias "podwire: node network vxlan"\n`);
    one = await world.start(1);
    t.ok(await until(() => facts() === right));
    t.match(one.log, [/its VNI is 7, not 1: made anew/]);
  });

  t.test("somebody else's link is left alone, and said", async (t) => {
    await one.end();
    run(`ip link del ${link}`);
    run(`ip link add ${link} type vxlan id 7 dstport 8472 local 192.0.2.1 dev eth0`);
    one = await world.start(1);
    t.match(await one.status(), { state: 'Failed', lastError: /is there and not podwire's: its VNI is 7/ });
    run(`ip link del ${link}`);
    t.ok(await until(() => facts() === right), 'and goes on when it is gone');
  });

  t.test('the underlay gets another MTU', async () => {
    run('ip link set eth0 mtu 1400');
    t.ok(await until(() => look(`ip link show dev ${link}`).includes('mtu 1350')));
  });

  t.test('another backend', async (t) => {
    await one.end();
    one = await world.start(1, { name: 'host-gw' });
    t.match((await one.status()).problems, { n2: { reason: 'BackendDiffers' } });
    t.notMatch(run('ip link'), link, 'the former link is gone');
    await two.end();
    await world.start(2, { name: 'host-gw' });
    t.ok(await until(() => /10\.244\.2\.0\/24 via 192\.0\.2\.2/.test(run('ip route show proto 112'))));
  });
});

t.test('a node that has no subnet yet waits', async (t) => {
  const world = await makeWorld(1);
  t.teardown(() => world.close());
  await world.putNode(1, { podCIDRs: [] });
  const one = await world.start(1);
  t.match(await one.status(), { state: 'WaitingForSubnet', notReady: /node "n1" has no Pod subnet yet/ });
  await world.putNode(1);
  t.ok(await until(async () => (await one.status()).state === 'Ready'));
  t.match(await one.status(), { podCidrs: ['10.244.1.0/24', 'fd00:244:0:1::/64'], peers: [] });
});

t.test('an underlay with a small MTU carries IPv4, and says what IPv6 lacks', async (t) => {
  const world = await makeWorld(2);
  t.teardown(() => world.close());
  const mtu = (number: number, bytes: number) =>
    world.batch(world.netns(number), `link set eth0 mtu ${bytes}\n`);
  for (const number of [1, 2]) mtu(number, 1300);
  await world.putNode(1, { podCIDRs: ['10.244.1.0/24'] });
  await world.putNode(2);
  const one = await world.start(1);
  t.match(await one.status(), { state: 'Ready', mtu: 1250, peers: ['n2'], lastError: undefined });
  const two = await world.start(2);
  t.match((await two.status()).notReady, /^eth0 has an MTU of 1300.*IPv6 needs 1280: give it 30 more/);
  mtu(2, 1330);
  t.ok(await until(async () => (await two.status()).state === 'Ready'));
});

t.test('an API that is away is waited for, and what is there stays', async (t) => {
  const world = await makeWorld(2);
  t.teardown(() => world.close());
  for (const number of [1, 2]) await world.putNode(number);
  const before = await world.start(1);
  const routes = (): string => world.inside(before.netns, 'ip', 'route', 'show', 'proto', '112');
  t.match(routes(), /10\.244\.2\.0\/24/);
  await before.end('SIGKILL');
  const late = join(world.dir, 'late.sock');
  const one = await world.start(1, { name: 'vxlan' }, addresses(1), late);
  t.match((await one.status()).notReady, /^the API cannot be asked: /);
  t.match(routes(), /10\.244\.2\.0\/24/);
  symlinkSync(world.socket, late);
  t.ok(await until(async () => (await one.status()).state === 'Ready'));
});

t.test('what this kernel lacks is said at once', async (t) => {
  const world = await makeWorld(1);
  t.teardown(() => world.close());
  await world.putNode(1);
  for (const name of ['ipip', 'wireguard'] as const)
    try {
      const node = await world.start(1, { name });
      t.comment(`${name}: this machine has it`);
      t.equal((await node.status()).state, 'Ready');
      await node.remove();
      await node.end();
    } catch (error) {
      t.match(error, { code: 'BACKEND_NOT_AVAILABLE', message: new RegExp(`^network backend ${name}: `) });
      t.comment((error as Error).message);
    }
});
