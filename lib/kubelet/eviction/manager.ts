// Keeps a node from running out of memory, disk or processes: looks every few seconds, gives back what nobody needs, and evicts
// one Pod at a time until there is enough again. Assumes figures of its machine and one manager a node.
// A look costs a few file reads; a shortage costs one measurement of every Pod. Source: pkg/kubelet/eviction, v1.34.
import type { Pod } from '../../api/types.ts';
import { evictionMessage, isCritical, type PodUse, rankPods } from './rank.ts';
import { type Figures, metThresholds, type Pressure, pressureOf, type Threshold } from './thresholds.ts';

export interface EvictionSettings {
  readonly thresholds: readonly Threshold[];
  readonly periodMs: number;
  /** How long a condition stays after it was last seen. */
  readonly transitionMs: number;
  /** Longest grace of a Pod that goes by a soft threshold; seconds. */
  readonly maxGraceSeconds: number;
}

export interface ActivePod {
  readonly pod: Pod;
  readonly isStatic: boolean;
  /** It is being taken down already. */
  readonly failed?: object | undefined;
}

export interface EvictionOptions extends EvictionSettings {
  readonly read: () => Figures;
  /** Those that run, and those that are being taken down. */
  readonly pods: () => readonly ActivePod[];
  /** What one Pod takes of what the threshold is about. */
  readonly use: (pod: Pod, threshold: Threshold) => Promise<PodUse>;
  readonly evict: (pod: Pod, how: { message: string; graceSeconds: number }) => void;
  /** Removes from the disk what no Pod needs. */
  readonly reclaimDisk: () => Promise<void>;
  /** The node's conditions are others now. */
  readonly onPressure: () => void;
  readonly onError: (error: unknown) => void;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** How long one Pod may take to go before the next is looked for. */
const leavingMs = 30_000;
// Source: kubelet's immediateEvictionGracePeriodSeconds.
export const hardGraceSeconds = 1;

/** What an earlier look saw. */
interface Seen {
  readonly met: readonly Threshold[];
  /** When each was first met without a break. */
  readonly since: ReadonlyMap<Threshold, number>;
  readonly pressures: ReadonlyMap<Pressure, number>;
}

/** What is so now, given what was. Pure. */
export function observe(
  { thresholds, transitionMs }: Pick<EvictionSettings, 'thresholds' | 'transitionMs'>,
  before: Seen,
  { figures, now }: { readonly figures: Figures; readonly now: number },
): Seen & { readonly due: readonly Threshold[] } {
  const met = metThresholds(thresholds, figures, before.met);
  const since = new Map(met.map((one) => [one, before.since.get(one) ?? now]));
  const pressures = new Map([...before.pressures].filter(([, last]) => now - last < transitionMs));
  for (const { signal } of met) pressures.set(pressureOf(signal), now);
  // Memory first: it is what a node dies of.
  const due = met
    .filter((one) => now - (since.get(one) ?? now) >= one.graceMs)
    .sort((a, b) => Number(b.signal === 'memory.available') - Number(a.signal === 'memory.available'));
  return { met, since, pressures, due };
}

export class EvictionManager {
  readonly #options: EvictionOptions;
  readonly #now: () => number;
  #seen: Seen = { met: [], since: new Map(), pressures: new Map() };
  #leaving: { readonly uid: string; readonly until: number } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: EvictionOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** What the node is short of, or was a moment ago. */
  pressures(): readonly Pressure[] {
    return [...this.#seen.pressures.keys()];
  }

  /** Looks now and from now on; nothing without thresholds. */
  start(): void {
    if (this.#closed || this.#options.thresholds.length === 0) return;
    this.#looking = this.look().catch(this.#options.onError);
    void this.#looking.then(() => {
      if (this.#closed) return;
      this.#timer = setTimeout(() => this.start(), this.#options.periodMs);
      this.#timer.unref();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  /** One look, and one Pod at most. */
  async look(): Promise<void> {
    const [threshold] = this.#observe();
    if (!threshold || this.#stillLeaving()) return;
    if (pressureOf(threshold.signal) === 'DiskPressure') {
      await this.#options.reclaimDisk().catch(this.#options.onError); // then Pods must go
      if (!this.#observe().includes(threshold)) return;
    }
    await this.#evictOne(threshold);
  }

  #observe(): readonly Threshold[] {
    const { read, onPressure } = this.#options;
    const before = this.pressures().join();
    const { due, ...seen } = observe(this.#options, this.#seen, { figures: read(), now: this.#now() });
    this.#seen = seen;
    if (this.pressures().join() !== before) onPressure();
    return due;
  }

  #stillLeaving(): boolean {
    const leaving = this.#leaving;
    const isThere = this.#options.pods().some(({ pod }) => pod.metadata.uid === leaving?.uid);
    if (leaving && isThere && this.#now() < leaving.until) return true;
    this.#leaving = undefined;
    return false;
  }

  async #evictOne(threshold: Threshold): Promise<void> {
    const { pods, use, read, evict, maxGraceSeconds } = this.#options;
    const candidates = pods().filter((one) => !isCritical(one) && !one.failed);
    const uses: PodUse[] = [];
    for (const { pod } of candidates) uses.push(await use(pod, threshold));
    const [first] = rankPods(threshold.signal, uses);
    const figure = read()[threshold.signal];
    if (!first || !figure || this.#closed) return;
    const { pod } = first;
    const own = pod.spec.terminationGracePeriodSeconds ?? 30;
    const graceSeconds = threshold.graceMs === 0 ? hardGraceSeconds : Math.min(maxGraceSeconds, own);
    this.#leaving = { uid: pod.metadata.uid, until: this.#now() + leavingMs };
    evict(pod, { message: evictionMessage(threshold, figure, first), graceSeconds });
  }
}
