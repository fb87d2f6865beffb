// What a node has, and what of it Pods may ask for: capacity and allocatable. Pure.
// Assumes figures read once, at start. O(resources). Source: Kubernetes, "Reserve Compute Resources for System Daemons".
import { type Amounts, amountsOf } from '../api/pod-requests.ts';
import { isQuantity } from '../api/quantity.ts';
import { PodwireError } from '../exec/errors.ts';
import { heldBack, type Threshold } from './eviction/thresholds.ts';

export interface MachineFigures {
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes of the file system that holds Pods. */
  readonly disk: number;
  /** Bytes of all pages of a size, by resource: hugepages-2Mi. */
  readonly hugePages: Readonly<Record<string, number>>;
  readonly maxPods: number;
}

/** cpu in millicores, all else in whole units. */
export interface NodeCapacity {
  readonly capacity: Amounts;
  readonly allocatable: Amounts;
}

export interface Reservation {
  readonly thresholds: readonly Threshold[];
  /** For what runs beside Pods. */
  readonly reserved: readonly Amounts[];
}

export function nodeCapacity(machine: MachineFigures, { thresholds, reserved }: Reservation): NodeCapacity {
  const { cpus, memory, disk, hugePages, maxPods } = machine;
  const capacity = { cpu: cpus * 1000, memory, 'ephemeral-storage': disk, ...hugePages, pods: maxPods };
  const kept: Amounts = {
    memory:
      heldBack(thresholds, 'memory.available', memory) + Object.values(hugePages).reduce((a, b) => a + b, 0),
    'ephemeral-storage': heldBack(thresholds, 'nodefs.available', disk),
  };
  const less = (name: string): number => [kept, ...reserved].reduce((sum, one) => sum + (one[name] ?? 0), 0);
  return {
    capacity,
    allocatable: Object.fromEntries(
      Object.entries(capacity).map(([name, amount]) => [name, Math.max(0, amount - less(name))]),
    ),
  };
}

/** As a Node's status has it. */
export const shownAmounts = (amounts: Amounts): Record<string, string> =>
  Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, shown(name, amount)]));

function shown(name: string, amount: number): string {
  if (name === 'cpu') return amount % 1000 === 0 ? `${amount / 1000}` : `${amount}m`;
  if (name.startsWith('hugepages-') && amount > 0) return `${amount / 1024}Ki`;
  return name === 'memory' || name === 'ephemeral-storage' ? `${Math.floor(amount / 1024)}Ki` : `${amount}`;
}

/** cpu=200m,memory=500Mi,ephemeral-storage=1Gi. @throws PodwireError BAD_RESERVATION */
export function parseReserved(flag: string, text = ''): Amounts {
  const list: Record<string, string> = {};
  for (const word of text.split(',').filter(Boolean)) {
    const [name = '', amount = ''] = word.split('=', 2);
    if (
      !['cpu', 'memory', 'ephemeral-storage'].includes(name) ||
      !isQuantity(amount) ||
      amount.startsWith('-')
    )
      throw new PodwireError(
        'BAD_RESERVATION',
        `${flag} ${word}: expected cpu=, memory= or ephemeral-storage= and an amount such as 500Mi`,
      );
    list[name] = amount;
  }
  return amountsOf(list);
}
