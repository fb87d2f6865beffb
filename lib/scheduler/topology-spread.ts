// topologySpreadConstraints: how many Pods of a kind each domain has, counted once a placement, and what one more would do.
// Assumes frozen objects. O(Pods in the namespace's nodes) for a Pod with constraints, nothing for one without.
// Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread (v1.34)
import { type LabelSelector, selectorMatches } from '../api/label-selector.ts';
import { untolerated } from '../api/taints.ts';
import type { Node, Pod, PodSpec } from '../api/types.ts';
import { fitsNode } from './node-affinity.ts';
import type { NodeInfo, Snapshot } from './snapshot.ts';

type Constraint = NonNullable<PodSpec['topologySpreadConstraints']>[number];

interface Counted {
  readonly constraint: Constraint;
  /** 1 where the Pod itself is of the kind. */
  readonly self: number;
  /** Pods by value of the topology key, of the domains that count. */
  readonly domains: ReadonlyMap<string, number>;
  readonly least: number;
}

export interface SpreadState {
  /** Why the node is none for the Pod; undefined when it is one. */
  fault(node: Node): string | undefined;
  /** How crowded its domains are: less is better. */
  crowd(node: Node): number;
}

const calm: SpreadState = { fault: () => undefined, crowd: () => 0 };

export function spreadState(pod: Pod, snapshot: Snapshot): SpreadState {
  const constraints = pod.spec.topologySpreadConstraints ?? [];
  if (constraints.length === 0) return calm;
  const all = constraints.map((constraint) => count(constraint, pod, snapshot));
  const hard = all.filter(({ constraint }) => constraint.whenUnsatisfiable === 'DoNotSchedule');
  const soft = all.filter(({ constraint }) => constraint.whenUnsatisfiable !== 'DoNotSchedule');
  const reason = "node(s) didn't match pod topology spread constraints";
  return {
    fault: (node) => {
      for (const { constraint, self, domains, least } of hard) {
        const value = node.metadata.labels?.[constraint.topologyKey];
        if (value === undefined) return `${reason} (missing required label)`;
        if ((domains.get(value) ?? 0) + self - least > constraint.maxSkew) return reason;
      }
      return undefined;
    },
    crowd: (node) =>
      soft.reduce((sum, { constraint, domains }) => {
        const value = node.metadata.labels?.[constraint.topologyKey];
        // A node outside of every domain is worse than any inside.
        return sum + (value === undefined ? 1000 : (domains.get(value) ?? 0));
      }, 0),
  };
}

function count(constraint: Constraint, pod: Pod, snapshot: Snapshot): Counted {
  const { topologyKey, minDomains = 1 } = constraint;
  const selects = selectorOf(constraint, pod);
  const domains = new Map<string, number>();
  for (const info of snapshot.nodes.values()) {
    const value = info.node.metadata.labels?.[topologyKey];
    if (value === undefined || !counts(constraint, pod, info)) continue;
    let here = 0;
    for (const { pod: other } of info.pods.values())
      if (
        other.metadata.namespace === pod.metadata.namespace &&
        !other.metadata.deletionTimestamp &&
        selects(other)
      )
        here++;
    domains.set(value, (domains.get(value) ?? 0) + here);
  }
  const least = domains.size < minDomains ? 0 : Math.min(...domains.values());
  return { constraint, self: selects(pod) ? 1 : 0, domains, least: domains.size === 0 ? 0 : least };
}

function selectorOf({ labelSelector, matchLabelKeys = [] }: Constraint, pod: Pod): (other: Pod) => boolean {
  const own = pod.metadata.labels ?? {};
  return (other) =>
    selectorMatches(labelSelector as LabelSelector | undefined, other.metadata.labels) &&
    matchLabelKeys.every((key) => own[key] === undefined || own[key] === other.metadata.labels?.[key]);
}

/** Whether the Pods of a node count: by default where the Pod could be by its affinity, whatever the taints. */
function counts(constraint: Constraint, pod: Pod, { node }: NodeInfo): boolean {
  const { nodeAffinityPolicy = 'Honor', nodeTaintsPolicy = 'Ignore' } = constraint;
  if (nodeAffinityPolicy === 'Honor' && !fitsNode(pod.spec, node)) return false;
  return (
    nodeTaintsPolicy === 'Ignore' ||
    !untolerated(node.spec?.taints, pod.spec.tolerations, ['NoSchedule', 'NoExecute'])
  );
}
