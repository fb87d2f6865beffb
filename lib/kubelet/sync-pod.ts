// Brings one Pod to its spec: syncPod for a Pod that should run, syncTerminatingPod for one that should go.
// Assumes its worker calls it, one call at a time; it may be repeated at any point, also by a new daemon.
// Costs what the Pod lacks; a Pod that is as it should be costs one comparison.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Container, Pod } from '../api/types.ts';
import type { RuntimeService } from '../container/cri.ts';
import { messageOf, PodwireError, settleAll } from '../exec/errors.ts';
import { StepClock } from '../exec/step-clock.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { Backoff } from './backoff.ts';
import { containerConfig, containerHash, needsPodIP } from './container-config.ts';
import type { EventInput, EventRecorder } from './events.ts';
import { ImageWaitError, type ImagePuller } from './images.ts';
import { computePodActions, latestContainer, type PodRuntimeStatus } from './pod-actions.ts';
import { type PodState, runtimeStatusOf, staleContainers } from './pod-state.ts';
import type { SyncOutcome } from './pod-workers.ts';
import { type NodeDns, sandboxConfig } from './sandbox-config.ts';
import { lastExit } from './status.ts';
import type { StatusManager } from './status-manager.ts';
import { podLogDir, terminationLogPath } from './layout.ts';
import { setUpVolumes, tearDownPodDir } from './volumes.ts';

export interface NodeFacts {
  readonly name: string;
  readonly hostname: string;
  readonly ip: string;
  readonly dns: NodeDns;
  /** 0: no limit. */
  readonly pidsLimit: number;
}

export interface SyncContext {
  readonly paths: NodePaths;
  readonly runtime: RuntimeService;
  readonly images: ImagePuller;
  readonly events: EventRecorder;
  readonly status: StatusManager;
  readonly node: NodeFacts;
}

/** A step could not be done now; the sync ends, and is tried again after `retryMs`. */
class NotNow extends PodwireError {
  readonly retryMs: number;
  constructor(message: string, retryMs: number) {
    super('NOT_NOW', message);
    this.retryMs = retryMs;
  }
}

export class PodSyncer {
  readonly #context: SyncContext;
  readonly #backoff = new Backoff();
  // What fails is often the network's configuration, mended by a person who waits for it: try again soon.
  readonly #sandboxBackoff = new Backoff(1000, 30_000);

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /**
   * 1. A Pod past its deadline is failed. 2. Volumes are set up. 3. A dead sandbox is taken down. 4. A sandbox is
   * made. 5. Containers whose spec changed are stopped. 6. Missing containers are created, then started in order.
   * 7. Records of old containers are dropped. 8. The status is written; a finished Pod gives its sandbox back.
   */
  async syncPod(state: PodState): Promise<SyncOutcome> {
    if (state.finished) return undefined;
    const { pod } = state;
    if (isTerminal(pod.status?.phase)) return this.#giveBack(state); // an earlier daemon wrote it
    const deadline = this.#checkDeadline(state);
    let retry: number | undefined;
    if (!state.failed) {
      this.#context.status.write(state, this.#runtime(pod));
      try {
        retry = await this.#converge(state);
      } catch (error) {
        if (!(error instanceof NotNow)) throw error;
        retry = error.retryMs;
      }
    }
    const phase = this.#context.status.write(state, this.#runtime(pod));
    if (isTerminal(phase)) return this.#finish(state);
    await state.writes;
    if (phase === 'Running') this.#context.status.publishSteps(state);
    return earliest(retry, deadline);
  }

  /** Stops the containers with their grace, gives everything back, and removes the object. */
  async syncTerminatingPod(state: PodState): Promise<SyncOutcome> {
    const { runtime, paths, status } = this.#context;
    const { pod } = state;
    const uid = pod.metadata.uid;
    await this.#stopContainers(pod);
    const { sandboxes } = this.#runtime(pod);
    for (const sandbox of sandboxes) await runtime.stopPodSandbox(sandbox.id);
    for (const sandbox of sandboxes) await runtime.removePodSandbox(sandbox.id);
    await tearDownPodDir(paths.pods, uid);
    rmSync(podLogDir(paths, pod), { recursive: true, force: true });
    this.#backoff.forget(`${uid}/`);
    this.#sandboxBackoff.forget(uid);
    this.#context.images.forget(uid);
    if (!state.gone) await status.removeObject(state);
    return 'done';
  }

