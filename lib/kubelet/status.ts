// A Pod's status computed from what the runtime has: container states, phase, conditions. Pure.
// Assumes the runtime's records are the truth, and the last known status fills what a reboot made it forget.
// O(containers). Source: kubelet's generateAPIPodStatus, convertToAPIContainerStatuses, getPhase.
import type {
  Container,
  ContainerState,
  ContainerStatus as ApiContainerStatus,
  Pod,
  PodCondition,
  PodStatus,
} from '../api/types.ts';
import { timestamp } from '../api/time.ts';
import type { ContainerStatus } from '../container/cri.ts';
import {
  forgottenContainer,
  latestContainer,
  lostExitCode,
  type PodRuntimeStatus,
  shouldRestart,
} from './pod-actions.ts';

/** Why a container waits, when the runtime cannot tell: ErrImagePull, CrashLoopBackOff, CreateContainerError … */
export interface WaitingReason {
  readonly reason: string;
  readonly message: string;
}

export interface StatusInput {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  readonly hostIP: string;
  /** By container name. */
  readonly waiting: ReadonlyMap<string, WaitingReason>;
  /** What a dead container wrote to its termination log, by container id. */
  readonly messages: ReadonlyMap<string, string>;
  /** Set once the Pod was given up (DeadlineExceeded, Evicted): the phase becomes Failed. */
  readonly failed?: WaitingReason | undefined;
  readonly now: string;
}

/** Seconds are the resolution of metav1.Time. */
const seconds = (time: string): string => timestamp(Date.parse(time));
export const containerIdUri = (id: string): string => `podwire://${id}`;

function terminatedState(status: ContainerStatus, message: string | undefined): ContainerState {
  const text = message || status.message;
  return {
    terminated: {
      exitCode: status.exitCode ?? 137,
      reason: status.reason ?? (status.exitCode === 0 ? 'Completed' : 'Error'),
      ...(text ? { message: text } : {}),
      ...(status.startedAt ? { startedAt: seconds(status.startedAt) } : {}),
      finishedAt: seconds(status.finishedAt ?? status.createdAt),
      containerID: containerIdUri(status.id),
    },
  };
}

function containerStatus(input: StatusInput, spec: Container): ApiContainerStatus {
  const { pod, runtime, waiting, messages } = input;
  const known = pod.status?.containerStatuses?.find((status) => status.name === spec.name);
  const mine = runtime.containers.filter((container) => container.name === spec.name);
  const [latest, previous] = mine;
  const why = waiting.get(spec.name);
  // Kept when the runtime has forgotten it: that one ran makes the next one a restart. A created one has not run.
  const ran = latest !== undefined && latest.state !== 'created';
  const containerID = ran ? containerIdUri(latest.id) : known?.containerID;
  const base = {
    name: spec.name,
    image: spec.image ?? '',
    imageID: latest?.imageId ?? known?.imageID ?? '',
    restartCount: latest?.attempt ?? known?.restartCount ?? 0,
    ...(containerID ? { containerID } : {}),
    ready: false,
    started: false,
    lastState: {},
  };
  const last =
    previous?.state === 'exited' ? terminatedState(previous, messages.get(previous.id)) : known?.lastState;
  if (latest?.state === 'running') {
    const running = { startedAt: seconds(latest.startedAt ?? latest.createdAt) };
    return { ...base, ready: true, started: true, state: { running }, lastState: last ?? {} };
  }
  if (latest?.state === 'exited') {
    const ended = terminatedState(latest, messages.get(latest.id));
    const waits = why !== undefined && !input.failed && shouldRestart(pod, latest);
    if (waits) return { ...base, state: { waiting: { ...why } }, lastState: ended };
    return { ...base, state: ended, lastState: last ?? {} };
  }
  if (!latest && known?.state?.terminated) return { ...base, ...known, ready: false }; // its record is gone
  // After a reboot the runtime has forgotten what ran; it ran, though, and it will be a restart, where that may be.
  if (!latest && known?.state?.running && !shouldRestart(pod, forgottenContainer(pod, spec.name)))
    return { ...base, ...known, ready: false, started: false, state: lostState(known, seconds(input.now)) };
  const lost =
    !latest && known?.state?.running
      ? { lastState: lostState(known, seconds(input.now)) }
      : { lastState: last ?? {} };
  const reason = why ?? { reason: 'ContainerCreating', message: '' };
  const state = {
    waiting: { reason: reason.reason, ...(reason.message ? { message: reason.message } : {}) },
  };
  return { ...base, ...lost, state };
}

