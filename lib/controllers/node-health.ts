// What a Node's conditions, and silence, mean: its taints, and which of them may drive Pods away. Pure.
// Assumes Kubernetes' conditions and taint keys. O(conditions) a node.
// Source: kube-controller-manager's node lifecycle controller (v1.34)
import { type Taint, taintKeys } from '../api/taints.ts';
import type { Node } from '../api/types.ts';

export type NodeCondition = NonNullable<NonNullable<Node['status']>['conditions']>[number];

export const conditionOf = (node: Node, type: string): NodeCondition | undefined =>
  node.status?.conditions?.find((one) => one.type === type);

export type Health = 'ready' | 'not ready' | 'unreachable' | 'never ready';

export function healthOf(node: Node): Health {
  const ready = conditionOf(node, 'Ready');
  if (!ready) return 'never ready';
  if (ready.status === 'True') return 'ready';
  return ready.status === 'Unknown' ? 'unreachable' : 'not ready';
}

const byCondition: Readonly<Record<string, string>> = {
  MemoryPressure: taintKeys.memoryPressure,
  DiskPressure: taintKeys.diskPressure,
  PIDPressure: taintKeys.pidPressure,
  NetworkUnavailable: taintKeys.networkUnavailable,
};
const healthTaint: Readonly<Record<Exclude<Health, 'ready'>, string>> = {
  'not ready': taintKeys.notReady,
  unreachable: taintKeys.unreachable,
  'never ready': taintKeys.notReady,
};
const managed: ReadonlySet<string> = new Set(Object.values(taintKeys));

/** Taints that keep new Pods away. */
function repelling(node: Node): string[] {
  const health = healthOf(node);
  return [
    ...(health === 'ready' ? [] : [healthTaint[health]]),
    ...Object.entries(byCondition)
      .filter(([type]) => conditionOf(node, type)?.status === 'True')
      .map(([, key]) => key),
    ...(node.spec?.unschedulable ? [taintKeys.unschedulable] : []),
  ];
}

/** The taint that drives Pods away, of a node that is lost. */
export function evictingKey(node: Node): string | undefined {
  const health = healthOf(node);
  return health === 'not ready' || health === 'unreachable' ? healthTaint[health] : undefined;
}

export const isEvicting = (node: Node): boolean =>
  (node.spec?.taints ?? []).some(
    ({ key, effect }) => effect === 'NoExecute' && key !== undefined && managed.has(key),
  );

/**
 * The taints a Node should have: what others put there stays, ours follow its conditions. `evict`: its Pods may be driven
 * away. Undefined when nothing changes. `time`: for taints that are new.
 */
export function taintsFor(
  node: Node,
  { evict, time }: { evict: boolean; time: string },
): Taint[] | undefined {
  const have = node.spec?.taints ?? [];
  const key = evict ? evictingKey(node) : undefined;
  const wanted: Taint[] = [
    ...repelling(node).map((each) => ({ key: each, effect: 'NoSchedule' as const })),
    ...(key ? [{ key, effect: 'NoExecute' as const, timeAdded: time }] : []),
  ];
  const same = (a: Taint, b: Taint): boolean => a.key === b.key && a.effect === b.effect;
  const next = [
    ...have.filter((taint) => !managed.has(taint.key ?? '') || wanted.some((one) => same(one, taint))),
    ...wanted.filter((one) => !have.some((taint) => same(one, taint))),
  ];
  const changed = next.length !== have.length || next.some((taint, at) => taint !== have[at]);
  return changed ? next : undefined;
}

export type Disruption = 'none' | 'partial' | 'full';

/** Of a cluster with so many nodes, so many of them lost. */
export function disruptionOf(total: number, lost: number): Disruption {
  if (total > 0 && lost === total) return 'full';
  return lost > 2 && lost / total >= unhealthyShare ? 'partial' : 'none';
}

/** kube-controller-manager's --unhealthy-zone-threshold and --large-cluster-size-threshold. */
const unhealthyShare = 0.55;
const largeCluster = 50;

/**
 * Milliseconds from one node whose Pods are driven away to the next; infinite: none at all. When all nodes look lost, it is
 * rather we who are. Source: --node-eviction-rate (0.1 a second), --secondary-node-eviction-rate (0.01).
 */
export function evictionPauseMs(total: number, lost: number): number {
  const disruption = disruptionOf(total, lost);
  if (disruption === 'none') return 10_000;
  return disruption === 'partial' && total > largeCluster ? 100_000 : Number.POSITIVE_INFINITY;
}

/** What is written about a node that has gone silent. */
export function silentConditions(node: Node, time: string): NodeCondition[] {
  return ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'].flatMap((type) => {
    const known = conditionOf(node, type);
    if (known?.status === 'Unknown') return [];
    const [reason, message] = known
      ? ['NodeStatusUnknown', 'Kubelet stopped posting node status.']
      : ['NodeStatusNeverUpdated', 'Kubelet never posted node status.'];
    const heartbeat = known?.lastHeartbeatTime ?? node.metadata.creationTimestamp;
    return [
      { type, status: 'Unknown', reason, message, lastHeartbeatTime: heartbeat, lastTransitionTime: time },
    ];
  });
}
