// A Pod's status computed from what the runtime has: container states, phase, conditions. Pure.
// Assumes the runtime's records are the truth, and the last known status fills what a reboot made it forget.
// O(containers). Source: kubelet's generateAPIPodStatus, convertToAPIContainerStatuses, getPhase.
import type {
  Container,
  ContainerState,
  ContainerStatus as ApiContainerStatus,
  Pod,
  PodStatus,
} from '../api/types.ts';
import { ephemeralContainers, kindOf, statusOfContainer } from '../api/pod-containers.ts';
import { timestamp } from '../api/time.ts';
import type { ContainerStatus } from '../container/cri.ts';
import {
  forgottenContainer,
  latestContainer,
  lostExitCode,
  type PodRuntimeStatus,
  type ProbeResults,
  shouldRestart,
} from './pod-actions.ts';
import { isInitialized, podConditions } from './pod-conditions.ts';
import { isTerminal, podPhase } from './pod-phase.ts';
import type { Resizing } from './resize.ts';

/** Why a container waits, when the runtime cannot tell: ErrImagePull, CrashLoopBackOff, CreateContainerError … */
export interface WaitingReason {
  readonly reason: string;
  readonly message: string;
}

/** Why a Pod was given up. */
export interface Failure extends WaitingReason {
  /** It was not its own fault. */
  readonly disrupted?: boolean;
  /** The node never let it in. */
  readonly rejected?: boolean;
}

export interface StatusInput {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  readonly hostIP: string;
  /** By container name. */
  readonly waiting: ReadonlyMap<string, WaitingReason>;
  /** What a dead container wrote to its termination log, by container id. */
  readonly messages: ReadonlyMap<string, string>;
  readonly probes: ProbeResults;
  /** Set once the Pod was given up (DeadlineExceeded, Evicted): the phase becomes Failed. */
  readonly failed?: Failure | undefined;
  readonly sizes?: Resizing | undefined;
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
  const { pod, runtime, waiting, messages, probes } = input;
  const known = statusOfContainer(pod.status, spec.name);
  const isInit = kindOf(pod.spec, spec.name) === 'init';
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
    // Never less than was told: one that was created and taken back before it ran leaves the one before as the latest.
    restartCount: Math.max(latest?.attempt ?? 0, known?.restartCount ?? 0),
    ...(containerID ? { containerID } : {}),
    ready: false,
    started: false,
    lastState: {},
    ...sizeStatus(input, spec.name),
  };
  const last =
    previous?.state === 'exited' ? terminatedState(previous, messages.get(previous.id)) : known?.lastState;
  if (latest?.state === 'running') {
    const running = { startedAt: seconds(latest.startedAt ?? latest.createdAt) };
    const started = probes.isStarted(latest);
    const ready = started && !isInit && probes.isReady(latest);
    return { ...base, ready, started, state: { running }, lastState: last ?? {} };
  }
  if (latest?.state === 'exited') {
    const ended = terminatedState(latest, messages.get(latest.id));
    const waits = why !== undefined && !input.failed && shouldRestart(pod, spec.name, latest);
    if (waits) return { ...base, state: { waiting: { ...why } }, lastState: ended };
    // An init container is ready when it has done its work.
    return { ...base, ready: isInit && latest.exitCode === 0, state: ended, lastState: last ?? {} };
  }
  if (!latest && known?.state?.terminated)
    return { ...base, ...known, ready: isInit && known.state.terminated.exitCode === 0 }; // its record is gone
  // After a reboot the runtime has forgotten what ran; it ran, though, and it will be a restart, where that may be.
  if (!latest && known?.state?.running && !shouldRestart(pod, spec.name, forgottenContainer(pod, spec.name)))
    return { ...base, ...known, ready: false, started: false, state: lostState(known, seconds(input.now)) };
  const lost =
    !latest && known?.state?.running
      ? { lastState: lostState(known, seconds(input.now)) }
      : { lastState: last ?? {} };
  const begins = pod.spec.initContainers?.length ? 'PodInitializing' : 'ContainerCreating';
  const reason = why ?? { reason: begins, message: '' };
  const state = {
    waiting: { reason: reason.reason, ...(reason.message ? { message: reason.message } : {}) },
  };
  return { ...base, ...lost, state };
}

