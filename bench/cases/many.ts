// Many Pods at once: until all run, what they and their daemon keep in memory, until all are gone.
// Assumes enough addresses (a /24) and memory. podman is left out: it has no daemon to ask for many at once.
// The same number of Pods is under way at once for every peer.
import { setTimeout as sleep } from 'node:timers/promises';
import { cellCpu } from '../lib/cpu.ts';
import { assertGone } from '../lib/gone.ts';
import { processMemory, sumMemory } from '../lib/memory.ts';
import { pool } from '../lib/pool.ts';
import { rotated, type Summary, summarize } from '../lib/stats.ts';
import type { Peer } from '../peers/peer.ts';
import type { Measurement } from '../report.ts';
import { type Case, timed } from './case.ts';

/** What was asked for is answered, but processes may still be ending. */
const restMs = 1000;

interface Samples {
  readonly start: number[];
  readonly remove: number[];
  /** CPU milliseconds a Pod. */
  readonly startCpu: number[];
  readonly removeCpu: number[];
  readonly memory: PodMemory[];
}

interface PodMemory {
  readonly daemonRss: number;
  readonly daemonPss: number;
  /** What stands beside each Pod's own processes, divided by the number of Pods. */
  readonly podRss: number;
  readonly podPss: number;
}

export const manyCase: Case = async ({ peers, options, progress }) => {
  const { pods: count, rounds, concurrency = count } = options;
  const taking = peers.filter((peer) => peer.name !== 'podman');
  progress.phase(`${count} Pods at once, ${concurrency} under way`);
  const samples = new Map(
    taking.map((peer): [string, Samples] => [
      peer.name,
      { start: [], remove: [], startCpu: [], removeCpu: [], memory: [] },
    ]),
  );
  for (let round = 0; round < rounds; round++)
    for (const peer of rotated(taking, round)) {
      const pods = Array.from({ length: count }, (_, at) => `many-${round}-${at}`);
      progress.tick(`round ${round + 1} of ${rounds}, ${peer.name}`);
      await oneRound(peer, pods, { concurrency, into: samples.get(peer.name)! });
    }

  const named = [...samples];
  const summaries = (of: (one: Samples) => number[]): Record<string, Summary> =>
    Object.fromEntries(named.map(([name, one]) => [name, summarize(of(one))]));
  const remark = `${concurrency} under way at once`;
  const time = { unit: 'ms', base: 'containerd', remark } as const;
  const cpu = { unit: 'ms', base: 'containerd', remark: 'all processes together' } as const;
  const memory = (title: string, of: (one: PodMemory) => number): Measurement => ({
    title,
    unit: 'MB',
    base: 'containerd',
    peers: summaries((one) => one.memory.map(of)),
  });
  return {
    measurements: [
      {
        ...time,
        title: `apply → all Running, ${count} Pods`,
        goalRatio: 0.6,
        peers: summaries((one) => one.start),
      },
      { ...time, title: `delete → all gone, ${count} Pods`, peers: summaries((one) => one.remove) },
      { ...cpu, title: 'CPU time of a start, each Pod', peers: summaries((one) => one.startCpu) },
      { ...cpu, title: 'CPU time of a removal, each Pod', peers: summaries((one) => one.removeCpu) },
      { ...memory(`daemon with ${count} Pods, RSS`, (one) => one.daemonRss), goalValue: 150 },
      memory(`daemon with ${count} Pods, PSS`, (one) => one.daemonPss),
      {
        ...memory('beside each Pod, RSS', (one) => one.podRss),
        remark: 'podwire: pause, conmon; containerd: shim, pause',
      },
      { ...memory('beside each Pod, PSS', (one) => one.podPss), goalValue: 5 },
    ],
    steps: [],
  };
};

async function oneRound(
  peer: Peer,
  pods: readonly string[],
  { concurrency, into }: { concurrency: number; into: Samples },
): Promise<void> {
  const begun = cellCpu();
  into.start.push(await timed(() => pool(pods, concurrency, (pod) => peer.start(pod))));
  await sleep(restMs);
  into.startCpu.push((cellCpu() - begun) / pods.length);
  for (const pod of pods) await peer.verify(pod);
  into.memory.push(memoryOf(peer, pods.length));
  const asked = cellCpu();
  into.remove.push(await timed(() => pool(pods, concurrency, (pod) => peer.remove(pod))));
  assertGone(peer.name);
  await sleep(restMs);
  into.removeCpu.push((cellCpu() - asked) / pods.length);
}

function memoryOf(peer: Peer, pods: number): PodMemory {
  const all = processMemory();
  const daemon = sumMemory(all.filter((one) => peer.role(one) === 'daemon'));
  const beside = sumMemory(all.filter((one) => peer.role(one) === 'pod'));
  const megabytes = (bytes: number): number => bytes / 1e6;
  return {
    daemonRss: megabytes(daemon.rss),
    daemonPss: megabytes(daemon.pss),
    podRss: megabytes(beside.rss / pods),
    podPss: megabytes(beside.pss / pods),
  };
}
