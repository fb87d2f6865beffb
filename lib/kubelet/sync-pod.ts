// Brings one Pod to its spec: syncPod for a Pod that should run, syncTerminatingPod for one that should go.
// Assumes its worker calls it, one call at a time; it may be repeated at any point, also by a new daemon.
// Costs what the Pod lacks; a Pod that is as it should be costs one comparison.
import { rmSync } from 'node:fs';
import { findContainer, kindOf } from '../api/pod-containers.ts';
import type { Container, Pod } from '../api/types.ts';
import { removeLog } from '../container/log-files.ts';
import { messageOf } from '../exec/errors.ts';
import { StepClock } from '../exec/step-clock.ts';
import { podRejection } from './admission.ts';
import { Backoff } from './backoff.ts';
import { containerHash } from './container-config.ts';
import type { EventInput } from '../api/events.ts';
import { podLogDir, terminationLogPath } from './layout.ts';
import { earliest, NotNow } from './not-now.ts';
import {
  computePodActions,
  type ContainerToKill,
  type PodActions,
  type PodRuntimeStatus,
} from './pod-actions.ts';
import { isTerminal } from './pod-phase.ts';
import { allocatedPod, clockOf, type PodState, runtimeStatusOf, staleContainers } from './pod-state.ts';
import type { SyncOutcome } from './pod-workers.ts';
import { PodResizer } from './resizer.ts';
import { sandboxConfig } from './sandbox-config.ts';
import { ContainerStarter, type Making } from './start-containers.ts';
import { podAddress, type SyncContext } from './sync-context.ts';

// Who waits is woken when the network is there; this is for a network that fails and comes back.
const networkRetryMs = 5000;

export class PodSyncer {
  readonly #context: SyncContext;
  readonly #starter: ContainerStarter;
  readonly #resizer: PodResizer;
  // What fails is often the network's configuration, mended by a person who waits for it: try again soon.
  readonly #sandboxBackoff = new Backoff(1000, 30_000);

  constructor(context: SyncContext) {
    this.#context = context;
    this.#starter = new ContainerStarter(context);
    this.#resizer = new PodResizer(context);
  }

  /**
   * 1. A Pod past its deadline is failed. 2. Volumes are set up. 3. A dead sandbox is taken down. 4. A sandbox is
   * made. 5. Containers whose spec changed or whose probe failed are stopped, and the sidecars of a Pod that is done.
   * 6. Missing containers are created, then started in order: the next init container, or the app containers.
   * 7. Records of old containers are dropped. 8. The status is written; a finished Pod gives its sandbox back.
   */
  async syncPod(state: PodState): Promise<SyncOutcome> {
    if (state.finished) return undefined;
    const { pod } = state;
    if (isTerminal(pod.status?.phase)) return this.#giveBack(state); // an earlier daemon wrote it
    this.#admit(state);
    const deadline = this.#checkDeadline(state);
    let retry: number | undefined;
    let resize: number | undefined;
    if (!state.failed) {
      resize = this.#resizer.allocate(state);
      this.#syncProbes(state); // a new daemon takes up what is known before it tells anything
      this.#context.status.write(state, this.#runtime(pod));
      try {
        retry = await this.#converge(state);
        retry = earliest(retry, this.#context.volumes.retryMs(pod.metadata.uid));
        this.#syncProbes(state);
      } catch (error) {
        if (!(error instanceof NotNow)) throw error;
        retry = error.retryMs;
        this.#syncProbes(state);
      }
    }
    const phase = this.#context.status.write(state, this.#runtime(pod));
    if (isTerminal(phase)) return this.#finish(state);
    await this.#written(state);
    if (phase === 'Running') this.#context.status.publishSteps(state);
    return earliest(earliest(retry, resize), deadline);
  }

  /** Stops the containers with their grace, gives everything back, and removes the object. */
  async syncTerminatingPod(state: PodState): Promise<SyncOutcome> {
    const { paths, status, volumes, references } = this.#context;
    const { pod } = state;
    const uid = pod.metadata.uid;
    this.#syncProbes(state);
    try {
      await this.#stopContainers(pod, state.graceOverride ?? pod.metadata.deletionGracePeriodSeconds);
      await this.#removeSandboxes(pod);
      await volumes.tearDown(uid);
    } catch (error) {
      const message = `error killing pod: ${messageOf(error)}`;
      this.#record(pod, { type: 'Warning', reason: 'FailedKillPod', message });
      throw error; // the worker tries again
    }
    rmSync(podLogDir(paths, pod), { recursive: true, force: true });
    references.forget(uid);
    this.#starter.forget(uid);
    this.#sandboxBackoff.forget(uid);
    this.#context.images.forget(uid);
    this.#context.probes.forget(uid);
    if (!state.gone) await status.removeObject(state);
    return 'done';
  }

  #runtime(pod: Pod): PodRuntimeStatus {
    return runtimeStatusOf(this.#context.runtime, pod.metadata.uid);
  }

  #record(pod: Pod, event: EventInput): void {
    this.#context.events.record(pod, event);
  }

