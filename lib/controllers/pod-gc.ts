// Pod garbage collection: Pods of nodes that are not there any more, Pods that end before they had a node, and the oldest of
// very many that have ended. Assumes one loop at a time and informers owned by others; a node must have been missed for 40 s,
// and be missed by the API too. O(Pods) each 20 s in memory. Source: k8s.io/kubernetes/pkg/controller/podgc (v1.34)
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { type Informer, objectName } from '../api/informer.ts';
import type { Node, Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { isTerminal } from '../scheduler/snapshot.ts';
import { healthOf } from './node-health.ts';
import { markDisrupted } from './taint-eviction.ts';

export interface PodGcInput {
  readonly client: Client;
  readonly nodes: Informer<'nodes'>;
  readonly pods: Informer<'pods'>;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** --terminated-pod-gc-threshold: so many Pods that have ended are kept; 0: all. */
  readonly terminatedThreshold: number;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

const periodMs = 20_000;
const quarantineMs = 40_000;
/** Put on a node by a person who knows that it is off: nothing of its Pods runs any more. */
export const outOfService = 'node.kubernetes.io/out-of-service';

interface Doomed {
  readonly pod: Pod;
  readonly message: string;
}

export class PodGc {
  readonly #input: PodGcInput;
  readonly #now: () => number;
  /** Since when a node that Pods name is missing. */
  readonly #missing = new Map<string, number>();

  constructor(input: PodGcInput) {
    this.#input = input;
    this.#now = input.now ?? (() => performance.now());
  }

  /** Begins to collect; the informers must have listed by now. */
  start(): void {
    const { signal, log } = this.#input;
    const timer = setInterval(() => {
      this.collect().catch((error) =>
        log.warn({ err: error }, `pod garbage collection: ${messageOf(error)}`),
      );
    }, periodMs).unref();
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  async collect(): Promise<void> {
    const pods = [...this.#input.pods.items];
    const gone = await this.#goneNodes(pods);
    const doomed = [
      ...pods.flatMap((pod) => this.#verdict(pod, gone)),
      ...tooMany(pods, this.#input.terminatedThreshold),
    ];
    for (const one of doomed) {
      if (this.#input.signal.aborted) return;
      await this.#remove(one);
    }
  }

  #verdict(pod: Pod, gone: ReadonlySet<string>): Doomed[] {
    const { nodeName } = pod.spec;
    const isTerminating = pod.metadata.deletionTimestamp !== undefined;
    if (!nodeName) return isTerminating ? [{ pod, message: 'PodGC: it never had a node' }] : [];
    if (gone.has(nodeName)) return [{ pod, message: 'PodGC: node no longer exists' }];
    const node = this.#input.nodes.get(nodeName);
    return isTerminating && node && isOff(node) ? [{ pod, message: 'PodGC: node is out of service' }] : [];
  }

  async #goneNodes(pods: readonly Pod[]): Promise<ReadonlySet<string>> {
    const { nodes } = this.#input;
    const named = new Set(pods.map(({ spec }) => spec.nodeName ?? '').filter((name) => name !== ''));
    for (const name of [...this.#missing.keys()])
      if (nodes.get(name) || !named.has(name)) this.#missing.delete(name);
    const gone = new Set<string>();
    for (const name of named) {
      if (nodes.get(name)) continue;
      const since = this.#missing.get(name) ?? this.#now();
      this.#missing.set(name, since);
      if (this.#now() - since >= quarantineMs && !(await this.#isThere(name))) gone.add(name);
    }
    return gone;
  }

  async #isThere(name: string): Promise<boolean> {
    try {
      await this.#input.client.get('nodes', { name });
      return true;
    } catch (error) {
      if (isReason(error, 'NotFound')) return false;
      throw error;
    }
  }

  async #remove({ pod, message }: Doomed): Promise<void> {
    const { client, log } = this.#input;
    const { uid } = pod.metadata;
    try {
      if (!isTerminal(pod))
        await markDisrupted(client, pod, { reason: 'DeletionByPodGC', message, phase: 'Failed' });
      await client.delete('pods', pod.metadata, { gracePeriodSeconds: 0, preconditions: { uid } });
      log.info({ pod: objectName(pod) }, message);
    } catch (error) {
      if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
    }
  }
}

const isOff = (node: Node): boolean =>
  healthOf(node) !== 'ready' && (node.spec?.taints ?? []).some(({ key }) => key === outOfService);

/** The oldest of Pods that have ended, as far as there are more than the threshold. Pure. */
export function tooMany(pods: readonly Pod[], threshold: number): Doomed[] {
  const ended = pods.filter((pod) => isTerminal(pod) && !pod.metadata.deletionTimestamp);
  if (threshold === 0 || ended.length <= threshold) return [];
  return ended
    .sort((a, b) => a.metadata.creationTimestamp.localeCompare(b.metadata.creationTimestamp))
    .slice(0, ended.length - threshold)
    .map((pod) => ({ pod, message: 'PodGC: more Pods have ended than are kept' }));
}
