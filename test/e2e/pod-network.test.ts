// The network of a Pod against a real daemon: both families, host ports, shaping, names, and whose address a peer sees.
import { networkInterfaces } from 'node:os';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { run } from '../../lib/exec/exec.ts';
import { until } from '../until.ts';
import { allCodes, hostPod, isRunning, sleeper, startNode } from './harness.ts';

/** Answers each line by telling who asked; python is on every machine that the image localhost/host shows. */
const server = (family: 'AF_INET' | 'AF_INET6', kind: 'SOCK_STREAM' | 'SOCK_DGRAM', port: number): string =>
  [
    'import socket',
    `s = socket.socket(socket.${family}, socket.${kind})`,
    's.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)',
    `s.bind(("", ${port}))`,
    ...(kind === 'SOCK_STREAM'
      ? ['s.listen(8)', 'while True:', '  c, a = s.accept(); c.recv(100); c.send(a[0].encode()); c.close()']
      : ['while True:', '  d, a = s.recvfrom(9000); s.sendto(a[0].encode(), a)']),
  ].join('\n');

const ask = (kind: 'SOCK_STREAM' | 'SOCK_DGRAM', host: string, port: number): string =>
  [
    'import socket',
    `i = socket.getaddrinfo("${host}", ${port}, 0, socket.${kind})[0]`,
    `s = socket.socket(i[0], socket.${kind}); s.settimeout(2); s.connect(i[4]); s.send(b"x"); print(s.recv(100).decode())`,
  ].join('\n');

const python = (program: string): string => `exec python3 -c '${program}'`;

t.test('the network of a Pod', async (t) => {
  const node = await startNode(t, { podCidr: '10.202.0.0/24,fd00:202::/64' });
  const here = Object.values(networkInterfaces())
    .flat()
    .find((each) => each && !each.internal && each.family === 'IPv4')?.address as string;
  const inside = async (pod: string, program: string): Promise<string> => {
    const { stdout, stderr } = await node.podwire(['exec', pod, '--', 'python3', '-c', program]);
    return `${stdout}${stderr}`.trim();
  };
  const outside = async (program: string): Promise<string> => {
    const { stdout, stderr } = await run({ argv: ['python3', '-c', program], okCodes: allCodes });
    return `${stdout}${stderr}`.trim();
  };
  const eventually = async (
    name: string,
    wanted: string | RegExp,
    asked: () => Promise<string>,
  ): Promise<void> => {
    let got = '';
    await until(async () => {
      got = await asked();
      return typeof wanted === 'string' ? got === wanted : wanted.test(got);
    });
    if (typeof wanted === 'string') t.equal(got, wanted, name);
    else t.match(got, wanted, name);
  };

  const ports = [
    { containerPort: 80, hostPort: 28_080 },
    { containerPort: 80, hostPort: 28_080, protocol: 'UDP' },
  ];
  const web = hostPod(
    'web',
    {
      tcp: python(server('AF_INET6', 'SOCK_STREAM', 80)),
      udp: python(server('AF_INET', 'SOCK_DGRAM', 80)),
    },
    { subdomain: 'db' },
  ) as { spec: { containers: Record<string, unknown>[] }; metadata: Record<string, unknown> };
  web.spec.containers[0]!.ports = ports;
  await node.apply(web);
  await node.apply(hostPod('client', { main: sleeper }));
  const webPod = await node.until('web', isRunning);
  const client = await node.until('client', isRunning);
  const [four, six] = webPod.status!.podIPs!.map(({ ip }) => ip as string);
  const [clientFour, clientSix] = client.status!.podIPs!.map(({ ip }) => ip as string);

  t.match(four, /^10\.202\.0\./, 'one address a family, IPv4 first');
  t.match(six, /^fd00:202::/);
  await eventually('Pod to Pod, http, no NAT', `::ffff:${clientFour}`, () =>
    inside('client', ask('SOCK_STREAM', four!, 80)),
  );
  await eventually('IPv6 as well', clientSix!, () => inside('client', ask('SOCK_STREAM', six!, 80)));
  await eventually('udp', clientFour!, () => inside('client', ask('SOCK_DGRAM', four!, 80)));
  await eventually('node to Pod', '::ffff:10.202.0.1', () => outside(ask('SOCK_STREAM', four!, 80)));

  await eventually('a host port, from the machine', `::ffff:${here}`, () =>
    outside(ask('SOCK_STREAM', here, 28_080)),
  );
  await eventually('from another Pod', /^::ffff:10\.202\.0\./, () =>
    inside('client', ask('SOCK_STREAM', here, 28_080)),
  );
  await eventually('from the Pod itself: hairpin', /^::ffff:10\.202\.0\./, () =>
    inside('web', ask('SOCK_STREAM', here, 28_080)),
  );
  await eventually('the same port by udp is another', /^10\.202\.0\./, () =>
    inside('client', ask('SOCK_DGRAM', here, 28_080)),
  );

  t.match(
    await node.podwire(['exec', 'web', '-c', 'tcp', '--', 'cat', '/etc/hosts']),
    { stdout: new RegExp(`^${four}\\tweb\\.db\\.default\\.svc\\.cluster\\.local\\tweb$`, 'm') },
    'its full name stands in /etc/hosts',
  );

  await node.podwire(['delete', 'pod', 'web', '--now']);
  const gone = await outside(ask('SOCK_STREAM', here, 28_080));
  t.match(gone, /refused|timed out|unreachable/i, 'the host port goes with its Pod');
});

