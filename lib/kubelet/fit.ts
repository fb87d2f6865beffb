// Whether a Pod finds room beside those that a node has already. Pure; O(Pods of the node).
// Assumes numbers as pod-requests.ts makes them: cpu in millicores, all else in whole units.
// Source: kubelet's GeneralPredicates and InsufficientResourceError, v1.34.
import { type Amounts, podRequests } from '../api/pod-requests.ts';
import type { Pod } from '../api/types.ts';

export interface Shortage {
  readonly resource: string;
  readonly requested: number;
  readonly used: number;
  readonly capacity: number;
}

/** The first resource of which there is too little; what the node does not count it has without end. */
export function shortage(pod: Pod, others: readonly Pod[], allocatable: Amounts): Shortage | undefined {
  if (allocatable.pods !== undefined && others.length + 1 > allocatable.pods)
    return { resource: 'pods', requested: 1, used: others.length, capacity: allocatable.pods };
  const wanted = Object.entries(podRequests(pod.spec)).filter(([, amount]) => amount > 0);
  if (wanted.length === 0) return undefined;
  const taken = others.map(({ spec }) => podRequests(spec));
  for (const [resource, requested] of wanted) {
    const capacity = allocatable[resource] ?? (resource.startsWith('hugepages-') ? 0 : undefined);
    if (capacity === undefined) continue;
    const used = taken.reduce((sum, one) => sum + (one[resource] ?? 0), 0);
    if (requested > capacity - used) return { resource, requested, used, capacity };
  }
  return undefined;
}

/** As the kubelet says it. */
export const shortageText = ({ resource, requested, used, capacity }: Shortage): string =>
  `Node didn't have enough resource: ${resource}, requested: ${requested}, used: ${used}, capacity: ${capacity}`;
