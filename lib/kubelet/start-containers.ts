// Creates and starts the containers of one Pod: image, back-off, configuration, and what is told when one cannot be.
// Assumes a sandbox to create them in. Creations go side by side, starts in the order of the spec.
// Source: kubelet's kuberuntime startContainer and doBackOff (10 s doubling to 5 min, forgotten after 10 calm minutes).
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type EphemeralContainer, findContainer, statusOfContainer } from '../api/pod-containers.ts';
import type { Container, Pod } from '../api/types.ts';
import type { ContainerConfig } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { HookError, runHook } from './hooks.ts';
import { Backoff } from './backoff.ts';
import { containerConfig } from './container-config.ts';
import type { EventInput } from '../api/events.ts';
import { ContainerConfigError, environment, needsPodIP, readEnvData } from './environment.ts';
import { ImageWaitError } from './images.ts';
import { pullLogins } from './pull-secrets.ts';
import { podLogDir, terminationLogPath } from './layout.ts';
import { earliest, NotNow } from './not-now.ts';
import { latestContainer, type PodRuntimeStatus } from './pod-actions.ts';
import { allocatedPod, clockOf, type PodState } from './pod-state.ts';
import { lastExit } from './status.ts';
import { bindSubPaths } from './volumes/sub-path.ts';
import type { PodVolumes } from './volumes/volume.ts';
import { podAddress, type SyncContext } from './sync-context.ts';

/** Where the containers go. */
export interface Making {
  readonly state: PodState;
  readonly sandboxId: string;
  readonly volumes: PodVolumes;
  /** What there was when the actions were decided. */
  readonly before: PodRuntimeStatus;
}

/** What was created, by container name in the order of the spec, and when to try those again that were not. */
export interface Created {
  readonly ids: ReadonlyMap<string, string>;
  readonly retryMs: number | undefined;
}

export class ContainerStarter {
  readonly #context: SyncContext;
  readonly #backoff = new Backoff();

  constructor(context: SyncContext) {
    this.#context = context;
  }

  forget(podUid: string): void {
    this.#backoff.forget(`${podUid}/`);
  }

  /** Why a container was not created stands in state.waiting. */
  async create(making: Making, specs: readonly Container[]): Promise<Created> {
    let retryMs: number | undefined;
    const created = await Promise.all(
      specs.map(async (container): Promise<[string, string][]> => {
        try {
          return [[container.name, await this.#create(making, container)]];
        } catch (error) {
          if (!(error instanceof NotNow)) throw error;
          retryMs = earliest(retryMs, error.retryMs);
          return [];
        }
      }),
    );
    return { ids: new Map(created.flat()), retryMs };
  }

  /** Gives the earliest time to try again. */
  async start(state: PodState, ids: Created['ids']): Promise<number | undefined> {
    let retryMs: number | undefined;
    for (const [name, id] of ids) {
      try {
        await clockOf(state).step(`start ${name}`, () => this.#context.runtime.startContainer(id));
        state.waiting.delete(name);
        state.failedAt.delete(name);
        this.#tell(state, name, { type: 'Normal', reason: 'Started', message: `Started container ${name}` });
        await this.#postStart(state, name, id);
      } catch (error) {
        if (error instanceof HookError) {
          state.waiting.set(name, { reason: 'PostStartHookError', message: error.message });
          retryMs = 0;
          continue;
        }
        const message = messageOf(error);
        this.#tell(state, name, { type: 'Warning', reason: 'Failed', message: `Error: ${message}` });
        state.waiting.set(name, { reason: 'RunContainerError', message });
        retryMs = 0; // the next sync finds it exited, and back-off decides
      }
    }
    return retryMs;
  }

  /** Until the hook is over the container does not count as running. One that fails is stopped. @throws HookError */
  async #postStart(state: PodState, name: string, id: string): Promise<void> {
    const { pod, going, beginning } = state;
    const container = findContainer(pod.spec, name);
    const hook = container?.lifecycle?.postStart;
    if (!container || !hook) return;
    const { runtime, stopper } = this.#context;
    const subject = { container, containerId: id, podIP: podAddress(this.#context, pod) };
    beginning.add(id);
    try {
      await runHook(runtime, hook, subject, going.signal);
    } catch (error) {
      if (going.signal.aborted) return; // it is being taken down anyway
      const reason = 'FailedPostStartHook';
      this.#tell(state, name, {
        type: 'Warning',
        reason,
        message: `PostStartHook failed: ${messageOf(error)}`,
      });
      const graceSeconds = pod.spec.terminationGracePeriodSeconds ?? 30;
      await stopper.stop({ pod, container: { id, name }, message: reason, graceSeconds });
      throw error;
    } finally {
      beginning.delete(id);
    }
  }

  #tell(state: PodState, container: string, event: EventInput): void {
    this.#context.events.record(state.pod, { ...event, container });
  }

  /** @throws NotNow when the container must wait */
  async #create(making: Making, container: Container): Promise<string> {
    const { state, sandboxId } = making;
    const { runtime, images, references } = this.#context;
    const { name } = container;
    this.#checkBackoff(making, name);
    try {
      const record = (event: EventInput): void => this.#tell(state, name, event);
      const { pod } = state;
      await images.ensure({
        podUid: pod.metadata.uid,
        container,
        record,
        signal: state.going.signal,
        logins: () => pullLogins({ pod, image: container.image ?? '', references, record }),
      });
      const config = await this.#prepare(making, container);
      const id = await runtime.createContainer(sandboxId, config, clockOf(state));
      this.#tell(state, name, { type: 'Normal', reason: 'Created', message: `Created container: ${name}` });
      return id;
    } catch (error) {
      throw this.#createFailed(state, name, error);
    }
  }

