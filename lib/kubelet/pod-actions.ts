// What a Pod needs next: its spec compared with what the runtime has. Pure: data in, data out; syncPod acts on it.
// Assumes the newest container of a name is the one that counts. O(containers of the Pod).
// Source: kubelet's computePodActions and ShouldContainerBeRestarted.
import type { Container, Pod } from '../api/types.ts';
import type { ContainerStatus, PodSandboxStatus } from '../container/cri.ts';

/** What the runtime has of one Pod. */
export interface PodRuntimeStatus {
  /** Newest first. */
  readonly sandboxes: readonly PodSandboxStatus[];
  /** Newest first. */
  readonly containers: readonly ContainerStatus[];
}

export interface PodActions {
  /** The sandbox is dead or stale: stop it and all in it before anything else. */
  readonly killPod: boolean;
  readonly createSandbox: boolean;
  /** Of the sandbox to create. */
  readonly attempt: number;
  /** Names of spec.containers to start now, in their order. */
  readonly containersToStart: readonly string[];
  readonly containersToKill: readonly {
    readonly id: string;
    readonly name: string;
    readonly message: string;
  }[];
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
  const known = pod.status?.containerStatuses?.find((status) => status.name === name)?.state;
  if (known?.terminated) return { state: 'exited', exitCode: known.terminated.exitCode };
  return known?.running ? { state: 'exited', exitCode: lostExitCode } : undefined;
}

/** Whether a container that is not running should run (again), by the Pod's restartPolicy. */
export function shouldRestart(pod: Pod, status: HowItStands | undefined): boolean {
  if (status === undefined || status.state === 'created') return true;
  if (status.state === 'running') return false;
  if (pod.spec.restartPolicy === 'Never') return false;
  if (pod.spec.restartPolicy === 'OnFailure') return status.exitCode !== 0;
  return true;
}

export function computePodActions(
  pod: Pod,
  runtime: PodRuntimeStatus,
  hashOf: (container: Container) => string,
): PodActions {
  const [sandbox] = runtime.sandboxes;
  const containers = pod.spec.containers;
  const toRun = containers.filter((c) =>
    shouldRestart(pod, latestContainer(runtime, c.name) ?? forgottenContainer(pod, c.name)),
  );
  if (sandbox?.state !== 'ready') {
    // What ran in a dead sandbox is dead too, and is restarted only as the policy allows.
    const lost = containers.filter((c) => latestContainer(runtime, c.name)?.state === 'running');
    const again = containers.filter(
      (c) => toRun.includes(c) || (lost.includes(c) && pod.spec.restartPolicy !== 'Never'),
    );
    return {
      killPod: sandbox !== undefined,
      createSandbox: again.length > 0,
      attempt: sandbox === undefined ? 0 : sandbox.attempt + 1,
      containersToStart: again.map((c) => c.name),
      containersToKill: [],
    };
  }
  const changed = containers.flatMap((spec) => {
    const status = latestContainer(runtime, spec.name);
    return status?.state === 'running' && status.hash !== hashOf(spec)
      ? [
          {
            id: status.id,
            name: spec.name,
            message: `Container ${spec.name} definition changed, will be restarted`,
          },
        ]
      : [];
  });
  const restarting = new Set([...toRun.map((c) => c.name), ...changed.map((c) => c.name)]);
  return {
    killPod: false,
    createSandbox: false,
    attempt: sandbox.attempt,
    containersToStart: containers.filter((c) => restarting.has(c.name)).map((c) => c.name),
    containersToKill: changed,
  };
}
