// What the scheduler knows of the cluster: each node with its Pods and what they ask for, kept by one change at a time.
// Assumes informers tell every change. A Pod that was placed and is not yet seen on its node is counted there for a while.
// O(1) a change; memory is a record a Pod beside the informers' own.
import type { Node, Pod } from '../api/types.ts';
import { type Amounts, amountsOf, type HostPort, hostPorts, podRequests } from '../api/pod-requests.ts';

export interface PodInfo {
  readonly pod: Pod;
  readonly requests: Amounts;
  readonly ports: readonly HostPort[];
  /** What counts for the score: a Pod that asks for nothing still takes something. */
  readonly scored: Scored;
  /** Of the same owner, or with the very same labels where there is none; '' is no kind. */
  readonly kind: string;
  /** It keeps other Pods away (required anti-affinity). */
  readonly isShy: boolean;
}

export interface Scored {
  readonly cpu: number;
  readonly memory: number;
}

interface Sums {
  readonly requested: Record<string, number>;
  readonly scored: { cpu: number; memory: number };
  /** Pods by kind. */
  readonly kinds: Map<string, number>;
}

export interface NodeInfo extends Sums {
  readonly node: Node;
  readonly allocatable: Amounts;
  readonly pods: Map<string, PodInfo>;
}

/** What filters and scores read. */
export interface Snapshot {
  /** By name. */
  readonly nodes: ReadonlyMap<string, NodeInfo>;
  /** Pods with required anti-affinity, by uid, with their node's name. */
  readonly shy: ReadonlyMap<string, { readonly info: PodInfo; readonly node: string }>;
  /** Labels of a namespace. */
  readonly namespaceLabels: (namespace: string) => Readonly<Record<string, string>>;
}

/** Source: kube-scheduler's DefaultMilliCPURequest and DefaultMemoryRequest */
const least: Scored = { cpu: 100, memory: 200 * 1024 * 1024 };

export function podInfo(pod: Pod): PodInfo {
  const isShy = !!pod.spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.length;
  const requests = podRequests(pod.spec);
  const scored = { cpu: requests.cpu || least.cpu, memory: requests.memory || least.memory };
  return { pod, requests, scored, kind: kindOf(pod), ports: hostPorts(pod), isShy };
}

function kindOf({ metadata }: Pod): string {
  const owner = metadata.ownerReferences?.find(({ controller }) => controller);
  if (owner) return owner.uid;
  const labels = Object.entries(metadata.labels ?? {});
  return labels.length === 0 ? '' : `${metadata.namespace} ${JSON.stringify(labels.sort())}`;
}

/** A Pod that has ended asks for nothing. */
export const isTerminal = ({ status }: Pod): boolean =>
  status?.phase === 'Succeeded' || status?.phase === 'Failed';

export interface ClusterStateOptions {
  readonly namespaceLabels?: Snapshot['namespaceLabels'];
  /** So long may it take until a Pod that was placed shows in the informer; 5 s unless told. */
  readonly assumedMs?: number;
  /** A Pod that was placed never showed: what it was to take is free again. */
  readonly onForgotten?: () => void;
}

export class ClusterState implements Snapshot {
  readonly nodes = new Map<string, NodeInfo>();
  readonly shy = new Map<string, { info: PodInfo; node: string }>();
  readonly namespaceLabels: Snapshot['namespaceLabels'];
  /** Where each Pod is counted, by uid. */
  readonly #places = new Map<string, { readonly node: string; readonly info: PodInfo }>();
  /** Pods of nodes that are not there (yet), by node name. */
  readonly #homeless = new Map<string, Map<string, PodInfo>>();
  readonly #assumed = new Map<string, NodeJS.Timeout>();

  readonly #options: ClusterStateOptions;

  constructor(options: ClusterStateOptions = {}) {
    this.#options = options;
    this.namespaceLabels = options.namespaceLabels ?? (() => ({}));
  }

