// apply → Running and delete → gone of a one-container Pod with a cached image, for every peer.
// Assumes a quiet machine. Peers take turns within each run, so that a drift of the machine hits all alike; the first
// of a run changes, so that nobody always follows the same other. Costs about 1 s a run and peer.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Step } from '../../lib/exec/step-clock.ts';
import { assertGone } from '../lib/gone.ts';
import { rotated, summarize, summarizeSteps } from '../lib/stats.ts';
import type { Peer } from '../peers/peer.ts';
import type { Measurement } from '../report.ts';
import { type Case, timed } from './case.ts';

interface Samples {
  readonly start: number[];
  readonly remove: number[];
  readonly steps: (readonly Step[])[];
}

export const startCase: Case = async ({ peers, options, progress }) => {
  progress.phase('one Pod: apply → Running, delete → gone');
  const samples = new Map(
    peers.map((peer): [string, Samples] => [peer.name, { start: [], remove: [], steps: [] }]),
  );
  const { runs, warmup, settle } = options;
  for (let run = -warmup; run < runs; run++) {
    for (const peer of rotated(peers, run + warmup)) {
      progress.tick(`${run < 0 ? 'warming up' : `run ${run + 1} of ${runs}`}, ${peer.name}`);
      const into = run < 0 ? undefined : samples.get(peer.name);
      await once(peer, `one-${run + warmup}`, { settle, into });
    }
  }
  const named = [...samples];
  const measurement = (title: string, of: (one: Samples) => number[]): Measurement => ({
    title,
    unit: 'ms',
    base: 'containerd',
    goalRatio: 0.6,
    peers: Object.fromEntries(named.map(([name, one]) => [name, summarize(of(one))])),
  });
  return {
    measurements: [
      measurement('apply → Running, one Pod', (one) => one.start),
      measurement('delete → gone, one Pod', (one) => one.remove),
    ],
    steps: named
      .filter(([, one]) => one.steps.length > 0)
      .map(([name, one]) => ({ title: `Where the start goes, ${name}`, steps: summarizeSteps(one.steps) })),
  };
};

async function once(
  peer: Peer,
  pod: string,
  how: { settle: number; into: Samples | undefined },
): Promise<void> {
  const { settle, into } = how;
  const started = await timed(() => peer.start(pod));
  await peer.verify(pod);
  const steps = await peer.steps?.(pod);
  await sleep(settle);
  const removed = await timed(() => peer.remove(pod));
  assertGone(peer.name);
  await sleep(settle);
  into?.start.push(started);
  into?.remove.push(removed);
  if (steps) into?.steps.push(steps);
}
