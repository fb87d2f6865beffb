// What the cases hand in, and how it is shown: tables against containerd, goals, JSON.
// Assumes every peer of one table was measured in the same run. Pure.
import type { StepSummary, Summary } from './lib/stats.ts';
import { ratio } from './lib/stats.ts';
import { figure, formatTable } from './lib/table.ts';

/** One quantity, measured for several peers in one run. */
export interface Measurement {
  readonly title: string;
  readonly unit: 'ms' | 'µs' | 'MB' | 'Gbit/s' | '% of a core';
  /** Who the others are compared with. */
  readonly base: string;
  readonly peers: Readonly<Record<string, Summary>>;
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
    const { title, unit, base, peers, goalRatio, goalLeastRatio, goalValue } = measurement;
    const own = peers[ours];
    if (!own) return [];
    const got: Verdict[] = [];
    const times = ratio(own, peers[base]);
    if (goalRatio !== undefined)
      got.push({
        title,
        text: `${times?.toFixed(2) ?? 'no figure'} × ${base} (goal: at most ${goalRatio.toFixed(2)})`,
        reached: times !== undefined && times <= goalRatio,
      });
    if (goalLeastRatio !== undefined)
      got.push({
        title,
        text: `${times?.toFixed(2) ?? 'no figure'} × ${base} (goal: at least ${goalLeastRatio.toFixed(2)})`,
        reached: times !== undefined && times >= goalLeastRatio,
      });
    if (goalValue !== undefined)
      got.push({
        title,
        text: `${figure(own.median)} ${unit} (goal: at most ${goalValue} ${unit})`,
        reached: own.median <= goalValue,
      });
    return got;
  });
}

export function showMeasurement({ title, unit, base, peers, remark }: Measurement): string {
  const entries = Object.entries(peers);
  const counts = [...new Set(entries.map(([, summary]) => summary.n))];
  const of = counts.length === 1 ? (counts[0] === 1 ? '' : `, median of ${counts[0]}`) : ', medians';
  const rows = entries.map(([name, summary]) => {
    const times = name === base ? undefined : ratio(summary, peers[base]);
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
