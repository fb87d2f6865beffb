// Many Pods at once: every one runs, no two have one address, all reach each other, and all of it goes away.
import t from 'tap';
import { hostPod, isRunning, netnsNames, sleeper, startNode } from './harness.ts';

const count = 20;

t.test(`${count} Pods at once`, async (t) => {
  const node = await startNode(t, { podCidr: '10.206.0.0/24' });
  const names = Array.from({ length: count }, (_, at) => `many-${at}`);
  await Promise.all(
    names.map((name) => node.client.create('pods', hostPod(name, { a: sleeper }), { namespace: 'default' })),
  );
  const pods = await Promise.all(names.map((name) => node.until(name, isRunning, 60)));
  const ips = pods.map((pod) => pod.status?.podIP);
  t.equal(new Set(ips).size, count, 'all addresses differ');

  await t.test('Pod to Pod, by Pod IP, with the real source address', async (t) => {
    // A one-line server in perl, which every Debian has: it answers with the address it is asked from.
    const server =
      'use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die; while (my $c = $s->accept) { print $c $c->peerhost, "\\n"; close $c }';
    const client =
      'use IO::Socket::INET; my $c = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 8080, Timeout => 5) or die "$!"; print <$c>';
    await node.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'server' },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 's', image: 'localhost/host', command: ['perl', '-e', server] }],
      },
    });
    const target = await node.until('server', isRunning);
    for (const at of [0, 7, count - 1]) {
      const asked = await node.podwire([
        'exec',
        `many-${at}`,
        '--',
        'sh',
        '-c',
        `for i in $(seq 300); do perl -e '${client}' "$0" && exit; sleep 0.2; done; exit 1`,
        String(target.status?.podIP),
      ]);
      t.equal(asked.stdout.trim(), ips[at], `the server sees Pod ${at} itself: ${asked.stderr}`);
    }
  });

  await node.podwire(['delete', 'pod', '--all']);
  t.same((await node.client.list('pods')).items, []);
  t.same(
    netnsNames().filter((name) => name.startsWith('many-')),
    [],
  );
});
