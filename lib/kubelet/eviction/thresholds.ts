// When a node is short of something: the thresholds of its flags, and how they compare with what there is. Pure.
// Assumes Kubernetes' names of signals. O(thresholds). Source: pkg/kubelet/eviction/{api,helpers}.go, v1.34.
import { isQuantity, quantityValue } from '../../api/quantity.ts';
import { PodwireError } from '../../exec/errors.ts';

export const signals = [
  'memory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'pid.available',
] as const;
export type Signal = (typeof signals)[number];

/** Of bytes, files or processes; or a share of all there is, 0 to 1. */
export type Amount = { readonly quantity: number; readonly text: string } | { readonly share: number };

export interface Threshold {
  readonly signal: Signal;
  readonly least: Amount;
  /** How long it must hold before anything is done; 0: a hard one. */
  readonly graceMs: number;
  /** More than `least` that must be there before all is well again. */
  readonly reclaim?: Amount;
}

/** What there is of a signal. */
export interface Figure {
  readonly available: number;
  readonly capacity: number;
}
export type Figures = Readonly<Partial<Record<Signal, Figure>>>;

/** kubelet's own. */
export const defaultHard =
  'memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%';

/** As kubelet's, where it says nothing of them. */
export const evictionDefaults = { periodMs: 10_000, transitionMs: 300_000, maxGraceSeconds: 0 } as const;

export interface ThresholdFlags {
  readonly evictionHard?: string;
  readonly evictionSoft?: string;
  readonly evictionSoftGracePeriod?: string;
  readonly evictionMinimumReclaim?: string;
}

/** All thresholds of a node's flags. An empty --eviction-hard: none. @throws PodwireError BAD_EVICTION */
export function parseThresholds(flags: ThresholdFlags): Threshold[] {
  const reclaims = pairs('--eviction-minimum-reclaim', flags.evictionMinimumReclaim, '=');
  const graces = pairs('--eviction-soft-grace-period', flags.evictionSoftGracePeriod, '=');
  const of = (flag: string, text: string | undefined, graceOf: (signal: Signal) => number): Threshold[] =>
    [...pairs(flag, text, '<')].map(([signal, value]) => {
      const reclaim = reclaims.get(signal);
      const least = parseAmount(flag, signal, value);
      return {
        signal,
        least,
        graceMs: graceOf(signal),
        ...(reclaim ? { reclaim: parseAmount('--eviction-minimum-reclaim', signal, reclaim) } : {}),
      };
    });
  const soft = of('--eviction-soft', flags.evictionSoft, (signal) => {
    const text = graces.get(signal);
    const ms = text === undefined ? undefined : milliseconds(text);
    if (ms) return ms;
    throw bad(
      '--eviction-soft-grace-period',
      `${signal}=${text ?? ''}`,
      'a time such as 1m30s for each soft threshold',
    );
  });
  return [...of('--eviction-hard', flags.evictionHard ?? defaultHard, () => 0), ...soft];
}

function bad(flag: string, value: string, expected: string): PodwireError {
  return new PodwireError('BAD_EVICTION', `${flag} ${value}: expected ${expected}`);
}

function pairs(flag: string, text: string | undefined, operator: '<' | '='): Map<Signal, string> {
  const found = new Map<Signal, string>();
  for (const word of (text ?? '').split(',').filter(Boolean)) {
    const at = word.indexOf(operator);
    const signal = word.slice(0, at) as Signal;
    if (at < 0 || !signals.includes(signal))
      throw bad(flag, word, `SIGNAL${operator}VALUE, SIGNAL one of ${signals.join(', ')}`);
    if (found.has(signal)) throw bad(flag, word, `${signal} once`);
    found.set(signal, word.slice(at + 1));
  }
  return found;
}

function parseAmount(flag: string, signal: Signal, text: string): Amount {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  if (percent !== undefined && Number(percent) <= 100) return { share: Number(percent) / 100 };
  if (percent === undefined && isQuantity(text) && quantityValue(text) >= 0)
    return { quantity: quantityValue(text), text };
  throw bad(flag, `${signal}: ${text}`, 'an amount such as 100Mi, or up to 100%');
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** 90s, 1m30s; undefined for what is no time. */
function milliseconds(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  return [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)].reduce(
    (sum, [, amount, unit = '']) => sum + Number(amount) * (unitMs[unit] ?? 0),
    0,
  );
}

export const amountIn = (amount: Amount, capacity: number): number =>
  'share' in amount ? Math.floor(amount.share * capacity) : amount.quantity;

/** Bytes that a hard threshold keeps back from Pods. */
export function heldBack(thresholds: readonly Threshold[], signal: Signal, capacity: number): number {
  const hard = thresholds.find((one) => one.signal === signal && one.graceMs === 0);
  return hard ? amountIn(hard.least, capacity) : 0;
}

/** Those below which we are. One that was met before is met until its reclaim is there, too. */
export function metThresholds(
  thresholds: readonly Threshold[],
  figures: Figures,
  before: readonly Threshold[],
): Threshold[] {
  return thresholds.filter((threshold) => {
    const figure = figures[threshold.signal];
    if (!figure) return false; // not measured: nothing is known
    const { least, reclaim } = threshold;
    const more = reclaim && before.includes(threshold) ? amountIn(reclaim, figure.capacity) : 0;
    const bound = amountIn(least, figure.capacity) + more;
    return bound > 0 && figure.available < bound;
  });
}

export type Pressure = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';

export function pressureOf(signal: Signal): Pressure {
  if (signal === 'memory.available') return 'MemoryPressure';
  return signal === 'pid.available' ? 'PIDPressure' : 'DiskPressure';
}
