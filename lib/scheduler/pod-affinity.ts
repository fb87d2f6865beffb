// Affinity between Pods: which topology domains hold the Pods that a Pod wants near or far, counted once a placement.
// Assumes frozen objects. O(all Pods) only for a Pod that has affinity; else O(Pods that keep others away).
// Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity (v1.34)
import { type LabelSelector, selectorMatches } from '../api/label-selector.ts';
import type { Node, Pod, PodSpec } from '../api/types.ts';
import type { Snapshot } from './snapshot.ts';

type PodAffinity = NonNullable<NonNullable<PodSpec['affinity']>['podAffinity']>;
export type AffinityTerm = NonNullable<PodAffinity['requiredDuringSchedulingIgnoredDuringExecution']>[number];

/** Pods, or weights, by topology key and value. */
class Domains {
  readonly #counts = new Map<string, number>();

  add(node: Node, topologyKey: string, amount: number): void {
    const value = node.metadata.labels?.[topologyKey];
    if (value === undefined) return;
    const domain = `${topologyKey}\0${value}`;
    this.#counts.set(domain, (this.#counts.get(domain) ?? 0) + amount);
  }

  of(node: Node, topologyKey: string): number {
    const value = node.metadata.labels?.[topologyKey];
    return value === undefined ? 0 : (this.#counts.get(`${topologyKey}\0${value}`) ?? 0);
  }

  get isEmpty(): boolean {
    return this.#counts.size === 0;
  }

  /** Summed over all keys that the node has. */
  total(node: Node, keys: ReadonlySet<string>): number {
    let sum = 0;
    for (const key of keys) sum += this.of(node, key);
    return sum;
  }
}

const near = (spec: PodSpec): AffinityTerm[] =>
  spec.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
const far = (spec: PodSpec): AffinityTerm[] =>
  spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];

/** Whether a term of `owner` means `other`. */
export function termMeans(term: AffinityTerm, owner: Pod, other: Pod, snapshot: Snapshot): boolean {
  const { namespace } = other.metadata;
  const named = term.namespaces ?? [];
  const here =
    named.length === 0 && term.namespaceSelector === undefined
      ? namespace === owner.metadata.namespace
      : named.includes(namespace) ||
        (term.namespaceSelector !== undefined &&
          selectorMatches(term.namespaceSelector as LabelSelector, snapshot.namespaceLabels(namespace)));
  if (!here || !selectorMatches(term.labelSelector as LabelSelector | undefined, other.metadata.labels))
    return false;
  const [own, others] = [owner.metadata.labels ?? {}, other.metadata.labels ?? {}];
  return (
    (term.matchLabelKeys ?? []).every((key) => own[key] === undefined || own[key] === others[key]) &&
    (term.mismatchLabelKeys ?? []).every((key) => own[key] === undefined || own[key] !== others[key])
  );
}

export interface AffinityState {
  /** Why the node is none for the Pod; undefined when it is one. */
  fault(node: Node): string | undefined;
  /** Weights of preferred terms, this Pod's and those of Pods that are there. */
  score(node: Node): number;
}

/** Counts what matters for this Pod. */
export function affinityState(pod: Pod, snapshot: Snapshot): AffinityState {
  const [wanted, shunned] = [near(pod.spec), far(pod.spec)];
  const found = new Domains();
  const avoided = new Domains();
  const forbidden = new Domains();
  const means = (term: AffinityTerm, other: Pod): boolean => termMeans(term, pod, other, snapshot);
  if (wanted.length + shunned.length > 0)
    for (const { node, pods } of snapshot.nodes.values())
      for (const { pod: other } of pods.values()) {
        // A domain counts for Pods that all terms mean.
        if (wanted.length > 0 && wanted.every((term) => means(term, other)))
          for (const { topologyKey } of wanted) found.add(node, topologyKey, 1);
        for (const term of shunned) if (means(term, other)) avoided.add(node, term.topologyKey, 1);
      }
  for (const { info, node } of snapshot.shy.values()) {
    const there = snapshot.nodes.get(node)?.node;
    for (const term of far(info.pod.spec))
      if (there && termMeans(term, info.pod, pod, snapshot)) forbidden.add(there, term.topologyKey, 1);
  }
  const forbiddenKeys = new Set(
    [...snapshot.shy.values()].flatMap(({ info }) => far(info.pod.spec).map((term) => term.topologyKey)),
  );
  // The first of a group that wants to be together has nobody to be near yet.
  const isFirst = found.isEmpty && wanted.every((term) => means(term, pod));
  const score = preferences(pod, snapshot);
  return {
    fault: (node) => {
      const labels = node.metadata.labels ?? {};
      const misses = ({ topologyKey }: AffinityTerm): boolean =>
        labels[topologyKey] === undefined || !(isFirst || found.of(node, topologyKey) > 0);
      if (wanted.some(misses)) return "node(s) didn't match pod affinity rules";
      if (shunned.some(({ topologyKey }) => avoided.of(node, topologyKey) > 0))
        return "node(s) didn't match pod anti-affinity rules";
      if (forbidden.total(node, forbiddenKeys) > 0)
        return "node(s) didn't satisfy existing pods anti-affinity rules";
      return undefined;
    },
    score,
  };
}

function preferences(pod: Pod, snapshot: Snapshot): (node: Node) => number {
  const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
  const terms = [
    ...(podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((one) => ({
      ...one,
      sign: 1,
    })),
    ...(podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map((one) => ({
      ...one,
      sign: -1,
    })),
  ];
  if (terms.length === 0) return () => 0;
  const weights = new Domains();
  const keys = new Set(terms.map(({ podAffinityTerm }) => podAffinityTerm.topologyKey));
  for (const { node, pods } of snapshot.nodes.values())
    for (const { pod: other } of pods.values())
      for (const { podAffinityTerm: term, weight, sign } of terms)
        if (termMeans(term, pod, other, snapshot)) weights.add(node, term.topologyKey, sign * weight);
  return (node) => weights.total(node, keys);
}
