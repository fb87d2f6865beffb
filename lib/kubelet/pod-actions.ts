// What a Pod needs next: its spec compared with what the runtime has. Pure: data in, data out; syncPod acts on it.
// Assumes the newest container of a name is the one that counts. O(containers of the Pod).
// Source: kubelet's computePodActions, computeInitContainerActions and ShouldContainerBeRestarted.
import {
  allContainers,
  ephemeralContainers,
  kindOf,
  lastingContainers,
  statusOfContainer,
} from '../api/pod-containers.ts';
import type { Container, Pod } from '../api/types.ts';
import type { ContainerStatus, PodSandboxStatus } from '../container/cri.ts';

/** What the runtime has of one Pod. */
export interface PodRuntimeStatus {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  /** Newest first. */
  readonly containers: readonly ContainerStatus[];
}

type Probed = Pick<ContainerStatus, 'id' | 'name'>;

/** What probes have found out about containers that run. */
export interface ProbeResults {
  /** It runs and its startup probe, if it has one, has succeeded. */
  readonly isStarted: (container: Probed) => boolean;
  /** Its readiness probe, if it has one, succeeds. */
  readonly isReady: (container: Probed) => boolean;
  /** Which probe says that it has to be restarted. */
  readonly failedProbe: (container: Probed) => 'liveness' | 'startup' | undefined;
}

/** Of a Pod without probes. */
export const noProbes: ProbeResults = {
  isStarted: () => true,
  isReady: () => true,
  failedProbe: () => undefined,
};

/** A container to stop now. */
export interface ContainerToKill {
  readonly id: string;
  readonly name: string;
  readonly message: string;
  /** Absent: another spec is wanted; it is made anew at once. Otherwise the next sync decides what follows. */
  readonly probe?: 'liveness' | 'startup';
}

export interface PodActions {
  /** The sandbox is dead or stale: stop it and all in it before anything else. */
  readonly killPod: boolean;
  readonly createSandbox: boolean;
  /** Of the sandbox to create. */
  readonly attempt: number;
  /** Names of init and app containers to start now, in this order. */
  readonly containersToStart: readonly string[];
  readonly containersToKill: readonly ContainerToKill[];
  /** No app container will run again: the sidecars that still do are to be stopped. */
  readonly finished: boolean;
}

/** The newest container of that name. */
export function latestContainer(runtime: PodRuntimeStatus, name: string): ContainerStatus | undefined {
  return runtime.containers.find((container) => container.name === name);
}

type HowItStands = Pick<ContainerStatus, 'state' | 'exitCode'>;

/** What a container counts as that was killed with the machine: SIGKILL's exit code. */
export const lostExitCode = 137;

/** A container that ran but of which the runtime knows nothing any more, as after a reboot; the API remembers. */
export function forgottenContainer(pod: Pod, name: string): HowItStands | undefined {
  const known = statusOfContainer(pod.status, name)?.state;
  if (known?.terminated) return { state: 'exited', exitCode: known.terminated.exitCode };
  return known?.running ? { state: 'exited', exitCode: lostExitCode } : undefined;
}

/** What a container's end means: a sidecar always runs again, an init container until it has succeeded. */
function restartPolicyOf(pod: Pod, name: string): 'Always' | 'OnFailure' | 'Never' {
  const kind = kindOf(pod.spec, name);
  if (kind === 'ephemeral') return 'Never';
  if (kind === 'sidecar') return 'Always';
  const ofPod = (pod.spec.restartPolicy ?? 'Always') as 'Always' | 'OnFailure' | 'Never';
  return kind === 'init' && ofPod === 'Always' ? 'OnFailure' : ofPod;
}

/** Whether a container that is not running should run (again). */
export function shouldRestart(pod: Pod, name: string, status: HowItStands | undefined): boolean {
  if (status === undefined || status.state === 'created') return true;
  if (status.state === 'running') return false;
  const policy = restartPolicyOf(pod, name);
  return policy === 'Always' || (policy === 'OnFailure' && status.exitCode !== 0);
}

export interface ActionsInput {
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  readonly hashOf: (container: Container) => string;
  readonly probes: ProbeResults;
  /** Containers that must begin anew to have their new size. */
  readonly resized?: ReadonlySet<string>;
}

export function computePodActions(input: ActionsInput): PodActions {
  const [sandbox] = input.runtime.sandboxes;
  return sandbox?.state === 'ready' ? inSandbox(input, sandbox) : withoutSandbox(input, sandbox);
}

/** What ran in a dead sandbox is dead too, and is restarted only as the policy allows; init containers run once more. */
function withoutSandbox({ pod, runtime }: ActionsInput, dead: PodSandboxStatus | undefined): PodActions {
  const { restartPolicy, containers, initContainers = [] } = pod.spec;
  const again = containers.filter(({ name }) => {
    const latest = latestContainer(runtime, name);
    if (latest?.state === 'running') return restartPolicy !== 'Never';
    return shouldRestart(pod, name, latest ?? forgottenContainer(pod, name));
  });
  const runs = again.length > 0 && !initWasLost(pod, runtime);
  const [first] = initContainers;
  const toStart = first ? [first.name] : again.map(({ name }) => name);
  return {
    killPod: dead !== undefined,
    createSandbox: runs,
    attempt: dead === undefined ? 0 : dead.attempt + 1,
    containersToStart: runs ? toStart : [],
    containersToKill: [],
    finished: false,
  };
}