  /** Fails a Pod that this node does not run. */
  #admit(state: PodState): void {
    const { pod } = state;
    if (state.failed || this.#runtime(pod).sandboxes.length > 0) return;
    const { node, otherPods, pressures } = this.#context;
    const others = state.admitted ? undefined : otherPods(pod);
    const rejection = podRejection(pod, { node, others, pressures: pressures() });
    state.admitted ||= rejection === undefined;
    if (!rejection) return;
    const { reason, message } = rejection;
    state.failed = { reason, message: `Pod was rejected: ${message}`, rejected: true };
    this.#record(pod, { type: 'Warning', reason, message });
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
    const { runtime, references } = this.#context;
    references.follow(pod);
    const volumes = await this.#context.volumes.setUp(pod).catch((error) => {
      this.#record(pod, { type: 'Warning', reason: 'FailedMount', message: messageOf(error) });
      throw new NotNow(messageOf(error), 5000);
    });
    // Created by a daemon that died before it could start them: they never ran, and are made anew.
    for (const { id, state: stands } of this.#runtime(pod).containers)
      if (stands === 'created') await runtime.removeContainer(id);
    const before = this.#runtime(pod);
    const probes = this.#context.probes.resultsOf(pod);
    const resized = this.#resizer.restarts(state);
    const actions = computePodActions({ pod, runtime: before, hashOf: containerHash, probes, resized });
    if (actions.killPod) await this.#dropSandboxes(pod, before, actions.createSandbox);
    let sandboxId = before.sandboxes[0]?.id;
    if (actions.createSandbox) sandboxId = await this.#makeSandbox(state, actions.attempt);
    if (actions.finished) await this.#stopContainers(pod, pod.spec.terminationGracePeriodSeconds);
    await Promise.all(actions.containersToKill.map((kill) => this.#killContainer(pod, kill)));
    if (actions.containersToKill.some(({ probe }) => probe !== undefined)) return 0;
    const resize = await this.#resizer.apply(state, this.#runtime(pod));
    if (sandboxId === undefined || actions.containersToStart.length === 0) {
      await this.#dropStale(state); // a daemon that died may have left that to us
      return resize;
    }
    const making = { state, sandboxId, volumes, before };
    const retry = await this.#startContainers(making, actions);
    await this.#dropStale(state);
    return earliest(retry, resize);
  }

  /** Creates them, and starts them when the network is up. Gives the milliseconds until it must go on. */
  async #startContainers(making: Making, actions: PodActions): Promise<number | undefined> {
    const { state, sandboxId } = making;
    const { runtime } = this.#context;
    const { spec } = state.pod;
    const specs = actions.containersToStart.map((name) => findContainer(spec, name) as Container);
    const created = await this.#starter.create(making, specs);
    await clockOf(state)
      .step('wait for network', () => runtime.waitForNetwork(sandboxId))
      .catch((error) => {
        throw this.#sandboxFailed(state, error);
      });
    const retry = earliest(created.retryMs, await this.#starter.start(state, created.ids));
    // A sidecar that runs lets the next container begin, and nothing else would tell so.
    const onward = specs.some(({ name }) => kindOf(spec, name) === 'sidecar' && created.ids.has(name));
    return earliest(retry, onward ? 0 : undefined);
  }

  #syncProbes({ pod: asGiven, gone, lastStatus }: PodState): void {
    const pod = lastStatus ? { ...asGiven, status: lastStatus } : asGiven;
    const runtime = this.#runtime(pod);
    const isTerminating = gone || pod.metadata.deletionTimestamp !== undefined;
    this.#context.probes.sync({ pod, runtime, podIP: podAddress(this.#context, pod), isTerminating });
  }

  async #killContainer(pod: Pod, { id, name, message, probe }: ContainerToKill): Promise<void> {
    const ofProbe = probe && findContainer(pod.spec, name)?.[`${probe}Probe`]?.terminationGracePeriodSeconds;
    const graceSeconds = ofProbe ?? pod.spec.terminationGracePeriodSeconds ?? 30;
    await this.#context.stopper.stop({ pod, container: { id, name }, message, graceSeconds });
  }

  /** Forgets containers that nobody asks for any more, and dead sandboxes that hold none. */
  async #dropStale({ pod, messages }: PodState): Promise<void> {
    const { runtime, paths } = this.#context;
    for (const old of staleContainers(this.#runtime(pod))) {
      await runtime.removeContainer(old.id);
      messages.delete(old.id);
      await removeLog(old.logPath);
      rmSync(terminationLogPath(paths, pod.metadata.uid, old.name, old.attempt), { force: true });
    }
    const { sandboxes, containers } = this.#runtime(pod);
    for (const { id } of sandboxes.slice(1))
      if (!containers.some(({ sandboxId }) => sandboxId === id)) await runtime.removePodSandbox(id);
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
    this.#checkNetwork(pod);
    try {
      const config = sandboxConfig({
        pod: allocatedPod(state),
        attempt,
        dns: node.dns,
        nodeHostname: node.hostname,
        limits: node.limits,
      });
      const sandbox = await runtime.runPodSandbox(config, clockOf(state));
      return sandbox.id;
    } catch (error) {
      throw this.#sandboxFailed(state, error);
    }
  }

  /** @throws NotNow while the node has no network for it; one on the node's own network need not wait */
  #checkNetwork(pod: Pod): void {
    const why = pod.spec.hostNetwork ? undefined : this.#context.networkNotReady();
    if (why === undefined) return;
    const message = `network is not ready: ${why}`;
    this.#record(pod, { type: 'Warning', reason: 'NetworkNotReady', message });
    throw new NotNow(message, networkRetryMs);
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

  async #stopContainers(pod: Pod, graceSeconds: number | undefined): Promise<void> {
    const grace = graceSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
    await this.#context.stopper.stopAll(pod, this.#runtime(pod), grace);
  }

  /** Resolves when the API has the status. @throws what the write failed with; the worker tries again */
  async #written(state: PodState): Promise<void> {
    await state.writes;
    const { writeError } = state;
    state.writeError = undefined;
    if (writeError !== undefined) throw writeError;
  }

  async #finish(state: PodState): Promise<SyncOutcome> {
    await this.#stopContainers(state.pod, state.graceOverride);
    this.#context.status.write(state, this.#runtime(state.pod));
    await this.#written(state); // what is given back next is all that knows the exit codes
    return this.#giveBack(state);
  }

  /** A terminal Pod keeps its status, logs and volumes until it is deleted; everything else goes now. */
  async #giveBack(state: PodState): Promise<SyncOutcome> {
    await this.#removeSandboxes(state.pod);
    const { uid } = state.pod.metadata;
    this.#context.probes.forget(uid);
    this.#context.volumes.settle(uid);
    this.#context.references.forget(uid);
    state.finished = true;
    return undefined;
  }

  async #removeSandboxes(pod: Pod): Promise<void> {
    const { runtime } = this.#context;
    const { sandboxes } = this.#runtime(pod);
    for (const sandbox of sandboxes) await runtime.stopPodSandbox(sandbox.id);
    for (const sandbox of sandboxes) await runtime.removePodSandbox(sandbox.id);
  }
}
