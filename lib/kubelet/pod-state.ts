// What the kubelet remembers of one Pod between syncs. Everything that must survive the daemon is elsewhere: in the
// API (status) or in the runtime's records. Assumes one worker a Pod touches it. A few small maps a Pod.
import type { Pod, PodStatus } from '../api/types.ts';
import type { ContainerStatus, RuntimeService } from '../container/cri.ts';
import { StepClock } from '../exec/step-clock.ts';
import type { PodRuntimeStatus } from './pod-actions.ts';
import { type Resizing, withSizes } from './resize.ts';
import type { Failure, WaitingReason } from './status.ts';

export interface PodState {
  /** The newest object. For a static Pod: made from its file, with the file's uid. */
  pod: Pod;
  /** The object is gone from the API (or the file from its folder): take the Pod down, write nothing. */
  gone: boolean;
  /** There was room for it: it is not asked again. */
  admitted: boolean;
  /** Made from a file; the API only mirrors it. */
  readonly isStatic: boolean;
  /** Seconds that containers get to end, whatever the object says; set when it was removed by force. */
  graceOverride?: number | undefined;
  /** Aborted when the Pod is to go: what is only good for a Pod that stays (a postStart hook) ends then. */
  readonly going: AbortController;
  /** Ids of containers whose postStart hook runs. */
  readonly beginning: Set<string>;
  /** Phase is terminal and nothing of the Pod runs any more. */
  finished: boolean;
  failed?: Failure | undefined;
  /** Its resources as they were agreed to, and as its containers have them; from the first sync on. */
  sizes?: Resizing;
  readonly waiting: Map<string, WaitingReason>;
  /** When a start last failed before there was a container, by container name; milliseconds since the epoch. */
  readonly failedAt: Map<string, number>;
  /** When a sandbox could last not be made; milliseconds since the epoch. */
  sandboxFailedAt?: number;
  /** Termination messages, by container id. */
  readonly messages: Map<string, string>;
  /** The steps of the first start, until they are published. */
  clock: StepClock | undefined;
  lastStatus?: PodStatus | undefined;
  /** Status writes in flight, in order. Never rejects. */
  writes: Promise<unknown>;
  /** Why the last write failed; the next sync writes again. */
  writeError?: unknown;
}

export function newPodState(pod: Pod, origin: 'api' | 'file' = 'api'): PodState {
  return {
    pod,
    isStatic: origin === 'file',
    gone: false,
    admitted: origin === 'file' || pod.status?.startTime !== undefined,
    going: new AbortController(),
    beginning: new Set(),
    finished: false,
    waiting: new Map(),
    failedAt: new Map(),
    messages: new Map(),
    clock: pod.status?.startTime ? undefined : new StepClock(),
    writes: Promise.resolve(),
  };
}

/** The runtime's records of one Pod, newest first. */
export function runtimeStatusOf(runtime: RuntimeService, uid: string): PodRuntimeStatus {
  const newestFirst = <T extends { attempt: number; createdAt: string }>(a: T, b: T): number =>
    b.attempt - a.attempt || b.createdAt.localeCompare(a.createdAt);
  return {
    sandboxes: runtime
      .listPodSandboxes()
      .filter((s) => s.uid === uid)
      .sort(newestFirst),
    containers: runtime
      .listContainers()
      .filter((c) => c.podUid === uid)
      .sort(newestFirst),
  };
}

/** Those that have ended and are not the newest of their name. */
export const deadContainers = ({ containers }: PodRuntimeStatus): ContainerStatus[] =>
  containers.filter(
    (one, at) => one.state === 'exited' && containers.findIndex(({ name }) => name === one.name) < at,
  );

/** Containers that nobody asks for any more: all but the newest and the one before it (for `logs --previous`). */
export function staleContainers(runtime: PodRuntimeStatus): ContainerStatus[] {
  const seen = new Map<string, number>();
  return runtime.containers.filter((container) => {
    const count = (seen.get(container.name) ?? 0) + 1;
    seen.set(container.name, count);
    return count > 2 && container.state === 'exited';
  });
}

/** The Pod with the resources that the node has agreed to, which the spec may be ahead of. */
export const allocatedPod = ({ pod, sizes }: Pick<PodState, 'pod' | 'sizes'>): Pod =>
  sizes ? withSizes(pod, sizes.allocated) : pod;

/** The clock of the first start, or one that measures nothing once its steps are published. */
export const clockOf = (state: PodState): StepClock => state.clock ?? new StepClock();