/** What it was allocated and what it has. */
function sizeStatus(
  { sizes }: StatusInput,
  name: string,
): Pick<ApiContainerStatus, 'resources' | 'allocatedResources'> {
  const resources = sizes?.applied.get(name) ?? {};
  const allocatedResources = sizes?.allocated.get(name)?.requests;
  return {
    ...(allocatedResources ? { allocatedResources } : {}),
    ...(resources.limits || resources.requests ? { resources } : {}),
  };
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

/** What a container counts as that never ran, in a Pod that has come to its end. Source: kubelet's TerminatePod. */
const neverRan: ContainerState = {
  terminated: {
    exitCode: lostExitCode,
    reason: 'ContainerStatusUnknown',
    message: 'The container could not be located when the pod was terminated',
  },
};

type Statuses = Record<'init' | 'apps' | 'ephemeral', ApiContainerStatus[]>;

function containerStatuses(input: StatusInput): Statuses {
  const { spec } = input.pod;
  const of = (specs: readonly Container[]): ApiContainerStatus[] =>
    specs.map((one) => containerStatus(input, one));
  // Ephemeral ones make no Pod ready or unready.
  const ephemeral = of(ephemeralContainers(spec)).map((one) => ({ ...one, ready: false }));
  return { init: of(spec.initContainers ?? []), apps: of(spec.containers), ephemeral };
}

/** Nothing waits any more in a Pod that is over: what ran shows its end, and what never ran, where its turn had come. */
function endedStatuses(input: StatusInput): Statuses {
  const { init, apps, ephemeral } = containerStatuses({ ...input, waiting: new Map() });
  const { pod } = input;
  const turn = isInitialized({ pod, phase: 'Failed', statuses: [...init, ...apps] }).met;
  const ended = (one: ApiContainerStatus): ApiContainerStatus =>
    turn && one.state?.waiting ? { ...one, state: neverRan } : one;
  return { init: init.map(ended), apps: apps.map(ended), ephemeral };
}

/** The whole status of one Pod. */
export function podStatus(input: StatusInput): PodStatus {
  const { pod, runtime, hostIP, now, failed } = input;
  const going = containerStatuses(input);
  const phase = failed ? 'Failed' : podPhase(pod, [...going.init, ...going.apps]);
  const { init, apps, ephemeral } = isTerminal(phase) ? endedStatuses(input) : going;
  const all = [...init, ...apps];
  const [sandbox] = runtime.sandboxes;
  const known = pod.status ?? {};
  const wasNeverHere = failed?.rejected && !known.containerStatuses;
  const ownIps = sandbox?.ips.length ? sandbox.ips : (known.podIPs ?? []).map(({ ip }) => ip);
  const ips = pod.spec.hostNetwork ? [hostIP] : ownIps;
  return {
    phase,
    ...(failed ? { reason: failed.reason, message: failed.message } : {}),
    conditions: podConditions({
      pod,
      phase,
      statuses: all,
      hasSandbox: sandbox?.state === 'ready',
      now: seconds(now),
      sizes: input.sizes,
      disruption: failed?.disrupted ? failed.message : undefined,
    }),
    hostIP,
    hostIPs: [{ ip: hostIP }],
    ...(ips.length > 0 ? { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) } : {}),
    startTime: known.startTime ?? seconds(now),
    ...(known.qosClass ? { qosClass: known.qosClass } : {}),
    ...(init.length > 0 && !wasNeverHere ? { initContainerStatuses: init } : {}),
    ...(wasNeverHere ? {} : { containerStatuses: apps }),
    ...(ephemeral.length > 0 ? { ephemeralContainerStatuses: ephemeral } : {}),
  };
}

/** The newest exit of a container that a restart policy will try again, for back-off. */
export function lastExit(runtime: PodRuntimeStatus, name: string): ContainerStatus | undefined {
  const latest = latestContainer(runtime, name);
  return latest?.state === 'exited' ? latest : undefined;
}
