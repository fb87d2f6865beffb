// The scheduler: gives Pods without a node one. A new Pod gets it while it is being created; what finds no place waits in
// a queue until something changes, and is told so by a FailedScheduling event and its PodScheduled condition.
// Assumes one scheduler at a time over informers that it does not own. Placing is O(nodes); a Pod that waits costs one
// more try for each change that could help it, at most one in 1 to 10 s.
import type { Logger } from 'pino';
import type { Admit } from '../api/admission.ts';
import { isReason } from '../api/errors.ts';
import type { EventRecorder } from '../api/events.ts';
import { type Informer, objectName } from '../api/informer.ts';
import type { Client, ObjectKey } from '../api/client.ts';
import { timestamp } from '../api/time.ts';
import type { Binding, Node, Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { place } from './place.ts';
import { PodQueue } from './queue.ts';
import { ClusterState, isTerminal } from './snapshot.ts';

export interface SchedulerInput {
  readonly client: Client;
  readonly bind: (pod: ObjectKey, binding: Binding) => Promise<void>;
  /** Started by who owns them, after the scheduler was made. */
  readonly nodes: Informer<'nodes'>;
  readonly pods: Informer<'pods'>;
  readonly namespaces: Informer<'namespaces'>;
  readonly events: EventRecorder;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** See ClusterStateOptions. */
  readonly assumedMs?: number;
}

export const schedulerName = 'default-scheduler';

/** A Pod that this scheduler has to find a node for. */
export const isOurs = ({ spec, metadata, status }: Pod): boolean =>
  !spec.nodeName &&
  !metadata.deletionTimestamp &&
  spec.schedulerName === schedulerName &&
  !spec.schedulingGates?.length &&
  !isTerminal({ status } as Pod);

export class Scheduler {
  readonly #input: SchedulerInput;
  readonly #state: ClusterState;
  readonly #queue: PodQueue;

  constructor(input: SchedulerInput) {
    const { nodes, pods, namespaces, signal } = input;
    this.#input = input;
    this.#state = new ClusterState({
      namespaceLabels: (name) => namespaces.get(name)?.metadata.labels ?? {},
      onForgotten: () => this.#queue.wake(),
      ...(input.assumedMs === undefined ? {} : { assumedMs: input.assumedMs }),
    });
    this.#queue = new PodQueue({ work: (name) => this.#schedule(name), signal });
    nodes.onChange((now, before) => this.#handleNode(now, before));
    pods.onChange((now, before) => this.#handlePod(now, before));
    signal.addEventListener('abort', () => this.#state.clear());
  }

  /** What is waiting for a place, for tests and logs. */
  get waiting(): number {
    return this.#queue.size;
  }

  /** Admission of Pods: one that has a place gets it in the same write that creates it. */
  readonly admit: Admit = ({ operation, resource, object, dryRun }) => {
    if (resource !== 'pods' || operation !== 'CREATE' || dryRun || this.#input.signal.aborted) return;
    const pod = object as Pod;
    if (!isOurs(pod)) return;
    const placed = place(pod, this.#state);
    if (!('node' in placed)) return; // the queue tells why
    pod.spec.nodeName = placed.node;
    this.#state.assume(pod, placed.node);
  };

  #handleNode(now: Node | undefined, before: Node | undefined): void {
    if (now) this.#state.setNode(now);
    else if (before) this.#state.removeNode(before.metadata.name);
    if (now && helps(now, before)) this.#queue.wake();
  }

  #handlePod(now: Pod | undefined, before: Pod | undefined): void {
    const pod = (now ?? before) as Pod;
    const name = objectName(pod);
    const { uid } = pod.metadata;
    if (now?.spec.nodeName) {
      const isNew = this.#state.isAssumed(uid);
      this.#state.setPod(now);
      if (isNew) this.#told(now);
      // It gives back what it took, or others want to be near it, or its labels changed.
      if (isTerminal(now) || !before?.spec.nodeName || labelsChanged(now, before)) this.#queue.wake();
    } else if (!now) {
      this.#state.removePod(uid);
      this.#queue.wake();
    }
    if (now && isOurs(now)) this.#queue.add(name);
    else this.#queue.remove(name);
  }

  #told(pod: Pod): void {
    const message = `Successfully assigned ${objectName(pod)} to ${pod.spec.nodeName}`;
    this.#input.events.record(pod, { type: 'Normal', reason: 'Scheduled', message });
  }

  /** One try; false when there is no place, or it could not be written. */
  async #schedule(name: string): Promise<boolean> {
    const { pods, log } = this.#input;
    const pod = pods.get(name);
    if (!pod || !isOurs(pod)) return true;
    const placed = place(pod, this.#state);
    if (!('node' in placed)) {
      await this.#refuse(pod, placed.message);
      return false;
    }
    this.#state.assume(pod, placed.node);
    try {
      await this.#bind(pod, placed.node);
      return true;
    } catch (error) {
      this.#state.removePod(pod.metadata.uid);
      if (isReason(error, 'NotFound') || isReason(error, 'Conflict')) return true; // gone, or bound by somebody else
      log.warn({ err: error, pod: name }, `not bound to ${placed.node}: ${messageOf(error)}`);
      return false;
    }
  }

  #bind(pod: Pod, node: string): Promise<void> {
    const { namespace, name, uid } = pod.metadata;
    const target = { apiVersion: 'v1', kind: 'Node', name: node };
    return this.#input.bind(
      { namespace, name },
      { apiVersion: 'v1', kind: 'Binding', metadata: { namespace, name, uid }, target },
    );
  }

  async #refuse(pod: Pod, message: string): Promise<void> {
    const { client, events, log } = this.#input;
    events.record(pod, { type: 'Warning', reason: 'FailedScheduling', message });
    const known = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
    if (known?.status === 'False' && known.message === message) return;
    const lastTransitionTime = known?.status === 'False' ? known.lastTransitionTime : timestamp(Date.now());
    const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message };
    const { namespace, name } = pod.metadata;
    try {
      await client.patch(
        'pods',
        { namespace, name },
        { status: { conditions: [{ ...condition, lastTransitionTime }] } },
        { type: 'strategic', subresource: 'status' },
      );
    } catch (error) {
      if (!isReason(error, 'NotFound')) log.warn({ err: error, pod: name }, 'PodScheduled not written');
    }
  }
}

/** Whether a Pod that fitted nowhere may fit now: heartbeats do not matter. */
function helps(now: Node, before: Node | undefined): boolean {
  const shown = ({ metadata, spec, status }: Node): string =>
    JSON.stringify([metadata.labels, spec?.taints, spec?.unschedulable, status?.allocatable]);
  return before === undefined || shown(now) !== shown(before);
}

const labelsChanged = (now: Pod, before: Pod): boolean =>
  now.metadata.labels !== before.metadata.labels &&
  JSON.stringify(now.metadata.labels) !== JSON.stringify(before.metadata.labels);