/** An init container that had begun and did not succeed: in a Pod that restarts nothing, that is the end of it. */
function initWasLost(pod: Pod, runtime: PodRuntimeStatus): boolean {
  if (pod.spec.restartPolicy !== 'Never') return false;
  return (pod.spec.initContainers ?? []).some(({ name }) => {
    if (kindOf(pod.spec, name) === 'sidecar') return false;
    const stands = latestContainer(runtime, name) ?? forgottenContainer(pod, name);
    return stands !== undefined && stands.state !== 'created' && stands.exitCode !== 0;
  });
}

function inSandbox(input: ActionsInput, sandbox: PodSandboxStatus): PodActions {
  const { pod, runtime } = input;
  const init = initProgress(input, sandbox.id);
  const { containers } = pod.spec;
  const appsToRun = containers.filter(({ name }) =>
    shouldRestart(pod, name, latestContainer(runtime, name) ?? forgottenContainer(pod, name)),
  );
  const appRuns = containers.some(({ name }) => latestContainer(runtime, name)?.state === 'running');
  const finished = init.failed || (appsToRun.length === 0 && !appRuns);
  const base = { killPod: false, createSandbox: false, attempt: sandbox.attempt, finished };
  if (finished) return { ...base, containersToStart: [], containersToKill: [] };
  const toKill = containersToKill(input);
  const anew = new Set(toKill.filter(({ probe }) => probe === undefined).map(({ name }) => name));
  const apps = new Set(init.done ? appsToRun.map(({ name }) => name) : []);
  const starts = allContainers(pod.spec).map(({ name }) => name);
  return {
    ...base,
    containersToStart: [
      ...starts.filter((name) => init.toStart.has(name) || apps.has(name) || anew.has(name)),
      ...ephemeralToStart(pod, runtime),
    ],
    containersToKill: toKill,
  };
}

/** Those that never began, however far the others are. */
function ephemeralToStart(pod: Pod, runtime: PodRuntimeStatus): string[] {
  const names = ephemeralContainers(pod.spec).map(({ name }) => name);
  return names.filter((name) =>
    shouldRestart(pod, name, latestContainer(runtime, name) ?? forgottenContainer(pod, name)),
  );
}

interface InitProgress {
  /** App containers may run. */
  readonly done: boolean;
  /** One has failed and is not tried again. */
  readonly failed: boolean;
  readonly toStart: ReadonlySet<string>;
}

/**
 * How far the init containers of this sandbox have come. The furthest that has begun decides; sidecars before it are
 * kept running, and hold nobody back any more.
 */
function initProgress({ pod, runtime, probes }: ActionsInput, sandboxId: string): InitProgress {
  const { initContainers = [], containers } = pod.spec;
  const here = (name: string): ContainerStatus | undefined => {
    const latest = latestContainer(runtime, name);
    return latest?.sandboxId === sandboxId && latest.state !== 'created' ? latest : undefined;
  };
  const nextOf = (at: number): number => {
    const { name } = initContainers[at] as Container;
    const status = here(name);
    if (status?.state === 'running')
      return kindOf(pod.spec, name) === 'sidecar' && probes.isStarted(status) ? at + 1 : -1;
    return shouldRestart(pod, name, status) ? at : at + 1;
  };
  const furthest = initContainers.findLastIndex(({ name }) => here(name) !== undefined);
  const last = initContainers[furthest];
  const wasDone = containers.some(({ name }) => here(name) !== undefined);
  const lastStatus = last && here(last.name);
  const failed =
    !wasDone &&
    lastStatus?.state === 'exited' &&
    lastStatus.exitCode !== 0 &&
    !shouldRestart(pod, lastStatus.name, lastStatus);
  const next = wasDone ? initContainers.length : furthest < 0 ? 0 : nextOf(furthest);
  const begun = wasDone ? initContainers : initContainers.slice(0, Math.max(furthest, 0));
  const keptUp = begun.filter(
    ({ name }) => kindOf(pod.spec, name) === 'sidecar' && here(name)?.state !== 'running',
  );
  const toStart = new Set(keptUp.map(({ name }) => name));
  const following = initContainers[next];
  if (following) toStart.add(following.name);
  return { done: next === initContainers.length, failed, toStart };
}

function containersToKill({ pod, runtime, hashOf, probes, resized }: ActionsInput): ContainerToKill[] {
  return lastingContainers(pod.spec).flatMap((spec): ContainerToKill[] => {
    const status = latestContainer(runtime, spec.name);
    if (status?.state !== 'running') return [];
    const { id, name } = status;
    const probe = probes.failedProbe(status);
    if (probe !== undefined) {
      const again = restartPolicyOf(pod, name) === 'Never' ? '' : ', will be restarted';
      return [{ id, name, message: `Container ${name} failed ${probe} probe${again}`, probe }];
    }
    if (resized?.has(name)) return [{ id, name, message: `Container ${name} resize requires restart` }];
    if (status.hash === hashOf(spec)) return [];
    return [{ id, name, message: `Container ${name} definition changed, will be restarted` }];
  });
}
