// A node's network loop as a process of its own, in the namespace it is started in. `many`: beside a thousand simulated
// nodes, measured, and told as JSON on standard output. `pair`: beside one, until standard input ends.
// Assumes Node with --expose-gc for `many`.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { startNodeNetwork } from '../../lib/node-network/loop.ts';
import type { BackendName } from '../../lib/node-network/types.ts';
import { makeNode, numbered, SimulatedNodes, type SimulatedNode } from './simulated-nodes.ts';

export type NetworkChildInput = {
  readonly root: string;
  readonly backend: BackendName;
} & (
  | { readonly what: 'many'; readonly peers: number; readonly changes: number }
  | { readonly what: 'pair'; readonly nodes: readonly [SimulatedNode, SimulatedNode] }
);

export interface ManyResult {
  readonly firstMs: number;
  /** A start that finds everything as it should be. */
  readonly againMs: number;
  readonly changeMs: readonly number[];
  /** Bytes of this process: before it had Nodes, with them, and with their network. */
  readonly rss: { readonly bare: number; readonly nodes: number; readonly network: number };
}

const input = JSON.parse(process.argv[2] ?? '{}') as NetworkChildInput;
const paths = nodePaths(input.root);
const nodes = new SimulatedNodes();
const start = (name: string) =>
  startNodeNetwork({
    client: nodes.client(),
    nodeName: name,
    backend: { name: input.backend },
    paths,
    clusterCidrs: ['10.128.0.0/9', 'fd00:10::/32'],
    log: { info: () => {}, warn: (message) => process.stderr.write(`${message}\n`) },
  });

if (input.what === 'pair') {
  for (const node of input.nodes) nodes.put(makeNode(node));
  const network = await start(input.nodes[0].name);
  process.stdout.write('ready\n');
  process.stdin.resume();
  process.stdin.once('end', () => void network.close().then(() => process.exit(0)));
} else {
  process.stdout.write(`${JSON.stringify(await many(input))}\n`);
  process.exit(0);
}

async function many({ peers, changes }: { peers: number; changes: number }): Promise<ManyResult> {
  const bare = await rss();
  for (let at = 1; at <= peers + 1; at++) nodes.put(makeNode(numbered(at)));
  const withNodes = await rss();
  const first = numbered(1).name;
  const begin = performance.now();
  const network = await start(first);
  const firstMs = performance.now() - begin;
  if (network.status().peers.length !== peers) throw new Error(JSON.stringify(network.status().lastError));
  await sleep(500); // what the monitor says of the first programming is read by then
  const programmed = await rss();
  const changeMs: number[] = [];
  for (let change = 0; change < changes; change++) changeMs.push(await oneChange(change, peers));
  await network.close();
  const beginAgain = performance.now();
  const again = await start(first);
  const againMs = performance.now() - beginAgain;
  await again.close();
  return { firstMs, againMs, changeMs, rss: { bare, nodes: withNodes, network: programmed } };
}

/** From a Node that gets another subnet to the kernel's route to it: the last but one thing that is changed for a peer. */
async function oneChange(change: number, peers: number): Promise<number> {
  const at = 2 + ((change * 37) % peers);
  const subnet = `10.${200 + (change >> 8)}.${change & 255}`;
  const { address, name } = numbered(at);
  const destination = subnet.split('.').map(Number).reverse();
  const key = `\t00${destination.map((part) => part.toString(16).padStart(2, '0')).join('')}\t`.toUpperCase();
  const begin = performance.now();
  nodes.put(makeNode({ name, address, podCidrs: [`${subnet}.0/24`] }));
  // A millisecond between two looks, and one for a look.
  while (!readFileSync('/proc/net/route', 'latin1').includes(key)) {
    if (performance.now() - begin > 5000) throw new Error(`no route to ${subnet}.0/24 after 5 s`);
    await sleep(1);
  }
  const ms = performance.now() - begin;
  await sleep(30);
  return ms;
}

async function rss(): Promise<number> {
  await sleep(50);
  globalThis.gc?.();
  return process.memoryUsage.rss();
}
