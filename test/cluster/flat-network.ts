// Programs that Pods of the cluster tests run: servers and askers of every pair, and a TCP flow that must not break.
// Assumes python3 in the image (localhost/host). A pair costs five requests a family.
import type { Pod } from '../../lib/api/types.ts';
import { hostPod, isRunning, sleep } from '../e2e/harness.ts';
import type { TestLab } from './lab.ts';

/** http and udp on both families; each answer tells who asked, and sends back as many bytes as came. */
export const server = `
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
export const asker = `
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

export const onNode = (name: string, node: string, script: string): object => ({
  ...(hostPod(name, { main: `exec python3 -c '${script}'` }, { nodeName: node }) as object),
});

export const ipsOf = (pod: Pod): string[] => (pod.status?.podIPs ?? []).map(({ ip }) => ip ?? '');

/** What does not work from one Pod to all others; '' when all does. */
export async function faultsFrom(lab: TestLab, from: Pod, to: readonly Pod[]): Promise<string> {
  const targets = to.flatMap(ipsOf);
  const args = ['exec', from.metadata.name, '--', 'python3', '-c', asker, ipsOf(from).join(), targets.join()];
  const { stdout, stderr } = await lab.podwire('node1', args);
  return `${stdout}${stderr}`.trim();
}

export async function everyPair(lab: TestLab, pods: readonly Pod[]): Promise<string> {
  const faults = await Promise.all(pods.map(async (pod) => [pod, await faultsFrom(lab, pod, pods)] as const));
  return faults.map(([pod, fault]) => (fault === '' ? '' : `${pod.metadata.name}: ${fault}\n`)).join('');
}

export interface Healing {
  /** Milliseconds until every pair had worked. */
  readonly tookMs: number;
  /** What looking at every pair takes when all of them work: how fast the machine is just now. */
  readonly lookMs: number;
}

/** Looks until every pair works, and once more; throws after a minute. */
export async function untilEveryPair(lab: TestLab, pods: readonly Pod[]): Promise<Healing> {
  const began = Date.now();
  let [fault, tookMs] = ['', 0];
  const works = async (): Promise<boolean> => {
    fault = await everyPair(lab, pods);
    return fault === '';
  };
  while (Date.now() - began < 60_000) {
    if (await works()) {
      tookMs ||= Date.now() - began;
      const again = Date.now();
      if (await works()) return { tookMs, lookMs: Date.now() - again };
    }
    await sleep(50);
  }
  throw new Error(`after a minute still:\n${fault}`);
}

/** Five seconds is what we promise; a busy machine has as much more as five looks take it, which are 0.3 s each at rest. */
export const isSoonEnough = ({ tookMs, lookMs }: Healing): boolean => tookMs <= 5000 + 5 * lookMs;

/** A connection that must live: says a number and hears it back, ten times a second; ends with an error when it breaks. */
export const flow = (target: string): string => `
import socket, time
for _ in range(600):
  try: s = socket.create_connection(("${target}", 81), 5); break
  except OSError: time.sleep(0.1)
s.settimeout(60); n = 0
while True:
  n += 1; s.sendall(b"%d\\n" % n); got = b""
  while not got.endswith(b"\\n"):
    d = s.recv(100)
    if not d: raise SystemExit("the other end is gone")
    got += d
  print(n, flush=True); time.sleep(0.1)
`;
/** What it speaks to. */
export const echo = `
import socketserver
class H(socketserver.StreamRequestHandler):
  def handle(self):
    for line in self.rfile: self.wfile.write(line)
class S(socketserver.ThreadingTCPServer):
  allow_reuse_address = True
S(("", 81), H).serve_forever()
`;

/** A flow from a Pod on `from` to one on `to`, under way. `said`: the last number that came back. */
export async function startFlow(
  lab: TestLab,
  from: string,
  to: string,
): Promise<{ said(): Promise<number> }> {
  await lab.apply(onNode('echo', to, echo));
  const [echoPod] = await lab.until(['echo'], isRunning);
  const client = onNode('flow', from, flow(ipsOf(echoPod!)[0]!)) as { spec: Record<string, unknown> };
  client.spec.restartPolicy = 'Never';
  await lab.apply(client);
  await lab.until(['flow'], isRunning);
  return {
    said: async () => {
      const { stdout } = await lab.podwire(from, ['logs', 'flow', '--tail=1']);
      return Number(stdout.trim().split('\n').at(-1)); // a line may come while the last one is looked for
    },
  };
}
