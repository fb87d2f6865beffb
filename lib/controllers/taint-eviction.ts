// Taint eviction: Pods leave a node with a NoExecute taint, at once or when their toleration is over.
// Assumes one loop at a time and informers owned by others. A toleration runs from when this loop first saw Pod and taint
// together, so a change of leader gives more time, never less. O(Pods of a node) when its taints change, O(waiting) a second.
// Source: k8s.io/kubernetes/pkg/controller/tainteviction (v1.34)
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { EventRecorder } from '../api/events.ts';
import { type Informer, objectName } from '../api/informer.ts';
import { type Taint, tolerates } from '../api/taints.ts';
import { timestamp } from '../api/time.ts';
import type { Node, Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { isMirrorPod } from '../kubelet/layout.ts';

export interface TaintEvictionInput {
  readonly client: Client;
  readonly nodes: Informer<'nodes'>;
  readonly pods: Informer<'pods'>;
  readonly events: EventRecorder;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Milliseconds of a clock that nobody sets. */
  readonly now?: () => number;
}

const tickMs = 1000;

/** Seconds until the Pod has to leave these taints: 0 at once, infinite never. Pure. */
export function evictAfterSeconds({ spec }: Pod, taints: readonly Taint[]): number {
  let least = Number.POSITIVE_INFINITY;
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue;
    const matching = (spec.tolerations ?? []).filter((one) => tolerates(one, taint));
    if (matching.length === 0) return 0;
    for (const { tolerationSeconds } of matching)
      if (tolerationSeconds !== undefined) least = Math.min(least, Math.max(0, tolerationSeconds));
  }
  return least;
}

interface Waiting {
  readonly since: number;
  readonly seconds: number;
}

export class TaintEviction {
  readonly #input: TaintEvictionInput;
  readonly #now: () => number;
  /** Pods on a tainted node, by name, and how long they may stay. */
  readonly #waiting = new Map<string, Waiting>();

  constructor(input: TaintEvictionInput) {
    const { nodes, pods, signal } = input;
    this.#input = input;
    this.#now = input.now ?? (() => performance.now());
    nodes.onChange((now, before) => this.#handleNode(now, before));
    pods.onChange((now, before) => this.#handlePod(now, before));
    const timer = setInterval(() => void this.tick(), tickMs).unref();
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** Deletes the Pods whose time is over. */
  async tick(): Promise<void> {
    const now = this.#now();
    for (const [name, { since, seconds }] of [...this.#waiting]) {
      if (now - since < seconds * 1000 || this.#input.signal.aborted) continue;
      this.#waiting.delete(name);
      const pod = this.#input.pods.get(name);
      if (pod) await this.#evict(pod, { since, seconds });
    }
  }

  #handleNode(now: Node | undefined, before: Node | undefined): void {
    if (JSON.stringify(evicting(now)) === JSON.stringify(evicting(before))) return;
    const { name } = (now ?? (before as Node)).metadata;
    for (const pod of this.#input.pods.items) if (pod.spec.nodeName === name) this.#judge(pod, now);
    void this.tick();
  }

  #handlePod(now: Pod | undefined, before: Pod | undefined): void {
    if (!now) {
      this.#waiting.delete(objectName(before as Pod));
      return;
    }
    const isNew =
      now.spec.nodeName !== before?.spec.nodeName || now.spec.tolerations !== before?.spec.tolerations;
    if (isNew || now.metadata.deletionTimestamp)
      this.#judge(now, this.#input.nodes.get(now.spec.nodeName ?? ''));
  }

  #judge(pod: Pod, node: Node | undefined): void {
    const name = objectName(pod);
    const taints = evicting(node);
    const seconds =
      taints.length === 0 || pod.metadata.deletionTimestamp || isMirrorPod(pod)
        ? Number.POSITIVE_INFINITY
        : evictAfterSeconds(pod, taints);
    const known = this.#waiting.get(name);
    if (seconds === Number.POSITIVE_INFINITY) {
      this.#waiting.delete(name);
      if (known && !pod.metadata.deletionTimestamp) this.#tell(pod, `Cancelling deletion of Pod ${name}`);
      return;
    }
    // Another taint does not begin the time anew.
    this.#waiting.set(name, { since: known?.since ?? this.#now(), seconds });
  }

  async #evict(pod: Pod, waiting: Waiting): Promise<void> {
    const { client, log } = this.#input;
    const name = objectName(pod);
    const { uid } = pod.metadata;
    this.#tell(pod, `Marking for deletion Pod ${name}`);
    try {
      await markDisrupted(client, pod, {
        reason: 'DeletionByTaintManager',
        message: 'Taint manager: deleting due to NoExecute taint',
      });
      await client.delete('pods', pod.metadata, { preconditions: { uid } });
    } catch (error) {
      if (isReason(error, 'NotFound') || isReason(error, 'Conflict')) return; // gone, or another Pod of that name
      log.warn({ err: error, pod: name }, `eviction: ${messageOf(error)}; trying again`);
      this.#waiting.set(name, waiting);
    }
  }

  #tell(pod: Pod, message: string): void {
    this.#input.events.record(pod, { type: 'Normal', reason: 'TaintManagerEviction', message });
  }
}

const evicting = (node: Node | undefined): readonly Taint[] =>
  (node?.spec?.taints ?? []).filter(({ effect }) => effect === 'NoExecute');

/** Tells in the Pod's status who ends it, before it is deleted. */
export async function markDisrupted(
  client: Client,
  { metadata: { namespace, name, uid } }: Pod,
  why: { readonly reason: string; readonly message: string; readonly phase?: string },
): Promise<void> {
  const { phase, ...rest } = why;
  const lastTransitionTime = timestamp(Date.now());
  const conditions = [{ type: 'DisruptionTarget', status: 'True', ...rest, lastTransitionTime }];
  await client.patch(
    'pods',
    { namespace, name },
    { metadata: { uid }, status: { ...(phase ? { phase } : {}), conditions } },
    { type: 'strategic', subresource: 'status' },
  );
}
