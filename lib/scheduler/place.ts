// Where a Pod goes: nodes that cannot take it are left out, each with its reasons; of the others the best by score.
// Assumes a snapshot that is current. Pure. O(nodes), and what affinity and spreading count.
// Source of rules, words and weights: kube-scheduler's default plugins (v1.34)
import { taintKeys, untolerated } from '../api/taints.ts';
import type { Node, Pod } from '../api/types.ts';
import { fitsNode, preferenceOf } from './node-affinity.ts';
import { type AffinityState, affinityState } from './pod-affinity.ts';
import { portsClash } from '../api/pod-requests.ts';
import { type NodeInfo, type PodInfo, podInfo, type Snapshot } from './snapshot.ts';
import { type SpreadState, spreadState } from './topology-spread.ts';

export type Placement = { readonly node: string } | { readonly message: string };

interface State {
  readonly affinity: AffinityState;
  readonly spread: SpreadState;
}

/** The node for this Pod, or why there is none, in kube-scheduler's words. */
export function place(pod: Pod, snapshot: Snapshot): Placement {
  if (snapshot.nodes.size === 0) return { message: 'no nodes available to schedule pods' };
  const info = podInfo(pod);
  const state = { affinity: affinityState(pod, snapshot), spread: spreadState(pod, snapshot) };
  const faults = new Map<string, number>();
  const fit: NodeInfo[] = [];
  for (const node of snapshot.nodes.values()) {
    const found = nodeFaults(info, node, state);
    if (found.length === 0) fit.push(node);
    for (const fault of found) faults.set(fault, (faults.get(fault) ?? 0) + 1);
  }
  const best = bestOf(info, fit, state);
  return best ? { node: best.node.metadata.name } : { message: unavailable(snapshot.nodes.size, faults) };
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.` */
function unavailable(nodes: number, faults: ReadonlyMap<string, number>): string {
  const reasons = [...faults].map(([reason, count]) => `${count} ${reason}`).sort();
  return `0/${nodes} nodes are available: ${reasons.join(', ')}.`;
}

type Filter = (pod: PodInfo, node: NodeInfo, state: State) => readonly string[];
const one = (fault: string | false | undefined): readonly string[] => (fault ? [fault] : []);

/** In kube-scheduler's order; the first that finds a fault decides what is told of the node. */
const filters: readonly Filter[] = [
  ({ pod }, { node }) => one(unschedulable(pod, node)),
  ({ pod }, { node }) => {
    const taint = untolerated(node.spec?.taints, pod.spec.tolerations, ['NoSchedule', 'NoExecute']);
    return one(taint && `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`);
  },
  ({ pod }, { node }) =>
    one(!fitsNode(pod.spec, node) && "node(s) didn't match Pod's node affinity/selector"),
  ({ ports }, { pods }) =>
    one(
      ports.length > 0 &&
        [...pods.values()].some((other) => other.ports.some((a) => ports.some((b) => portsClash(a, b)))) &&
        "node(s) didn't have free ports for the requested pod ports",
    ),
  (pod, node) => insufficient(pod, node),
  (_, { node }, { spread }) => one(spread.fault(node)),
  (_, { node }, { affinity }) => one(affinity.fault(node)),
];

function nodeFaults(pod: PodInfo, node: NodeInfo, state: State): readonly string[] {
  for (const filter of filters) {
    const faults = filter(pod, node, state);
    if (faults.length > 0) return faults;
  }
  return [];
}

function unschedulable({ spec }: Pod, node: Node): string | undefined {
  if (!node.spec?.unschedulable) return undefined;
  const taint = { key: taintKeys.unschedulable, effect: 'NoSchedule' } as const;
  return untolerated([taint], spec.tolerations, ['NoSchedule']) && 'node(s) were unschedulable';
}

/** What of the node is too little for the Pod: `Insufficient cpu`, `Too many pods`. */
export function insufficient(
  pod: Pick<PodInfo, 'requests'>,
  { allocatable, requested, pods }: Pick<NodeInfo, 'allocatable' | 'requested' | 'pods'>,
): string[] {
  const faults: string[] = [];
  if (pods.size + 1 > (allocatable.pods ?? Number.POSITIVE_INFINITY)) faults.push('Too many pods');
  for (const [name, amount] of Object.entries(pod.requests)) {
    if (amount === 0) continue;
    // Of what a node does not count it has as much as wanted only where it is a part of every node.
    const has = allocatable[name] ?? (name === 'ephemeral-storage' ? Number.POSITIVE_INFINITY : 0);
    if (amount > has - (requested[name] ?? 0)) faults.push(`Insufficient ${name}`);
  }
  return faults;
}

// Scores: each from 0 to 100, times its weight.

interface Scorer {
  readonly weight: number;
  readonly raw: (pod: PodInfo, node: NodeInfo, state: State) => number;
  /** How the raw numbers become 0 to 100. */
  readonly scale: 'as is' | 'more is better' | 'less is better';
}

const scorers: readonly Scorer[] = [
  { weight: 1, raw: leastAllocated, scale: 'as is' },
  { weight: 3, raw: ({ pod }, { node }) => mildTaints(pod, node), scale: 'less is better' },
  { weight: 2, raw: ({ pod }, { node }) => preferenceOf(pod.spec, node), scale: 'more is better' },
  { weight: 2, raw: (_, { node }, { affinity }) => affinity.score(node), scale: 'more is better' },
  { weight: 2, raw: (_, { node }, { spread }) => spread.crowd(node), scale: 'less is better' },
  // Pods of one kind are better off apart.
  { weight: 2, raw: ({ kind }, { kinds }) => kinds.get(kind) ?? 0, scale: 'less is better' },
];

/** How much of cpu and memory would be left, in percent, on the average. */
function leastAllocated({ scored }: PodInfo, { allocatable, scored: taken }: NodeInfo): number {
  const left = (name: keyof typeof scored): number => {
    const has = allocatable[name] ?? 0;
    const used = taken[name] + scored[name];
    return has > used ? ((has - used) * 100) / has : 0;
  };
  return (left('cpu') + left('memory')) / 2;
}

const mildTaints = ({ spec }: Pod, { spec: nodeSpec }: Node): number =>
  (nodeSpec?.taints ?? []).filter((taint) => untolerated([taint], spec.tolerations, ['PreferNoSchedule']))
    .length;

/** The highest score; among equals the one with fewer Pods, then the first by name. */
function bestOf(pod: PodInfo, fit: readonly NodeInfo[], state: State): NodeInfo | undefined {
  if (fit.length <= 1) return fit[0];
  const totals = fit.map(() => 0);
  for (const { weight, raw, scale } of scorers) {
    const values = fit.map((node) => raw(pod, node, state));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    values.forEach((value, at) => {
      totals[at] = (totals[at] ?? 0) + weight * scaled(value, { low, high, scale });
    });
  }
  const ranked = fit.map((node, at) => ({ node, total: Math.round((totals[at] ?? 0) * 1000) }));
  ranked.sort(
    (a, b) =>
      b.total - a.total ||
      a.node.pods.size - b.node.pods.size ||
      (a.node.node.metadata.name < b.node.node.metadata.name ? -1 : 1),
  );
  return ranked[0]?.node;
}

function scaled(
  value: number,
  { low, high, scale }: { low: number; high: number; scale: Scorer['scale'] },
): number {
  if (scale === 'as is') return value;
  if (high === low) return 0;
  const part = ((value - low) * 100) / (high - low);
  return scale === 'more is better' ? part : 100 - part;
}