  #runtime(pod: Pod): PodRuntimeStatus {
    return runtimeStatusOf(this.#context.runtime, pod.metadata.uid);
  }

  #record(pod: Pod, event: EventInput): void {
    this.#context.events.record(pod, event);
  }

  /** Marks a Pod past activeDeadlineSeconds as failed; gives the milliseconds left otherwise. */
  #checkDeadline(state: PodState): number | undefined {
    const { activeDeadlineSeconds } = state.pod.spec;
    const started = state.pod.status?.startTime;
    if (activeDeadlineSeconds === undefined || state.failed) return undefined;
    const left = activeDeadlineSeconds * 1000 - (started ? Date.now() - Date.parse(started) : 0);
    if (left > 0) return left;
    const message = 'Pod was active on the node longer than the specified deadline';
    state.failed = { reason: 'DeadlineExceeded', message };
    this.#record(state.pod, { type: 'Normal', reason: 'DeadlineExceeded', message });
    return undefined;
  }

  async #converge(state: PodState): Promise<number | undefined> {
    const { pod } = state;
    const { runtime, paths } = this.#context;
    const volumes = await setUpVolumes(paths.pods, pod).catch((error) => {
      this.#record(pod, { type: 'Warning', reason: 'FailedMount', message: messageOf(error) });
      throw new NotNow(messageOf(error), 5000);
    });
    const before = this.#runtime(pod);
    const actions = computePodActions(pod, before, containerHash);
    if (actions.killPod) await this.#dropSandboxes(pod, before, actions.createSandbox);
    let sandboxId = before.sandboxes[0]?.id;
    if (actions.createSandbox) sandboxId = await this.#makeSandbox(state, actions.attempt);
    for (const { id, name, message } of actions.containersToKill) {
      this.#record(pod, { type: 'Normal', reason: 'Killing', message, container: name });
      await runtime.stopContainer(id, pod.spec.terminationGracePeriodSeconds ?? 30);
    }
    if (sandboxId === undefined || actions.containersToStart.length === 0) return undefined;
    const specs = pod.spec.containers.filter((c) => actions.containersToStart.includes(c.name));
    const retry = await this.#startContainers({ state, sandboxId, volumes }, specs, before);
    for (const old of staleContainers(this.#runtime(pod))) {
      await runtime.removeContainer(old.id);
      rmSync(old.logPath, { force: true });
    }
    return retry;
  }

  async #dropSandboxes(pod: Pod, before: PodRuntimeStatus, willReplace: boolean): Promise<void> {
    if (willReplace) {
      const message = 'Pod sandbox changed, it will be killed and re-created.';
      this.#record(pod, { type: 'Normal', reason: 'SandboxChanged', message });
    }
    for (const sandbox of before.sandboxes) await this.#context.runtime.stopPodSandbox(sandbox.id);
  }

  async #makeSandbox(state: PodState, attempt: number): Promise<string> {
    const { runtime, node } = this.#context;
    const { pod } = state;
    const { uid } = pod.metadata;
    const now = Date.now();
    const left = this.#sandboxBackoff.remaining(uid, state.sandboxFailedAt ?? 0, now);
    if (left > 0) throw new NotNow('waiting to create the sandbox again', left);
    const config = sandboxConfig({
      pod,
      attempt,
      dns: node.dns,
      nodeHostname: node.hostname,
      pidsLimit: node.pidsLimit,
    });
    try {
      const sandbox = await runtime.runPodSandbox(config, clockOf(state));
      return sandbox.id;
    } catch (error) {
      throw this.#sandboxFailed(state, error);
    }
  }

  #sandboxFailed(state: PodState, error: unknown): NotNow {
    const { uid } = state.pod.metadata;
    const message = `Failed to create pod sandbox: ${messageOf(error)}`;
    this.#record(state.pod, { type: 'Warning', reason: 'FailedCreatePodSandBox', message });
    const now = Date.now();
    this.#sandboxBackoff.next(uid, state.sandboxFailedAt ?? 0, now);
    state.sandboxFailedAt = now;
    if (state.clock) state.clock = new StepClock(); // the steps shown are those of the try that worked
    return new NotNow(message, this.#sandboxBackoff.delay(uid));
  }

  /** Creates all side by side, then starts them in the order of the spec. Gives the earliest time to try again. */
  async #startContainers(
    making: { state: PodState; sandboxId: string; volumes: ReadonlyMap<string, string> },
    specs: readonly Container[],
    before: PodRuntimeStatus,
  ): Promise<number | undefined> {
    const { state, sandboxId } = making;
    const { runtime } = this.#context;
    const { pod } = state;
    let retry: number | undefined;
    const created = await Promise.all(
      specs.map(async (container) => {
        try {
          return { container, id: await this.#createContainer(making, container, before) };
        } catch (error) {
          if (!(error instanceof NotNow)) throw error;
          retry = earliest(retry, error.retryMs);
          return { container, id: undefined };
        }
      }),
    );
    await clockOf(state)
      .step('wait for network', () => runtime.waitForNetwork(sandboxId))
      .catch((error) => {
        throw this.#sandboxFailed(state, error);
      });
    for (const { container, id } of created) {
      if (id === undefined) continue;
      const { name } = container;
      try {
        await clockOf(state).step(`start ${name}`, () => runtime.startContainer(id));
        state.waiting.delete(name);
        state.failedAt.delete(name);
        this.#record(pod, {
          type: 'Normal',
          reason: 'Started',
          message: `Started container ${name}`,
          container: name,
        });
      } catch (error) {
        this.#record(pod, {
          type: 'Warning',
          reason: 'Failed',
          message: `Error: ${messageOf(error)}`,
          container: name,
        });
        state.waiting.set(name, { reason: 'RunContainerError', message: messageOf(error) });
        retry = earliest(retry, 0);
      }
    }
    return retry;
  }

  /** @throws NotNow when the container must wait; the reason stands in state.waiting */
  async #createContainer(
    making: { state: PodState; sandboxId: string; volumes: ReadonlyMap<string, string> },
    container: Container,
    before: PodRuntimeStatus,
  ): Promise<string> {
    const { state, sandboxId, volumes } = making;
    const { runtime, images, paths, node } = this.#context;
    const { pod } = state;
    const { name } = container;
    this.#checkBackoff(state, container, before);
    try {
      await images.ensure(pod.metadata.uid, container, (event) => this.#record(pod, event));
      const podIPs = needsPodIP(container) ? (await runtime.waitForNetwork(sandboxId)).ips : [];
      const attempt = nextAttempt(pod, before, name);
      const terminationLog = terminationLogPath(paths, pod.metadata.uid, name, attempt);
      mkdirSync(dirname(terminationLog), { recursive: true, mode: 0o755 });
      writeFileSync(terminationLog, '', { mode: 0o666 });
      const facts = { hostIP: node.ip, podIPs };
      const logDir = podLogDir(paths, pod);
      mkdirSync(join(logDir, name), { recursive: true, mode: 0o750 });
      const pidsLimit = node.pidsLimit;
      const config = containerConfig({
        pod,
        container,
        attempt,
        facts,
        volumes,
        logDir,
        terminationLog,
        pidsLimit,
      });
      const id = await runtime.createContainer(sandboxId, config, clockOf(state));
      this.#record(pod, {
        type: 'Normal',
        reason: 'Created',
        message: `Created container: ${name}`,
        container: name,
      });
      return id;
    } catch (error) {
      throw this.#createFailed(state, name, error);
    }
  }

  #createFailed(state: PodState, name: string, error: unknown): NotNow {
    if (error instanceof ImageWaitError) {
      state.waiting.set(name, { reason: error.code, message: error.message });
      return new NotNow(error.message, error.retryMs);
    }
    const code = error instanceof PodwireError ? error.code : '';
    const reason = code === 'CreateContainerConfigError' ? code : 'CreateContainerError';
    const message = messageOf(error);
    state.waiting.set(name, { reason, message });
    state.failedAt.set(name, Date.now());
    this.#record(state.pod, {
      type: 'Warning',
      reason: 'Failed',
      message: `Error: ${message}`,
      container: name,
    });
    return new NotNow(message, this.#backoff.delay(`${state.pod.metadata.uid}/${name}`) || 10_000);
  }

  /** The first restart is at once, then 10 s doubling to 5 min. @throws NotNow while the time is not yet over */
  #checkBackoff(state: PodState, container: Container, before: PodRuntimeStatus): void {
    const { pod } = state;
    const { name } = container;
    const exit = lastExit(before, name);
    const since = exit?.finishedAt ? Date.parse(exit.finishedAt) : state.failedAt.get(name);
    if (since === undefined) return;
    const key = `${pod.metadata.uid}/${name}`;
    const now = Date.now();
    const left = this.#backoff.remaining(key, since, now);
    if (left === 0) {
      this.#backoff.next(key, since, now);
      return;
    }
    const about = `${container.name} pod=${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
    const message = `back-off ${formatDelay(this.#backoff.delay(key))} restarting failed container=${about}`;
    if (exit) {
      const known = state.waiting.get(name);
      state.waiting.set(name, { reason: 'CrashLoopBackOff', message });
      if (known?.reason !== 'CrashLoopBackOff' || known.message !== message)
        this.#record(pod, {
          type: 'Warning',
          reason: 'BackOff',
          message: `Back-off restarting failed container ${about}`,
          container: name,
        });
    }
    throw new NotNow(message, left);
  }

  async #stopContainers(pod: Pod, graceSeconds = pod.metadata.deletionGracePeriodSeconds): Promise<void> {
    const grace = graceSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
    const running = this.#runtime(pod).containers.filter((container) => container.state !== 'exited');
    const stops = running.map(({ id, name }) => {
      this.#record(pod, {
        type: 'Normal',
        reason: 'Killing',
        message: `Stopping container ${name}`,
        container: name,
      });
      return this.#context.runtime.stopContainer(id, grace);
    });
    const failed = (await Promise.allSettled(stops)).flatMap((r) =>
      r.status === 'rejected' ? [r.reason] : [],
    );
    await settleAll(
      `stopping ${pod.metadata.name}`,
      failed.map((reason) => () => Promise.reject(reason)),
    );
  }

  async #finish(state: PodState): Promise<SyncOutcome> {
    await this.#stopContainers(state.pod, state.pod.spec.terminationGracePeriodSeconds);
    this.#context.status.write(state, this.#runtime(state.pod));
    await state.writes;
    return this.#giveBack(state);
  }

  /** A terminal Pod keeps its status, logs and volumes until it is deleted; everything else goes now. */
  async #giveBack(state: PodState): Promise<SyncOutcome> {
    const { runtime } = this.#context;
    const { sandboxes } = this.#runtime(state.pod);
    for (const sandbox of sandboxes) await runtime.stopPodSandbox(sandbox.id);
    for (const sandbox of sandboxes) await runtime.removePodSandbox(sandbox.id);
    state.finished = true;
    return undefined;
  }
}

const isTerminal = (phase: string | undefined): boolean => phase === 'Succeeded' || phase === 'Failed';

const clockOf = (state: PodState): StepClock => state.clock ?? ignoredClock;
const ignoredClock = {
  steps: [],
  step: <T>(_: string, work: () => Promise<T>) => work(),
} as unknown as StepClock;

const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);

/** 10s, 1m20s, 5m0s: as Go prints a duration. */
function formatDelay(ms: number): string {
  const total = Math.round(ms / 1000);
  return total < 60 ? `${total}s` : `${Math.floor(total / 60)}m${total % 60}s`;
}

/** The restart count of the next container: after a reboot the status remembers what the runtime forgot. */
function nextAttempt(pod: Pod, before: PodRuntimeStatus, name: string): number {
  const latest = latestContainer(before, name);
  if (latest) return latest.attempt + 1;
  const known = pod.status?.containerStatuses?.find((status) => status.name === name);
  return known?.containerID ? (known.restartCount ?? 0) + 1 : 0;
}
