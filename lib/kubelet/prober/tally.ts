// When results of a probe become a verdict: after successThreshold or failureThreshold equal ones in a row. Pure.
// Assumes results in the order in which they came. Source: kubelet's prober/worker.go.
import type { Probe } from '../../api/types.ts';

export type Verdict = 'success' | 'failure';

export interface Tally {
  readonly last: Verdict | undefined;
  /** How many equal results there were in a row. */
  readonly run: number;
}

export const emptyTally: Tally = { last: undefined, run: 0 };

/** The verdict is undefined while the threshold is not reached: what was said before holds. */
export function count(
  before: Tally,
  result: Verdict,
  probe: Probe,
): { tally: Tally; verdict: Verdict | undefined } {
  const run = before.last === result ? before.run + 1 : 1;
  const threshold = (result === 'success' ? probe.successThreshold : probe.failureThreshold) ?? 1;
  return { tally: { last: result, run }, verdict: run >= threshold ? result : undefined };
}

/** Milliseconds until a probe first runs. Pure. */
export function firstDelayMs(
  probe: Probe,
  container: { readonly startedAt: number; readonly isAdopted: boolean },
  now: number,
): number {
  const left = container.startedAt + (probe.initialDelaySeconds ?? 0) * 1000 - now;
  if (left > 0) return left;
  // Those of a daemon that has just begun would all run at once.
  return container.isAdopted ? Math.random() * (probe.periodSeconds ?? 10) * 1000 : 0;
}
