// Two namespaces as nodes with a wire between them, and on each a Pod behind a bridge. The way between the Pods is made by
// podwire's loop, or by hand with `ip`, which is what podwire is held against: without nftables, so that Pods reach each other
// and nothing else, or with the one rule that lets them out. Assumes the cell, iperf3 and busybox.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../lib/exec/exec.ts';
import { openSession } from '../../lib/exec/session.ts';
import { ipBatch } from '../../lib/kernel/ip.ts';
import { addNetns, deleteNetns, netnsPath } from '../../lib/kernel/netns.ts';
import { nftApply } from '../../lib/kernel/nftables.ts';
import { vtepMac } from '../../lib/kernel/overlay.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import type { NetworkChildInput } from './network-child.ts';
import type { SimulatedNode } from './simulated-nodes.ts';
import { meanOfLeast } from './stats.ts';

export type PairBackend = 'vxlan' | 'host-gw';
export type Maker = 'podwire' | 'by hand' | 'by hand, masquerade';

const stems: Readonly<Record<Maker, string>> = {
  podwire: 'pw',
  'by hand': 'hand',
  'by hand, masquerade': 'masq',
};

const child = fileURLToPath(new URL('network-child.ts', import.meta.url));
const own = (number: number): SimulatedNode => ({
  name: `n${number}`,
  podCidrs: [`10.244.${number}.0/24`],
  address: `192.0.2.${number}`,
});
const other = (number: number): number => 3 - number;

/** Of a round: short, so that the makers' turns come close to each other. */
const megabytes = 200;
const pings = 2000;

export interface Pair {
  /** Gbit/s from one Pod to the other, by one TCP stream with a CPU for either end. */
  throughput(): Promise<number>;
  /** Microseconds there and back, the mean of the fastest nine tenths: what else the machine does falls on the rest. */
  latency(): Promise<number>;
  close(): Promise<void>;
}

/** What makes the stream's two ends go before all other processes; nothing where this is not allowed. */
export async function firstInLine(): Promise<readonly string[]> {
  const words = ['chrt', '--fifo', '10'] as const;
  try {
    await run({ argv: [...words, 'true'] });
    return words;
  } catch {
    return [];
  }
}

export interface PairOptions {
  /** For the nodes' files. */
  readonly folder: string;
  /** See firstInLine. */
  readonly before: readonly string[];
}

/** Underlay, bridges, Pods and the way between them. */
export async function makePair(
  backend: PairBackend,
  maker: Maker,
  { folder, before }: PairOptions,
): Promise<Pair> {
  const stem = `bench-${backend}-${stems[maker]}`;
  const node = (number: number): string => `${stem}-n${number}`;
  const pod = (number: number): string => `${stem}-p${number}`;
  const mtu = backend === 'vxlan' ? 1450 : 1500;
  for (const number of [1, 2]) for (const name of [node(number), pod(number)]) await addNetns(name);
  await ipBatch([`link add eth0 netns ${node(1)} type veth peer name eth0 netns ${node(2)}`]);
  for (const number of [1, 2]) {
    const host = [
      'link set lo up',
      'link set eth0 up',
      `addr add 192.0.2.${number}/24 dev eth0`,
      `link add name br0 address 02:00:00:00:01:0${number} type bridge`,
      `addr add 10.244.${number}.1/24 dev br0`,
      `link add name v0 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${pod(number)}`,
      'link set v0 master br0 up',
      'link set br0 up',
    ];
    await ipBatch(host, { netns: node(number) });
    const inside = [
      'link set eth0 up',
      `addr add 10.244.${number}.2/24 dev eth0`,
      `route add default via 10.244.${number}.1`,
    ];
    await ipBatch(inside, { netns: pod(number) });
  }
  const stops = await Promise.all(
    [1, 2].map((number) => wayOf(backend, maker, { number, netns: node(number), folder })),
  );
  const server = await openSession({
    argv: ['nsenter', `--net=${netnsPath(pod(2))}`, ...before, 'iperf3', '-s'],
    tty: false,
    stdin: false,
  });
  const inOne = (...argv: readonly string[]) =>
    run({ argv: ['nsenter', `--net=${netnsPath(pod(1))}`, ...argv], timeoutMs: 30_000 });
  return {
    async throughput() {
      const amount = ['-n', `${megabytes}M`, '-A', twoCpus()] as const;
      const { stdout } = await inOne(...before, 'iperf3', '-c', '10.244.2.2', ...amount, '-J');
      const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
      return end.sum_received.bits_per_second / 1e9;
    },
    async latency() {
      // The tool's own mean is cut to a microsecond, a tenth of what is to be told; the single times are as often cut up as down.
      const { stdout } = await inOne('busybox', 'ping', '-A', '-c', String(pings), '10.244.2.2');
      const times = [...stdout.matchAll(/ time=([\d.]+) ms$/gm)].map(([, ms]) => Number(ms) * 1000);
      if (times.length < pings) throw new Error(`ping: ${times.length} of ${pings} answers`);
      return meanOfLeast(times, 0.9);
    },
    async close() {
      server.kill();
      await server.exit;
      for (const stop of stops) await stop();
      for (const number of [1, 2]) for (const name of [pod(number), node(number)]) await deleteNetns(name);
    },
  };
}

