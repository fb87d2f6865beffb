// Which Pod goes first when a node is short of something, and what it is told. Pure; O(Pods · log Pods).
// Assumes use that was just measured. Source: pkg/kubelet/eviction/helpers.go (rank…Pressure, evictionMessage), v1.34.
import { amountsOf, podRequests } from '../../api/pod-requests.ts';
import { findContainer } from '../../api/pod-containers.ts';
import type { Pod } from '../../api/types.ts';
import { amountIn, type Figure, pressureOf, type Signal, type Threshold } from './thresholds.ts';

/** Of one Pod: bytes and processes. */
export interface PodUse {
  readonly pod: Pod;
  readonly memory: number;
  readonly disk: number;
  readonly pids: number;
  /** By container: bytes of memory, or of disk, as the signal is about. */
  readonly containers: ReadonlyMap<string, number>;
}

const systemCritical = 2_000_000_000;

/** Never evicted: what comes from the node's own files, and what the cluster cannot do without. */
export const isCritical = ({ pod, isStatic }: { readonly pod: Pod; readonly isStatic: boolean }): boolean =>
  isStatic || (pod.spec.priority ?? 0) >= systemCritical;

type Order = (a: PodUse, b: PodUse) => number;

const byPriority: Order = (a, b) => (a.pod.spec.priority ?? 0) - (b.pod.spec.priority ?? 0);

function byExcess(kind: 'memory' | 'disk'): readonly Order[] {
  const beyond = (use: PodUse): number =>
    use[kind] - (podRequests(use.pod.spec)[kind === 'memory' ? 'memory' : 'ephemeral-storage'] ?? 0);
  const exceeds = (use: PodUse): number => (beyond(use) > 0 ? 1 : 0);
  return [(a, b) => exceeds(b) - exceeds(a), byPriority, (a, b) => beyond(b) - beyond(a)];
}

/** The first is evicted first: who takes more than it asked for, then who matters least, then who takes the most. */
export function rankPods(signal: Signal, pods: readonly PodUse[]): PodUse[] {
  const pressure = pressureOf(signal);
  const orders: readonly Order[] =
    pressure === 'PIDPressure'
      ? [byPriority, (a, b) => b.pids - a.pids]
      : byExcess(pressure === 'MemoryPressure' ? 'memory' : 'disk');
  return [...pods].sort((a, b) => {
    for (const order of orders) {
      const difference = order(a, b);
      if (difference !== 0) return difference;
    }
    return 0;
  });
}

/** The resource that a signal is about, as messages name it. */
export function resourceOf(signal: Signal): string {
  if (signal === 'memory.available') return 'memory';
  if (signal === 'pid.available') return 'pids';
  return signal.endsWith('.inodesFree') ? 'inodes' : 'ephemeral-storage';
}

/** What a Pod that goes is told, in the kubelet's words. */
export function evictionMessage(threshold: Threshold, figure: Figure, use: PodUse): string {
  const resource = resourceOf(threshold.signal);
  const bound = amountIn(threshold.least, figure.capacity);
  const told = [
    `The node was low on resource: ${resource}. `,
    `Threshold quantity: ${quantity(resource, bound)}, available: ${quantity(resource, figure.available)}. `,
  ];
  if (resource === 'memory' || resource === 'ephemeral-storage')
    for (const [name, used] of use.containers) {
      const requests = findContainer(use.pod.spec, name)?.resources?.requests;
      const asked = amountsOf(requests)[resource] ?? 0;
      if (used > asked)
        told.push(
          `Container ${name} was using ${quantity(resource, used)}, request is ${quantity(resource, asked)}, has larger consumption of ${resource}. `,
        );
    }
  return told.join('');
}

const units = ['', 'Ki', 'Mi', 'Gi', 'Ti'];

/** 100Mi, 1500Ki: the largest unit of which it is a whole number. Counts stay numbers. */
function quantity(resource: string, amount: number): string {
  if (resource === 'inodes' || resource === 'pids') return String(amount);
  let [value, unit] = [amount, 0];
  while (value > 0 && value % 1024 === 0 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value}${units[unit]}`;
}
