// What the cases hand in, and how it is shown: tables against containerd, goals, JSON.
// Assumes every peer of one table was measured in the same run. Pure.
import type { StepSummary, Summary } from './lib/stats.ts';
import { pairedRatio, ratio } from './lib/stats.ts';
import { figure, formatTable } from './lib/table.ts';

/** One quantity, measured for several peers in one run. */
export interface Measurement {
  readonly title: string;
  readonly unit: 'ms' | 'µs' | 'MB' | 'Gbit/s' | '% of a core';
  /** Who the others are compared with. */
  readonly base: string;
  readonly peers: Readonly<Record<string, Summary>>;
  /** What the summaries are of, round by round, where peers took turns so short that ratios are made within a round. */
  readonly rounds?: Readonly<Record<string, readonly number[]>>;
  /** Others beside the base that the goals of ratio are held against. */
  readonly furtherBases?: readonly string[];
  /** For podwire: at most this many times the base's median. */
  readonly goalRatio?: number;
  /** For podwire, of what is the better the larger it is: at least this many times the base's median. */
  readonly goalLeastRatio?: number;
  /** For podwire: at most this much. */
  readonly goalValue?: number;
  readonly remark?: string;
}

export interface StepTable {
  readonly title: string;
  readonly steps: readonly StepSummary[];
}

export interface Results {
  readonly measurements: Measurement[];
  readonly steps: StepTable[];
}

export interface Verdict {
  readonly title: string;
  readonly text: string;
  readonly reached: boolean;
}

const ours = 'podwire';

/** Goals and whether they are reached; one that lacks its base is not. */
export function verdicts(measurements: readonly Measurement[]): Verdict[] {
  return measurements.flatMap((measurement) => {
    const { title, unit, base, peers, furtherBases = [], goalRatio, goalLeastRatio, goalValue } = measurement;
    const own = peers[ours];
    if (!own) return [];
    const got: Verdict[] = [];
    for (const against of [base, ...furtherBases]) {
      const times = timesOf(measurement, ours, against);
      const text = `${times?.toFixed(2) ?? 'no figure'} × ${against}`;
      if (goalRatio !== undefined)
        got.push({
          title,
          text: `${text} (goal: at most ${goalRatio.toFixed(2)})`,
          reached: times !== undefined && times <= goalRatio,
        });
      if (goalLeastRatio !== undefined)
        got.push({
          title,
          text: `${text} (goal: at least ${goalLeastRatio.toFixed(2)})`,
          reached: times !== undefined && times >= goalLeastRatio,
        });
    }
    if (goalValue !== undefined)
      got.push({
        title,
        text: `${figure(own.median)} ${unit} (goal: at most ${goalValue} ${unit})`,
        reached: own.median <= goalValue,
      });
    return got;
  });
}

/** How many times the base's figure a peer's is; undefined where one of them was not measured. */
function timesOf({ peers, rounds }: Measurement, peer: string, base: string): number | undefined {
  const [own, other] = [rounds?.[peer], rounds?.[base]];
  if (own && other) return pairedRatio(own, other);
  const summary = peers[peer];
  return summary && ratio(summary, peers[base]);
}

export function showMeasurement(measurement: Measurement): string {
  const { title, unit, base, peers, remark } = measurement;
  const entries = Object.entries(peers);
  const counts = [...new Set(entries.map(([, summary]) => summary.n))];
  const of = counts.length === 1 ? (counts[0] === 1 ? '' : `, median of ${counts[0]}`) : ', medians';
  const rows = entries.map(([name, summary]) => {
    const times = name === base ? undefined : timesOf(measurement, name, base);
    const { median, min, max } = summary;
    return [name, figure(median), figure(min), figure(max), times?.toFixed(2)];
  });
  const head = ['', 'median', 'min', 'max', ...(peers[base] ? [`× ${base}`] : [])];
  return `${title}: ${unit}${of}${remark ? ` (${remark})` : ''}\n${formatTable(head, rows)}`;
}

export function showSteps({ title, steps }: StepTable): string {
  const rows = steps.map(({ name, start, ms }) => [name, start.toFixed(1), ms.toFixed(1)]);
  return `${title}: ms, medians; steps overlap\n${formatTable(['step', 'begins', 'takes'], rows)}`;
}

export function showVerdicts(list: readonly Verdict[]): string {
  return list.map(({ title, text, reached }) => `  ${reached ? '✓' : '✗'} ${title}: ${text}\n`).join('');
}
