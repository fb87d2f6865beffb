// The arithmetic of the measurements: order statistics, and how one peer stands against another.
// Assumes finite numbers, at least one. Pure; O(n log n).

export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** @throws RangeError without values: a median of nothing would be an invented figure */
export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new RangeError('no values to summarize');
  const sorted = [...values].sort((a, b) => a - b);
  const { length } = sorted;
  const upper = sorted[Math.floor(length / 2)]!;
  const lower = sorted[Math.floor((length - 1) / 2)]!;
  return { n: length, median: (lower + upper) / 2, min: sorted[0]!, max: sorted[length - 1]! };
}

/** a / b by their medians; undefined where there is nothing to compare with. */
export function ratio(a: Summary, b: Summary | undefined): number | undefined {
  return b === undefined || b.median === 0 ? undefined : a.median / b.median;
}

/**
 * a / b, measured in turns: the median of each round's own ratio, so that what changed from round to round falls out.
 * @throws RangeError without rounds, or where one has more than the other
 */
export function pairedRatio(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) throw new RangeError(`${a.length} rounds against ${b.length}`);
  return summarize(a.map((value, round) => value / b[round]!)).median;
}

/** Mean of the least `share` of the values, one at least. @throws RangeError without values */
export function meanOfLeast(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError('no values for a mean');
  const least = [...values].sort((a, b) => a - b).slice(0, Math.max(1, Math.floor(values.length * share)));
  return least.reduce((sum, value) => sum + value, 0) / least.length;
}

export interface StepSummary {
  readonly name: string;
  /** In how many of the runs the step occurred. */
  readonly runs: number;
  /** Milliseconds after the beginning, median. */
  readonly start: number;
  /** Milliseconds, median of its sum in each run. */
  readonly ms: number;
}

interface NamedStep {
  readonly name: string;
  readonly start: number;
  readonly ms: number;
}

/** Medians by step name over several runs, in the order in which the steps begin. A step that a run has twice counts once, with its sum. */
export function summarizeSteps(runs: ReadonlyArray<readonly NamedStep[]>): StepSummary[] {
  const byName = new Map<string, { starts: number[]; lengths: number[] }>();
  for (const steps of runs) {
    const inRun = new Map<string, { start: number; ms: number }>();
    for (const { name, start, ms } of steps) {
      const seen = inRun.get(name);
      inRun.set(name, seen ? { start: Math.min(seen.start, start), ms: seen.ms + ms } : { start, ms });
    }
    for (const [name, { start, ms }] of inRun) {
      const entry = byName.get(name) ?? { starts: [], lengths: [] };
      entry.starts.push(start);
      entry.lengths.push(ms);
      byName.set(name, entry);
    }
  }
  return [...byName]
    .map(([name, { starts, lengths }]) => ({
      name,
      runs: starts.length,
      start: summarize(starts).median,
      ms: summarize(lengths).median,
    }))
    .sort((a, b) => a.start - b.start);
}

/** The items from the `by`th on, then those before it: so that over the runs everyone goes first equally often. */
export function rotated<T>(items: readonly T[], by: number): T[] {
  const at = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}
