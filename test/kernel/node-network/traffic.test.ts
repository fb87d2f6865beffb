// Pods of three nodes reach each other with their real addresses, small and large, both families, by vxlan and host-gw;
// the nodes themselves reach Pods elsewhere, and what leaves the cluster goes out under the node's address.
import t from 'tap';
import { ask, listen } from '../cni/echo.ts';
import { until } from '../../until.ts';
import { makeWorld } from './world.ts';

const cases = [
  { backend: { name: 'vxlan' }, mtu: 1450, node: ['10.244.1.0', 'fd00:244:0:1::'] },
  { backend: { name: 'host-gw' }, mtu: 1500, node: ['192.0.2.1', '2001:db8::1'] },
] as const;

for (const { backend, mtu, node } of cases)
  t.test(backend.name, async (t) => {
    const world = await makeWorld(3);
    t.teardown(() => world.close());
    // The Nodes name one family; the other one is found on the link, and published.
    const four = (number: number): string[] => [`192.0.2.${number}`];
    for (const number of [1, 2, 3]) await world.putNode(number, { addresses: four(number) });
    const nodes = await Promise.all([1, 2, 3].map((number) => world.start(number, backend, four(number))));
    const problems = async () => Object.keys((await nodes[0]?.status())?.problems ?? {});
    t.ok(await until(async () => (await problems()).length === 0));
    const [one, two, three] = [1, 2, 3].map((number) => world.pod(number, mtu)) as [string, string, string];
    const status = await nodes[0]?.status();
    t.match(status, { state: 'Ready', mtu, peers: ['n2', 'n3'], problems: {}, notReady: undefined });
    const outside = world.makeSpace('out');
    world.batch(
      outside,
      `link add eth0 type veth peer name v9 netns ${world.netns(1)}\nlink set eth0 up
addr add 198.51.100.9/24 dev eth0\n`,
    );
    world.batch(world.netns(1), 'addr add 198.51.100.1/24 dev v9\nlink set v9 up\n');
    const servers = await Promise.all([two, three, outside, one].map(listen));
    t.teardown(() => Promise.all(servers.map((server) => server.close())));
    for (const [from, kind, to, size, said] of [
      [one, 'tcp', '10.244.2.2', 4, '10.244.1.2 4'],
      [one, 'tcp', '10.244.3.2', 300_000, '10.244.1.2 300000'],
      [one, 'udp', '10.244.3.2', mtu - 28, `10.244.1.2 ${mtu - 28}`],
      [one, 'udp', '10.244.2.2', 5000, '10.244.1.2 5000'],
      [one, 'tcp', 'fd00:244:0:3::2', 300_000, 'fd00:244:0:1::2 300000'],
      [one, 'udp', 'fd00:244:0:2::2', mtu - 48, `fd00:244:0:1::2 ${mtu - 48}`],
      [three, 'udp', '10.244.2.2', 4, '10.244.3.2 4'],
      [world.netns(1), 'tcp', '10.244.2.2', 4, `${node[0]} 4`],
      [world.netns(1), 'tcp', 'fd00:244:0:2::2', 4, `${node[1]} 4`],
      [world.netns(1), 'tcp', '10.244.1.2', 4, '10.244.1.1 4'],
      [one, 'tcp', '198.51.100.9', 4, '198.51.100.1 4'],
    ] as const)
      t.equal(await ask(from, { kind, to, size }), said, `${kind} to ${to}, ${size} bytes`);
    const own = () => world.inside(world.netns(1), 'ip', 'route', 'show', 'table', 'local', '10.244.1.0');
    t.match(own(), /^local 10\.244\.1\.0 /, "answers at its subnet's first address");
    // A local route that is not the kernel's own makes it look up the source of every packet.
    t.match(own(), / proto kernel /);
    const [, holder = ''] = / dev (\S+) /.exec(own()) ?? [];
    world.batch(world.netns(1), `addr del 10.244.1.0/32 dev ${holder}\n`);
    t.ok(await until(() => own() !== ''), 'and again when it was taken away');
    const [first] = nodes;
    t.ok(
      await until(async () => {
        const { metadata } = await world.client.get('nodes', { name: 'n1' });
        return metadata.annotations?.['network.podwire.io/backend']?.startsWith(backend.name) === true;
      }),
      'tells the others its backend',
    );
    await first?.remove();
    t.equal(world.inside(world.netns(1), 'ip', 'route', 'show', 'proto', '112'), '');
    t.equal(own(), '');
    t.notMatch(world.inside(world.netns(1), 'ip', 'link'), /-vx/);
    t.equal(world.inside(world.netns(1), 'nft', 'list', 'tables'), '', 'nothing is left');
  });
