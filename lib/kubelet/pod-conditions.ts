// The conditions of a Pod that its kubelet owns; those of others (readiness gates) are read here and kept by the writer.
// Assumes one status for each container. Pure; O(containers).
// Source: kubelet's status/generate.go (v1.34).
import { isDeepStrictEqual } from 'node:util';
import { kindOf } from '../api/pod-containers.ts';
import type { ContainerStatus, Pod, PodCondition } from '../api/types.ts';
import type { Phase } from './pod-phase.ts';
import type { Resizing } from './resize.ts';

export interface ConditionsInput {
  /** With the last known status. */
  readonly pod: Pod;
  readonly phase: Phase;
  /** Of init and app containers. */
  readonly statuses: readonly ContainerStatus[];
  readonly hasSandbox: boolean;
  /** RFC 3339, whole seconds. */
  readonly now: string;
  readonly sizes?: Resizing | undefined;
  /** Why the kubelet evicts it for others' sake. */
  readonly disruption?: string | undefined;
}

interface Verdict {
  readonly met: boolean;
  readonly reason?: string | undefined;
  readonly message?: string | undefined;
}

const owned: readonly string[] = [
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
  'PodResizePending',
  'PodResizeInProgress',
];

/** Of a DisruptionTarget that is the kubelet's; others write that condition, too. */
const byKubelet = 'TerminationByKubelet';
const isOwn = ({ type, reason }: PodCondition): boolean =>
  owned.includes(type) || (type === 'DisruptionTarget' && reason === byKubelet);

/** Written by the kubelet; whatever else stands among a Pod's conditions is somebody else's. */
export const ownConditions = (status: Pod['status']): PodCondition[] =>
  (status?.conditions ?? []).filter(isOwn);

/** Readiness gates and the like: set by others, read and kept by the kubelet. */
export const foreignConditions = ({ status }: Pod): PodCondition[] =>
  (status?.conditions ?? []).filter((one) => !isOwn(one));

/** Of a Ready condition that node-lifecycle took from a Pod whose node is lost. */
export const lostReason = 'NodeNotReady';

/** The control plane thought this node lost, and said so of its Pod. */
export const isMarkedLost = (pod: Pod): boolean =>
  (pod.status?.conditions ?? []).some(({ type, reason }) => type === 'Ready' && reason === lostReason);

export function podConditions(input: ConditionsInput): PodCondition[] {
  const { pod, phase, hasSandbox, now } = input;
  const isDone = phase === 'Succeeded' || phase === 'Failed';
  const containersReady = areContainersReady(input);
  const verdicts: Record<string, Verdict> = {
    PodReadyToStartContainers: { met: !isDone && hasSandbox },
    Initialized: isInitialized(input),
    Ready: containersReady.met ? gatesPass(pod) : containersReady,
    ContainersReady: containersReady,
    PodScheduled: { met: true },
    ...resizeVerdicts(input),
    ...(input.disruption === undefined
      ? {}
      : { DisruptionTarget: { met: true, reason: byKubelet, message: input.disruption } }),
  };
  return Object.entries(verdicts).map(([type, verdict]) => condition(pod, now, type, verdict));
}

/** There only while a resize waits or is under way. */
function resizeVerdicts({ sizes }: ConditionsInput): Record<string, Verdict> {
  if (!sizes) return {};
  const { pending, error } = sizes;
  const underWay = !isDeepStrictEqual(sizes.allocated, sizes.applied);
  const why = error === undefined ? {} : { reason: 'Error', message: error };
  return {
    ...(pending ? { PodResizePending: { met: true, ...pending } } : {}),
    ...(underWay ? { PodResizeInProgress: { met: true, ...why } } : {}),
  };
}

function condition(pod: Pod, now: string, type: string, verdict: Verdict): PodCondition {
  const { met, reason, message } = verdict;
  const status = met ? 'True' : 'False';
  const known = pod.status?.conditions?.find((one) => one.type === type);
  const since = known?.status === status ? known.lastTransitionTime : undefined;
  return {
    type,
    status,
    lastProbeTime: undefined,
    lastTransitionTime: since || now,
    ...(reason ? { reason } : {}),
    ...(message ? { message } : {}),
  };
}

function areContainersReady({ pod, phase, statuses }: ConditionsInput): Verdict {
  if (phase === 'Succeeded') return { met: false, reason: 'PodCompleted' };
  if (phase === 'Failed') return { met: false, reason: 'PodFailed' };
  const lasting = statuses.filter(({ name }) => kindOf(pod.spec, name) !== 'init');
  const unready = lasting.filter(({ ready }) => !ready).map(({ name }) => name);
  if (unready.length === 0) return { met: true };
  const message = `containers with unready status: [${unready.join(' ')}]`;
  return { met: false, reason: 'ContainersNotReady', message };
}

export function isInitialized({
  pod,
  phase,
  statuses,
}: Pick<ConditionsInput, 'pod' | 'phase' | 'statuses'>): Verdict {
  if (phase === 'Succeeded') return { met: true, reason: 'PodCompleted' };
  const appRan = statuses.some(
    ({ name, state, lastState }) =>
      kindOf(pod.spec, name) === 'app' && (state?.running || state?.terminated || lastState?.terminated),
  );
  if (appRan) return { met: true };
  const incomplete = statuses.filter(({ name, ready, started }) => {
    const kind = kindOf(pod.spec, name);
    return kind === 'init' ? !ready : kind === 'sidecar' && !started;
  });
  if (incomplete.length === 0) return { met: true };
  const names = incomplete.map(({ name }) => name).join(' ');
  const message = `containers with incomplete status: [${names}]`;
  return { met: false, reason: 'ContainersNotInitialized', message };
}

/** Conditions that others set, and that this Pod's readiness waits for. */
function gatesPass({ spec, status }: Pod): Verdict {
  const faults = (spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const found = status?.conditions?.find(({ type }) => type === conditionType);
    if (!found) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    if (found.status === 'True') return [];
    return [`the status of pod readiness gate "${conditionType}" is not "True", but ${found.status}`];
  });
  if (faults.length === 0) return { met: true };
  return { met: false, reason: 'ReadinessGatesNotReady', message: faults.join(', ') };
}
