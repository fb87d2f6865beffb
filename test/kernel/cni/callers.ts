// Callers and servers of the labs of chained plugins: a server tells each caller who it is and where the call came from,
// by TCP and UDP. Assumes Node; both run in the namespaces of the lab only. A server ends with the test that made it.
import { execFileSync, spawn } from 'node:child_process';
import { type Conf, bridgeConf, type Lab } from './fixture.ts';
import { join } from 'node:path';

export interface Question {
  readonly address: string;
  readonly port: number;
  readonly protocol?: 'tcp' | 'udp';
  /** Source port; any unless told. */
  readonly from?: number;
  /** Milliseconds; 30,000 unless told: few only where nothing is to come. */
  readonly patience?: number;
}

const serverCode = `
const [port, word] = [Number(process.argv[1]), process.argv[2]];
const plain = (address) => address.replace('::ffff:', '');
require('net').createServer((s) => { s.on('error', () => {}); s.end(word + ' ' + plain(s.remoteAddress)); }).listen(port, '::', () => {
  const udp = require('dgram').createSocket({ type: 'udp6' });
  udp.on('message', (_, from) => udp.send(word + ' ' + plain(from.address), from.port, from.address));
  udp.bind(port, '::', () => console.log('up'));
});`;

const clientCode = `
const { address, port, protocol = 'tcp', from, patience = 30000 } = JSON.parse(process.argv[1]);
const end = (text) => { process.stdout.write(text); process.exit(0); };
setTimeout(() => end('none'), patience);
if (protocol === 'tcp') {
  const s = require('net').connect({ port, host: address, ...(from ? { localPort: from } : {}) });
  s.on('data', (d) => end(String(d)));
  s.on('error', (e) => end(e.code === 'ECONNREFUSED' ? 'refused' : 'none'));
} else {
  const s = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
  s.on('message', (d) => end(String(d)));
  s.on('error', () => end('none'));
  const send = () => s.send('?', port, address);
  s.bind(from ?? 0, () => { send(); setInterval(send, 250); }); // one may be lost while a neighbour is being looked for
}`;

const servers = new Set<() => void>();
process.once('exit', () => {
  for (const stop of servers) stop();
});

/** Serves TCP and UDP on a port of a namespace, both families; the answer is "WORD SOURCE-ADDRESS". Gives how to stop it. */
export async function serveIn(netns: string, port: number, word: string): Promise<() => void> {
  // nsenter execs the server, so that the process started here is the one to end.
  const argv = [`--net=/run/netns/${netns}`, process.execPath, '-e', serverCode, String(port), word];
  const child = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = (): void => {
    servers.delete(stop);
    child.kill('SIGKILL');
  };
  servers.add(stop);
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve);
    child.once('exit', () => reject(new Error(`the server in ${netns} ended`)));
  });
  child.stdout.destroy();
  child.unref();
  return stop;
}

/** Ends all servers of this file. */
export function stopServers(): void {
  for (const stop of servers) stop();
}

/** The answer, 'refused', or 'none' where nothing came. */
export function ask(netns: string, question: Question): string {
  const argv = [`--net=/run/netns/${netns}`, process.execPath, '-e', clientCode, JSON.stringify(question)];
  return execFileSync('nsenter', argv, { encoding: 'utf8' });
}

/** A namespace beside `host`, as another machine of its net: host has .1 and .10, it has .2. */
export function makeOutside(lab: Lab): string {
  const outside = lab.container();
  const ip = (netns: string, lines: string[]) =>
    execFileSync('ip', ['-n', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  ip(lab.host, [
    `link add name up0 type veth peer name up0 netns ${outside}`,
    'link set up0 up',
    'addr add 192.0.2.1/24 dev up0',
    'addr add 192.0.2.10/24 dev up0',
    'addr add 2001:db8::1/64 dev up0 nodad',
  ]);
  ip(outside, [
    'link set lo up',
    'link set up0 up',
    'addr add 192.0.2.2/24 dev up0',
    'addr add 2001:db8::2/64 dev up0 nodad',
    'route add default via 192.0.2.1',
    'route add default via 2001:db8::1',
  ]);
  return outside;
}

export interface Pod {
  readonly netns: string;
  readonly conf: Conf;
  // biome-ignore lint/suspicious/noExplicitAny: what a plugin prints
  readonly result: any;
}

/** A container on the bridge of the lab, with two families, and its lo up. */
export async function makePod(lab: Lab, more: Record<string, unknown> = {}): Promise<Pod> {
  const netns = lab.container();
  lab.inside(netns, ['ip', 'link', 'set', 'lo', 'up']);
  const ipam = {
    type: 'host-local',
    dataDir: join(lab.dir, 'leases'),
    ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  };
  const conf = bridgeConf(lab, { ipam, hairpinMode: true, ipMasq: true, ...more });
  const { ok, json } = await lab.call('ADD', conf, { netns, id: netns });
  if (!ok) throw new Error(json.msg);
  return { netns, conf, result: json };
}

/** A chained plugin's ADD for a container that has its interface. */
export const addTo = (lab: Lab, { netns, result }: Pod, conf: Conf) =>
  lab.call('ADD', { ...conf, prevResult: result }, { netns, id: netns });

/** A result as an older version of the specification has it. */
// biome-ignore lint/suspicious/noExplicitAny: what a plugin prints
export function resultOf(version: string, result: any): any {
  const { interfaces, ips, routes, dns } = structuredClone(result);
  const old = version < '1';
  // Through JSON, as a runtime would hand it on: without what is undefined.
  const shaped = {
    cniVersion: version,
    interfaces: interfaces.map(({ name, mac, sandbox }: Record<string, string>) => ({ name, mac, sandbox })),
    ips: ips.map((ip: { address: string }) => ({
      ...(old ? { version: ip.address.includes(':') ? '6' : '4' } : {}),
      ...ip,
    })),
    routes,
    dns,
  };
  return JSON.parse(JSON.stringify(shaped));
}