  /** The container's configuration, and the files on the node that it speaks of. */
  async #prepare(making: Making, { name }: Container): Promise<ContainerConfig> {
    const { state, sandboxId, volumes, before } = making;
    const { runtime, paths, node, references } = this.#context;
    const pod = allocatedPod(state);
    const container = findContainer(pod.spec, name) as Container;
    const podIPs = needsPodIP(container) ? (await runtime.waitForNetwork(sandboxId)).ips : [];
    const attempt = nextAttempt(pod, before, container.name);
    const terminationLog = terminationLogPath(paths, pod.metadata.uid, container.name, attempt);
    mkdirSync(dirname(terminationLog), { recursive: true, mode: 0o755 });
    writeFileSync(terminationLog, '');
    chmodSync(terminationLog, 0o666); // whoever the container runs as may write it; the umask does not count here
    const logDir = podLogDir(paths, pod);
    mkdirSync(join(logDir, container.name), { recursive: true, mode: 0o750 });
    const data = await readEnvData(pod, container, references);
    const vars = environment(pod, container, { hostIP: node.ip, podIPs, node: node.amounts }, data);
    const subPaths = await bindSubPaths({ podsDir: paths.pods, pod, container, volumes, vars });
    const { limits } = node;
    const { seccomp: seccompDir } = paths;
    const pidTarget = pidTargetOf(container, before);
    const made = {
      ...(pidTarget ? { pidTarget } : {}),
      attempt,
      vars,
      volumes,
      subPaths,
      logDir,
      terminationLog,
      limits,
      seccompDir,
    };
    return containerConfig({ pod, container, ...made });
  }

  #createFailed(state: PodState, name: string, error: unknown): NotNow {
    const message = messageOf(error);
    if (error instanceof ImageWaitError) {
      state.waiting.set(name, { reason: error.code, message });
      return new NotNow(message, error.retryMs);
    }
    const code = error instanceof PodwireError ? error.code : '';
    const reason = code === 'CreateContainerConfigError' ? code : 'CreateContainerError';
    state.waiting.set(name, { reason, message });
    state.failedAt.set(name, Date.now());
    this.#tell(state, name, { type: 'Warning', reason: 'Failed', message: `Error: ${message}` });
    return new NotNow(message, this.#backoff.delay(keyOf(state.pod, name)) || 10_000);
  }

  /** The first restart is at once, then 10 s doubling to 5 min. @throws NotNow while the time is not yet over */
  #checkBackoff({ state, before }: Making, name: string): void {
    const { pod } = state;
    const exit = lastExit(before, name);
    const since = exit?.finishedAt ? Date.parse(exit.finishedAt) : state.failedAt.get(name);
    if (since === undefined) return;
    const key = keyOf(pod, name);
    const now = Date.now();
    const left = this.#backoff.remaining(key, since, now);
    if (left === 0) {
      this.#backoff.next(key, since, now);
      return;
    }
    const ofPod = `${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
    const delay = formatDelay(this.#backoff.delay(key));
    const message = `back-off ${delay} restarting failed container=${name} pod=${ofPod}`;
    const known = state.waiting.get(name);
    if (exit && (known?.reason !== 'CrashLoopBackOff' || known.message !== message)) {
      state.waiting.set(name, { reason: 'CrashLoopBackOff', message });
      const told = `Back-off restarting failed container ${name} in pod ${ofPod}`;
      this.#tell(state, name, { type: 'Warning', reason: 'BackOff', message: told });
    }
    throw new NotNow(message, left);
  }
}

/** The container whose processes an ephemeral one is to see. @throws ContainerConfigError while it does not run */
function pidTargetOf(
  { name, targetContainerName: target }: EphemeralContainer,
  before: PodRuntimeStatus,
): string | undefined {
  if (!target) return undefined;
  const running = latestContainer(before, target);
  if (running?.state === 'running') return running.id;
  throw new ContainerConfigError(
    `container ${name}: unable to find target container ${target}: it does not run`,
  );
}

const keyOf = (pod: Pod, container: string): string => `${pod.metadata.uid}/${container}`;

/** 10s, 1m20s, 5m0s: as Go prints a duration. */
function formatDelay(ms: number): string {
  const total = Math.round(ms / 1000);
  return total < 60 ? `${total}s` : `${Math.floor(total / 60)}m${total % 60}s`;
}

/** The restart count of the next container: after a reboot the status remembers what the runtime forgot. */
function nextAttempt(pod: Pod, before: PodRuntimeStatus, name: string): number {
  const latest = latestContainer(before, name);
  if (latest) return latest.attempt + 1;
  const known = statusOfContainer(pod.status, name);
  return known?.containerID ? (known.restartCount ?? 0) + 1 : 0;
}
