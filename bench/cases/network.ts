// The network between nodes. A thousand simulated nodes: how long until all are programmed, until one change is, and what
// it takes of memory. Two nodes: what gets through between their Pods, against the same set up by hand, in turns.
// Assumes the cell; iperf3 for the second part, which is left out and said without it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../../lib/exec/find-program.ts';
import { run } from '../../lib/exec/exec.ts';
import { ipBatch } from '../../lib/kernel/ip.ts';
import { addNetns, deleteNetns, netnsPath } from '../../lib/kernel/netns.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import type { ManyResult, NetworkChildInput } from '../lib/network-child.ts';
import { rotated, summarize } from '../lib/stats.ts';
import { firstInLine, type Maker, makePair, type Pair, type PairBackend } from '../lib/two-nodes.ts';
import type { Measurement } from '../report.ts';
import type { Case, CaseContext } from './case.ts';

const peers = 1000;
const changes = 100;
const rounds = 30;
const restMs = 100;
const manyChild = fileURLToPath(new URL('../lib/network-child.ts', import.meta.url));

export const networkCase: Case = async (context) => {
  const measurements: Measurement[] = [];
  for (const backend of ['vxlan', 'host-gw'] as const) measurements.push(...(await many(context, backend)));
  if (!findProgram('iperf3'))
    context.progress.note('Pod to Pod: not measured: no iperf3 (apt-get install iperf3)');
  else
    for (const backend of ['vxlan', 'host-gw'] as const) measurements.push(...(await pair(context, backend)));
  return { measurements, steps: [] };
};

async function many({ progress, folder }: CaseContext, backend: PairBackend): Promise<Measurement[]> {
  progress.phase(`network: ${peers} nodes, ${backend}`);
  const netns = `bench-many-${backend}`;
  const root = join(folder, netns);
  const { run: runFolder, state } = nodePaths(root);
  for (const path of [runFolder, state]) mkdirSync(path, { recursive: true });
  await addNetns(netns);
  try {
    const underlay = [
      'link set lo up',
      'link add eth0 type veth peer name far',
      'link set far up',
      'link set eth0 up',
    ];
    await ipBatch([...underlay, 'addr add 172.16.0.1/12 dev eth0'], { netns });
    const input: NetworkChildInput = { what: 'many', root, backend, peers, changes };
    const argv = [process.execPath, '--expose-gc', manyChild, JSON.stringify(input)];
    const { stdout } = await run({
      argv: ['nsenter', `--net=${netnsPath(netns)}`, ...argv],
      timeoutMs: 120_000,
    });
    return manyMeasurements(backend, JSON.parse(stdout) as ManyResult);
  } finally {
    await deleteNetns(netns);
  }
}

function manyMeasurements(
  backend: PairBackend,
  { firstMs, againMs, changeMs, rss }: ManyResult,
): Measurement[] {
  const one = (title: string, values: readonly number[], more: Partial<Measurement> = {}): Measurement => ({
    title: `${backend}, ${peers} peers: ${title}`,
    unit: 'ms',
    base: '',
    peers: { podwire: summarize(values) },
    ...more,
  });
  const megabytes = (bytes: number): number => bytes / 1e6;
  return [
    one('first programming', [firstMs], { goalValue: 1500 }),
    one('a restart that finds all as it should be', [againMs]),
    one('one changed Node, until the kernel has it', changeMs, { goalValue: 20 }),
    one('memory that their Nodes take, RSS', [megabytes(rss.nodes - rss.bare)], { unit: 'MB' }),
    one('memory that their network takes, RSS', [megabytes(rss.network - rss.nodes)], { unit: 'MB' }),
  ];
}

/** All are there at once, and are asked in turns. */
async function pair({ progress, folder }: CaseContext, backend: PairBackend): Promise<Measurement[]> {
  progress.phase(`network: Pod to Pod, ${backend}`);
  const makers: Maker[] = ['podwire', 'by hand', 'by hand, masquerade'];
  const pairs = new Map<Maker, Pair>();
  const gigabits = new Map<Maker, number[]>(makers.map((maker) => [maker, []]));
  const latencies = new Map<Maker, number[]>(makers.map((maker) => [maker, []]));
  const before = await firstInLine();
  if (before.length === 0)
    progress.note('Pod to Pod: no real-time priority (chrt): other processes disturb it');
  try {
    for (const maker of makers) pairs.set(maker, await makePair(backend, maker, { folder, before }));
    for (let round = -1; round < rounds; round++)
      for (const maker of rotated(makers, round + 1)) {
        progress.tick(`round ${round + 1} of ${rounds}, ${maker}`);
        const one = pairs.get(maker) as Pair;
        const got = { rate: await one.throughput(), latency: await one.latency() };
        await sleep(restMs); // what has waited meanwhile runs now
        if (round < 0) continue; // the first of each warms the caches
        gigabits.get(maker)?.push(got.rate);
        latencies.get(maker)?.push(got.latency);
      }
  } finally {
    for (const one of pairs.values()) await one.close();
  }
  const common = (samples: Map<Maker, number[]>) => ({
    base: 'by hand',
    furtherBases: ['by hand, masquerade'],
    peers: Object.fromEntries([...samples].map(([maker, values]) => [maker, summarize(values)])),
    rounds: Object.fromEntries(samples),
  });
  return [
    {
      title: `${backend}: Pod to Pod across nodes, one TCP stream`,
      unit: 'Gbit/s',
      ...common(gigabits),
      goalLeastRatio: 0.97,
    },
    {
      title: `${backend}: Pod to Pod across nodes, ping`,
      unit: 'µs',
      ...common(latencies),
      goalRatio: 1.03,
    },
  ];
}