t.test('a udp flow to a host port survives the Pod behind it', async (t) => {
  const node = await startNode(t, { podCidr: '10.202.1.0/24' });
  const here = Object.values(networkInterfaces())
    .flat()
    .find((each) => each && !each.internal && each.family === 'IPv4')?.address as string;
  const pod = (name: string): object => {
    const made = hostPod(name, { udp: python(server('AF_INET', 'SOCK_DGRAM', 80)) }) as {
      spec: { containers: Record<string, unknown>[] };
    };
    made.spec.containers[0]!.ports = [{ containerPort: 80, hostPort: 28_081, protocol: 'UDP' }];
    return made;
  };
  const { createSocket } = await import('node:dgram');
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  let answers = 0;
  socket.on('message', () => answers++);
  const timer = setInterval(() => socket.send('x', 28_081, here), 50);
  t.teardown(() => clearInterval(timer));
  const answered = async (): Promise<boolean> => {
    const before = answers;
    return until(() => answers > before);
  };
  await node.apply(pod('one'));
  await node.until('one', isRunning);
  t.ok(await answered(), 'the first Pod answers');
  await node.podwire(['delete', 'pod', 'one', '--now']);
  await node.apply(pod('two'));
  await node.until('two', isRunning);
  t.ok(await answered(), 'and the one that replaced it, to the same socket');
});

t.test('what a Pod may not ask for; and shaping', async (t) => {
  const node = await startNode(t, { podCidr: '10.202.2.0/24' });
  const annotated = (name: string, value: string): object => {
    const pod = hostPod(name, { main: sleeper }) as { metadata: Record<string, unknown> };
    pod.metadata.annotations = {
      'kubernetes.io/egress-bandwidth': value,
      'kubernetes.io/ingress-bandwidth': '20M',
    };
    return pod;
  };
  await t.rejects(node.apply(annotated('bad', 'fast')), { message: /egress-bandwidth.*from 1k to 1P/ });
  await node.apply(annotated('slow', '10M'));
  const { metadata, spec } = await node.until('slow', isRunning);
  t.equal(spec.dnsPolicy, 'ClusterFirst');
  const { stdout } = await run({ argv: ['tc', 'qdisc', 'show'] });
  t.match(stdout, /tbf .*rate 20Mbit/, 'towards it');
  t.match(stdout, /tbf .*rate 10Mbit/, 'from it');
  await node.podwire(['delete', 'pod', metadata.name, '--now']);
  t.notMatch(
    (await run({ argv: ['tc', 'qdisc', 'show'] })).stdout,
    /rate [12]0Mbit/,
    'nothing is left of it',
  );

  const host = hostPod(
    'on-host',
    { main: sleeper },
    { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' },
  );
  await node.apply(host);
  const onHost = await node.until('on-host', isRunning);
  t.equal(onHost.status?.podIP, onHost.status?.hostIP, "the machine's own network");
  const { stdout: name } = await node.podwire(['exec', 'on-host', '--', 'hostname']);
  t.equal(name.trim(), readFileSync('/proc/sys/kernel/hostname', 'utf8').trim());

  const long = hostPod('a'.repeat(60), { main: sleeper }, { subdomain: 'db', setHostnameAsFQDN: true });
  await node.apply(long);
  await node.until('a'.repeat(60), async () => {
    const { items } = await node.client.list('events', { namespace: 'default' });
    return items.some(({ message }) => /a host name may have 64/.test(message ?? ''));
  });
  t.pass('a host name that is too long is told');
  await node.apply(hostPod('full', { main: sleeper }, { subdomain: 'db', setHostnameAsFQDN: true }));
  await node.until('full', isRunning);
  const full = await node.podwire(['exec', 'full', '--', 'hostname']);
  t.equal(full.stdout.trim(), 'full.db.default.svc.cluster.local');
});
