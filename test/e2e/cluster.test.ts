// A flat Pod network over several machines: every pair, both families, http and udp, small and large, real source addresses;
// flows that outlive whatever happens to other nodes; healing. The machines are a lab's (lib/lab): real podwired, real kernel.
import t from 'tap';
import { cut, heal } from '../../lib/lab/faults.ts';
import type { Pod } from '../../lib/api/types.ts';
import { hostPod, isRunning, sleep } from './harness.ts';
import { startLab, type TestLab } from './lab.ts';

/** http and udp on both families; each answer tells who asked, and sends back as many bytes as came. */
const server = `
import socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class H(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  def do_POST(self):
    body = self.rfile.read(int(self.headers["content-length"]))
    self.send_response(200); self.send_header("x-from", self.client_address[0].replace("::ffff:", ""))
    self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
  def log_message(self, *a): pass
class S(ThreadingHTTPServer):
  address_family = socket.AF_INET6
  request_queue_size = 64
threading.Thread(target=S(("::", 80), H).serve_forever, daemon=True).start()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::", 53))
while True:
  data, peer = u.recvfrom(65535)
  u.sendto(peer[0].replace("::ffff:", "").encode().ljust(len(data), b" "), peer)
`;

/** Asks every address by http and udp, small and large; prints what went wrong, nothing when all is well. */
const asker = `
import http.client, socket, sys
own, targets = sys.argv[1].split(","), sys.argv[2].split(",")
for target in targets:
  six = ":" in target
  want = [a for a in own if (":" in a) == six]
  if not want: continue
  for size in (1, 200000):
    try:
      c = http.client.HTTPConnection(target, 80, timeout=3); c.request("POST", "/", b"x" * size); r = c.getresponse(); n = len(r.read())
      if n != size: print("http", target, size, "bytes came back as", n)
      if r.headers["x-from"] not in want: print("http", target, "saw", r.headers["x-from"])
    except Exception as e: print("http", target, size, e)
  for size in (40, 1400, 8000):
    try:
      s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); s.sendto(b"x" * size, (target, 53))
      d = s.recv(65535)
      if len(d) != size: print("udp", target, size, "came back as", len(d))
      if d.decode().strip() not in want: print("udp", target, "saw", d.decode().strip())
    except Exception as e: print("udp", target, size, e)
`;

const onNode = (name: string, node: string, script: string): object => ({
  ...(hostPod(name, { main: `exec python3 -c '${script}'` }, { nodeName: node }) as object),
});

const ipsOf = (pod: Pod): string[] => (pod.status?.podIPs ?? []).map(({ ip }) => ip ?? '');

/** What does not work from one Pod to all others; '' when all does. */
async function faultsFrom(lab: TestLab, from: Pod, to: readonly Pod[]): Promise<string> {
  const targets = to.flatMap(ipsOf);
  const args = ['exec', from.metadata.name, '--', 'python3', '-c', asker, ipsOf(from).join(), targets.join()];
  const { stdout, stderr } = await lab.podwire('node1', args);
  return `${stdout}${stderr}`.trim();
}

async function everyPair(lab: TestLab, pods: readonly Pod[]): Promise<string> {
  const faults = await Promise.all(pods.map(async (pod) => [pod, await faultsFrom(lab, pod, pods)] as const));
  return faults.map(([pod, fault]) => (fault === '' ? '' : `${pod.metadata.name}: ${fault}\n`)).join('');
}

/** Milliseconds until every pair works; throws after the limit. */
async function untilEveryPair(lab: TestLab, pods: readonly Pod[], limitMs: number): Promise<number> {
  const began = Date.now();
  for (let fault = ''; ; await sleep(50)) {
    fault = await everyPair(lab, pods);
    if (fault === '') return Date.now() - began;
    if (Date.now() - began > limitMs) throw new Error(`after ${limitMs} ms still:\n${fault}`);
  }
}

