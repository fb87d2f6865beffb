// Two namespaces as nodes with a wire between them, and on each a Pod behind a bridge. The way between the Pods is made by
// podwire's loop, or by hand with `ip`, which is what podwire is held against. Assumes the cell, iperf3 and busybox.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../lib/exec/exec.ts';
import { openSession } from '../../lib/exec/session.ts';
import { ipBatch } from '../../lib/kernel/ip.ts';
import { addNetns, deleteNetns, netnsPath } from '../../lib/kernel/netns.ts';
import { vtepMac } from '../../lib/kernel/overlay.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import type { NetworkChildInput } from './network-child.ts';
import type { SimulatedNode } from './simulated-nodes.ts';

export type PairBackend = 'vxlan' | 'host-gw';
export type Maker = 'podwire' | 'by hand';

const child = fileURLToPath(new URL('network-child.ts', import.meta.url));
const own = (number: number): SimulatedNode => ({
  name: `n${number}`,
  podCidrs: [`10.244.${number}.0/24`],
  address: `192.0.2.${number}`,
});
const other = (number: number): number => 3 - number;

export interface Pair {
  /** Gbit/s from one Pod to the other, by one TCP stream. */
  throughput(seconds: number): Promise<number>;
  /** Microseconds there and back, the mean of many. */
  latency(): Promise<number>;
  close(): Promise<void>;
}

/** Underlay, bridges, Pods and the way between them. `folder` is for the nodes' files. */
export async function makePair(backend: PairBackend, maker: Maker, folder: string): Promise<Pair> {
  const stem = `bench-${backend}-${maker === 'podwire' ? 'pw' : 'hand'}`;
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
    argv: ['nsenter', `--net=${netnsPath(pod(2))}`, 'iperf3', '-s'],
    tty: false,
    stdin: false,
  });
  const inOne = (...argv: [string, ...string[]]) =>
    run({ argv: ['nsenter', `--net=${netnsPath(pod(1))}`, ...argv], timeoutMs: 30_000 });
  return {
    async throughput(seconds) {
      const { stdout } = await inOne('iperf3', '-c', '10.244.2.2', '-t', String(seconds), '-J');
      const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
      return end.sum_received.bits_per_second / 1e9;
    },
    async latency() {
      const { stdout } = await inOne('busybox', 'ping', '-q', '-A', '-c', '2000', '10.244.2.2');
      const [, mean] = /min\/avg\/max = [\d.]+\/([\d.]+)\//.exec(stdout) ?? [];
      if (mean === undefined) throw new Error(`ping: ${stdout}`);
      return Number(mean) * 1000;
    },
    async close() {
      server.kill();
      await server.exit;
      for (const stop of stops) await stop();
      for (const number of [1, 2]) for (const name of [pod(number), node(number)]) await deleteNetns(name);
    },
  };
}

interface Side {
  readonly number: number;
  readonly netns: string;
  readonly folder: string;
}

/** Gives how to end it. */
const wayOf = (backend: PairBackend, maker: Maker, side: Side): Promise<() => Promise<void>> =>
  maker === 'podwire' ? byLoop(backend, side) : byHand(backend, side);

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

async function byHand(backend: PairBackend, { number, netns }: Side): Promise<() => Promise<void>> {
  const far = other(number);
  await run({
    argv: ['nsenter', `--net=${netnsPath(netns)}`, 'tee', '/proc/sys/net/ipv4/ip_forward'],
    input: '1',
  });
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