/** Two CPUs that this process may use, as iperf3 wants them; where the scheduler chose, runs differed by a tenth. */
function twoCpus(): string {
  const [, list = '0'] = /^Cpus_allowed_list:\s*(.+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  const cpus = list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return first === last ? [first] : [first, first + 1];
  });
  return `${cpus[0]},${cpus[1] ?? cpus[0]}`;
}

interface Side {
  readonly number: number;
  readonly netns: string;
  readonly folder: string;
}

/** Gives how to end it. */
const wayOf = (backend: PairBackend, maker: Maker, side: Side): Promise<() => Promise<void>> =>
  maker === 'podwire' ? byLoop(backend, side) : byHand(backend, maker, side);

async function byLoop(backend: PairBackend, { number, netns, folder }: Side): Promise<() => Promise<void>> {
  const root = join(folder, netns);
  const { run: runFolder, state } = nodePaths(root);
  for (const path of [runFolder, state]) mkdirSync(path, { recursive: true });
  const input: NetworkChildInput = {
    what: 'pair',
    root,
    backend,
    nodes: [own(number), own(other(number))],
  };
  const session = await openSession({
    argv: ['nsenter', `--net=${netnsPath(netns)}`, process.execPath, child, JSON.stringify(input)],
    tty: false,
    stdin: true,
  });
  let said = '';
  session.onStderr((chunk) => {
    said += chunk.toString('utf8');
  });
  await Promise.race([
    new Promise<void>((resolve) => session.onStdout(() => resolve())),
    session.exit.then((code) => {
      throw new Error(`the network's loop ended (${code}): ${said}`);
    }),
  ]);
  return async () => {
    session.closeStdin();
    await session.exit;
  };
}

async function byHand(
  backend: PairBackend,
  maker: Maker,
  { number, netns }: Side,
): Promise<() => Promise<void>> {
  const far = other(number);
  await run({
    argv: ['nsenter', `--net=${netnsPath(netns)}`, 'tee', '/proc/sys/net/ipv4/ip_forward'],
    input: '1',
  });
  if (maker === 'by hand, masquerade') await nftApply(masquerade(number), { netns });
  if (backend === 'host-gw') {
    await ipBatch([`route add 10.244.${far}.0/24 via 192.0.2.${far} dev eth0`], { netns });
    return async () => {};
  }
  const [mac, farMac] = [vtepMac(`n${number}`), vtepMac(`n${far}`)];
  await ipBatch(
    [
      `link add vx0 address ${mac} mtu 1450 type vxlan id 1 dstport 8472 local 192.0.2.${number} dev eth0 nolearning`,
      `addr add 10.244.${number}.0/32 dev vx0`,
      'link set vx0 up',
      `neigh add 10.244.${far}.0 lladdr ${farMac} dev vx0 nud permanent`,
      `route add 10.244.${far}.0/24 via 10.244.${far}.0 dev vx0 onlink`,
    ],
    { netns },
  );
  await ipBatch([`fdb add ${farMac} dev vx0 dst 192.0.2.${far} self permanent`], { netns, tool: 'bridge' });
  return async () => {};
}

/** What lets Pods out of the cluster, and the least that does. */
const masquerade = (number: number): string => `table ip nat {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.${number}.0/24 ip daddr != 10.244.0.0/16 masquerade
  }
}
`;