for (const [at, backend] of ['vxlan', 'host-gw'].entries())
  t.test(`every pair of Pods, ${backend}`, async (t) => {
    const lab = await startLab(t, {
      name: `t-flat-${backend}`.slice(0, 16),
      nodes: 3,
      underlay: `172.30.${231 + at}.0/24`,
      serverFlags: ['--cluster-cidr', '10.211.0.0/16,fd00:211::/48', '--network-backend', backend],
    });
    t.comment(`3 nodes Ready after ${lab.seconds.toFixed(2)} s`);
    const names = ['p1', 'p2', 'p3'];
    await lab.apply(...names.map((name, index) => onNode(name, `node${index + 1}`, server)));
    const pods = await lab.until(names, isRunning);
    t.equal(new Set(pods.flatMap(ipsOf)).size, 6, 'an address a family each, all different');
    const took = await untilEveryPair(lab, pods, 5000);
    t.pass(`every pair, both families, http and udp, small and large: after ${took} ms`);

    const subnets = (await lab.client.list('nodes')).items.flatMap(({ spec }) => spec?.podCIDRs ?? []);
    t.equal(new Set(subnets).size, 6, 'each node has subnets of its own');
    const target = ipsOf(pods[2]!)[0]!;
    const fromNode = await lab.inside('node1', [
      'python3',
      '-c',
      asker,
      '10.211.0.0,172.30.231.1,172.30.232.1',
      target,
    ]);
    t.equal(
      fromNode.stdout,
      '',
      "a node reaches Pods of other nodes, from its own or its subnet's first address",
    );

    const status = await lab.podwire('node1', ['network', 'status', '-o', 'json']);
    t.equal(status.exitCode, 0, status.stderr);
    const { reports, silent } = JSON.parse(status.stdout) as {
      reports: { node: string }[];
      silent: object[];
    };
    t.same([reports.map(({ node }) => node), silent], [['node1', 'node2', 'node3'], []], 'all nodes tell');
  });

/** A connection that must live: says a number and hears it back, ten times a second; ends with an error when it breaks. */
const flow = (target: string): string => `
import socket, time
s = socket.create_connection(("${target}", 81), 5); s.settimeout(60); n = 0
while True:
  n += 1; s.sendall(b"%d\\n" % n); got = b""
  while not got.endswith(b"\\n"):
    d = s.recv(100)
    if not d: raise SystemExit("the other end is gone")
    got += d
  print(n, flush=True); time.sleep(0.1)
`;
const echo = `
import socketserver
class H(socketserver.StreamRequestHandler):
  def handle(self):
    for line in self.rfile: self.wfile.write(line)
class S(socketserver.ThreadingTCPServer):
  allow_reuse_address = True
S(("", 81), H).serve_forever()
`;

t.test('what happens to one node breaks no flow between others', async (t) => {
  const lab = await startLab(t, {
    name: 't-faults',
    nodes: 3,
    underlay: '172.30.233.0/24',
    serverFlags: ['--cluster-cidr', '10.212.0.0/16'],
  });
  await lab.apply(
    onNode('echo', 'node2', echo),
    ...[1, 2, 3].map((at) => onNode(`p${at}`, `node${at}`, server)),
  );
  const [echoPod, ...pods] = await lab.until(['echo', 'p1', 'p2', 'p3'], isRunning);
  await untilEveryPair(lab, pods, 5000);
  const client = onNode('flow', 'node1', flow(ipsOf(echoPod!)[0]!)) as { spec: Record<string, unknown> };
  client.spec.restartPolicy = 'Never';
  await lab.apply(client);
  await lab.until(['flow'], isRunning);
  const said = async (): Promise<number> => {
    const { stdout } = await lab.podwire('node1', ['logs', 'flow', '--tail=1']);
    return Number(stdout.trim().split('\n').at(-1)); // a line may come while the last one is looked for
  };
  const goesOn = async (what: string): Promise<void> => {
    const before = await said();
    let now = before;
    for (const end = Date.now() + 10_000; now <= before && Date.now() < end; await sleep(100))
      now = await said();
    const { status } = await lab.client.get('pods', { namespace: 'default', name: 'flow' });
    t.ok(now > before, `the flow goes on: ${what} (${before}, then ${now})`);
    t.equal(status?.phase, 'Running', what);
  };
  await goesOn('at first');

  await lab.killDaemon('node3');
  await lab.up('node3');
  await goesOn('a third daemon was killed and started');
  await lab.killDaemon('node2');
  await goesOn("the daemon at the flow's end is dead");
  await lab.up('node2');
  await lab.killDaemon('node1');
  await lab.up('node1');
  await goesOn("the server, at the flow's other end, was killed and started");
  t.equal(await untilEveryPair(lab, pods, 5000).then(() => ''), '', 'every pair works');

  await lab.faults((faults, plan) =>
    cut(
      faults,
      ['node3'],
      plan.machines.map(({ name }) => name),
    ),
  );
  const apart = await faultsFrom(lab, pods[0]!, [pods[2]!]);
  t.match(apart, /timed out|unreachable|No route/, 'node3 is cut off');
  await goesOn('node3 is cut off');
  await lab.faults((faults) => heal(faults, []));
  const healed = await untilEveryPair(lab, pods, 5000);
  t.pass(`every pair works again ${healed} ms after healing`);

  await lab.powerOff('node3');
  await goesOn('node3 lost its power');
  await lab.reboot('node3');
  const [again] = await lab.until(['p3'], (pod) => isRunning(pod) && ipsOf(pod!).length > 0);
  const rebooted = await untilEveryPair(lab, [pods[0]!, pods[1]!, again!], 10_000);
  t.pass(`node3 is back, its Pod too: every pair ${rebooted} ms later`);
  await goesOn('node3 came back');
});