function lostState(known: ApiContainerStatus, noticedAt: string): ContainerState {
  return {
    terminated: {
      exitCode: lostExitCode,
      reason: 'ContainerStatusUnknown',
      message:
        'The container could not be located when the pod was synced (the node may have been restarted)',
      startedAt: known.state?.running?.startedAt,
      finishedAt: noticedAt,
      ...(known.containerID ? { containerID: known.containerID } : {}),
    },
  };
}

export type Phase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

/** The phase from the containers' states. Source: kubelet's getPhase. */
export function podPhase(pod: Pod, statuses: readonly ApiContainerStatus[]): Phase {
  const count = { running: 0, waiting: 0, stopped: 0, succeeded: 0 };
  for (const { state, lastState } of statuses) {
    if (state?.running) count.running += 1;
    else if (state?.terminated) {
      count.stopped += 1;
      if (state.terminated.exitCode === 0) count.succeeded += 1;
    } else if (lastState?.terminated) count.stopped += 1;
    else count.waiting += 1;
  }
  if (count.waiting > 0) return 'Pending';
  if (count.running > 0) return 'Running';
  if (statuses.some(({ state }) => !state?.terminated)) return 'Running'; // some wait for their next try
  if (pod.spec.restartPolicy === 'Always') return 'Running';
  if (count.stopped === count.succeeded) return 'Succeeded';
  return pod.spec.restartPolicy === 'Never' ? 'Failed' : 'Running';
}

type ConditionInput = {
  type: string;
  met: boolean;
  reason?: string | undefined;
  message?: string | undefined;
};

function condition(pod: Pod, now: string, input: ConditionInput): PodCondition {
  const { type, met, reason, message } = input;
  const status = met ? 'True' : 'False';
  const known = pod.status?.conditions?.find((c) => c.type === type);
  const lastTransitionTime =
    known?.status === status && known.lastTransitionTime ? known.lastTransitionTime : now;
  return {
    type,
    status,
    lastProbeTime: undefined,
    lastTransitionTime,
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
  };
}

function podConditions(
  input: StatusInput,
  phase: Phase,
  statuses: readonly ApiContainerStatus[],
): PodCondition[] {
  const { pod, runtime, now } = input;
  const unready = statuses.filter((status) => !status.ready).map((status) => status.name);
  const done = phase === 'Succeeded' || phase === 'Failed';
  const ready = unready.length === 0 && !done;
  const notReady = {
    reason: 'ContainersNotReady',
    message: `containers with unready status: [${unready.join(' ')}]`,
  };
  const why = done ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' } : ready ? {} : notReady;
  const at = seconds(now);
  const initialized = phase === 'Succeeded' ? { reason: 'PodCompleted' } : {};
  return [
    condition(pod, at, {
      type: 'PodReadyToStartContainers',
      met: !done && runtime.sandboxes[0]?.state === 'ready',
    }),
    condition(pod, at, { type: 'Initialized', met: true, ...initialized }),
    condition(pod, at, { type: 'Ready', met: ready, ...why }),
    condition(pod, at, { type: 'ContainersReady', met: ready, ...why }),
    condition(pod, at, { type: 'PodScheduled', met: true }),
  ];
}

/** The whole status of one Pod. */
export function podStatus(input: StatusInput): PodStatus {
  const { pod, runtime, hostIP, now, failed } = input;
  const containerStatuses = pod.spec.containers.map((spec) => containerStatus(input, spec));
  const phase = failed ? 'Failed' : podPhase(pod, containerStatuses);
  const [sandbox] = runtime.sandboxes;
  const known = pod.status ?? {};
  const ownIps = sandbox?.ips.length ? sandbox.ips : (known.podIPs ?? []).map(({ ip }) => ip);
  const ips = pod.spec.hostNetwork ? [hostIP] : ownIps;
  return {
    phase,
    ...(failed ? { reason: failed.reason, message: failed.message } : {}),
    conditions: podConditions(input, phase, containerStatuses),
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(ips.length > 0 ? { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) } : {}),
    startTime: known.startTime ?? seconds(now),
    ...(known.qosClass ? { qosClass: known.qosClass } : {}),
    containerStatuses,
  };
}

/** The newest exit of a container that a restart policy will try again, for back-off. */
export function lastExit(runtime: PodRuntimeStatus, name: string): ContainerStatus | undefined {
  const latest = latestContainer(runtime, name);
  return latest?.state === 'exited' ? latest : undefined;
}