  setNode(node: Node): void {
    const { name } = node.metadata;
    const known = this.nodes.get(name);
    const pods = known?.pods ?? this.#homeless.get(name) ?? new Map<string, PodInfo>();
    const { requested, scored, kinds } = known ?? total(pods.values());
    const allocatable = amountsOf(node.status?.allocatable);
    this.#homeless.delete(name);
    this.nodes.set(name, { node, allocatable, requested, scored, kinds, pods });
  }

  removeNode(name: string): void {
    const known = this.nodes.get(name);
    this.nodes.delete(name);
    if (known && known.pods.size > 0) this.#homeless.set(name, known.pods);
  }

  /** A Pod as it is now. */
  setPod(pod: Pod): void {
    const { uid } = pod.metadata;
    const node = pod.spec.nodeName;
    if (!node) return; // an assumed one is not told as bound yet
    this.#settle(uid);
    const place = this.#places.get(uid);
    if (isTerminal(pod)) {
      this.removePod(uid);
      return;
    }
    if (place?.node === node && place.info.pod.spec === pod.spec) {
      this.#put(node, { ...place.info, pod });
      return;
    }
    this.removePod(uid);
    this.#count(node, podInfo(pod));
  }

  removePod(uid: string): void {
    this.#settle(uid);
    const place = this.#places.get(uid);
    if (!place) return;
    this.#places.delete(uid);
    this.shy.delete(uid);
    const known = this.nodes.get(place.node);
    (known?.pods ?? this.#homeless.get(place.node))?.delete(uid);
    if (known) addTo(known, place.info, -1);
  }

  /** Counts a Pod that was just placed, until it is seen there, or for a few seconds. */
  assume(pod: Pod, node: string): void {
    const { uid } = pod.metadata;
    this.removePod(uid);
    this.#count(node, podInfo({ ...pod, spec: { ...pod.spec, nodeName: node } }));
    const forget = (): void => {
      this.removePod(uid);
      this.#options.onForgotten?.();
    };
    this.#assumed.set(uid, setTimeout(forget, this.#options.assumedMs ?? 5000).unref());
  }

  /** Not seen on its node yet. */
  isAssumed(uid: string): boolean {
    return this.#assumed.has(uid);
  }

  clear(): void {
    for (const timer of this.#assumed.values()) clearTimeout(timer);
    this.#assumed.clear();
  }

  #settle(uid: string): void {
    clearTimeout(this.#assumed.get(uid));
    this.#assumed.delete(uid);
  }

  #count(node: string, info: PodInfo): void {
    this.#put(node, info);
    const known = this.nodes.get(node);
    if (known) addTo(known, info, 1);
  }

  #put(node: string, info: PodInfo): void {
    const { uid } = info.pod.metadata;
    this.#places.set(uid, { node, info });
    if (info.isShy) this.shy.set(uid, { info, node });
    const known = this.nodes.get(node);
    if (known) known.pods.set(uid, info);
    else {
      const waiting = this.#homeless.get(node) ?? new Map<string, PodInfo>();
      this.#homeless.set(node, waiting.set(uid, info));
    }
  }
}

function addTo(sums: Sums, { requests, scored, kind }: PodInfo, sign: 1 | -1): void {
  for (const [name, amount] of Object.entries(requests))
    sums.requested[name] = (sums.requested[name] ?? 0) + sign * amount;
  sums.scored.cpu += sign * scored.cpu;
  sums.scored.memory += sign * scored.memory;
  if (kind === '') return;
  const count = (sums.kinds.get(kind) ?? 0) + sign;
  if (count > 0) sums.kinds.set(kind, count);
  else sums.kinds.delete(kind);
}

function total(pods: Iterable<PodInfo>): Sums {
  const sums: Sums = { requested: {}, scored: { cpu: 0, memory: 0 }, kinds: new Map() };
  for (const info of pods) addTo(sums, info, 1);
  return sums;
}
