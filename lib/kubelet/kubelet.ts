// The kubelet: syncLoop takes Pods from the API and from files, and events from the runtime (PLEG), and wakes the
// worker of the Pod they are about. Assumes it alone manages the Pods of its node name.
// O(changes) while it runs; one list at start; housekeeping every 30 s is O(Pods).
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Client, WatchEvent } from '../api/client.ts';
import type { Pod } from '../api/types.ts';
import type { ImageService, RuntimeService } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { percentUsed } from '../kernel/disk.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { EventRecorder } from '../api/events.ts';
import type { LogLimits } from '../container/log-rotation.ts';
import { ContainerLogs } from './container-logs.ts';
import { ContainerStopper } from './container-stopper.ts';
import { ImageGc, type ImageGcLimits } from './image-gc.ts';
import { ImagePuller } from './images.ts';
import { housekeeping } from './housekeeping.ts';
import { isMirrorPod, runtimeUid } from './layout.ts';
import { preStopWith } from './hooks.ts';
import type { ProbeResults } from './pod-actions.ts';
import { isMarkedLost } from './pod-conditions.ts';
import { graceShortened, wantsSync } from './pod-changes.ts';
import { allocatedPod, newPodState, type PodState, runtimeStatusOf } from './pod-state.ts';
import { PodSource } from './pod-source.ts';
import { PodWorkers, type SyncOutcome } from './pod-workers.ts';
import { ProbeManager, type ProbeType } from './prober/manager.ts';
import { type StaticPod, watchStaticPods } from './static-pods.ts';
import { MirrorClient } from './mirror.ts';
import { StatusManager } from './status-manager.ts';
import type { NodeFacts } from './sync-context.ts';
import { PodSyncer } from './sync-pod.ts';
import { ReferenceWatcher } from './references.ts';
import type { Pressure } from './eviction/thresholds.ts';
import { type EvictionWishes, isOver, PodEvictor } from './eviction/pod-evictor.ts';
import { VolumeManager } from './volumes/volume-manager.ts';

export interface KubeletOptions extends EvictionWishes {
  readonly client: Client;
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly paths: NodePaths;
  readonly node: NodeFacts;
  readonly log: Logger;
  /** Parses, defaults and validates a static Pod's manifest; throws with the field. */
  readonly decodePod: (document: unknown) => Pod;
  readonly logLimits: LogLimits;
  readonly imageGc: ImageGcLimits;
  /** Why Pods with a network of their own must wait; undefined when they need not. */
  readonly networkNotReady?: () => string | undefined;
}

const housekeepingMs = 30_000;
const statusRetryMs = 1000;
// Of Pods that are taken down with the node: who wants them to end in peace deletes them before.
const drainGraceSeconds = 5;

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #pods = new Map<string, PodState>();
  readonly #workers: PodWorkers;
  readonly #syncer: PodSyncer;
  readonly #status: StatusManager;
  readonly #mirror: MirrorClient;
  readonly #stopper: ContainerStopper;
  readonly #references: ReferenceWatcher;
  readonly #evictor: PodEvictor;
  readonly #probes: ProbeManager;
  readonly #logs: ContainerLogs;
  readonly #imageGc: ImageGc;
  readonly events: EventRecorder;
  readonly #stop = new AbortController();
  #housekeeper: NodeJS.Timeout | undefined;
  #loop: Promise<void> = Promise.resolve();
  #draining = false;
  #recovered: Promise<void> | undefined;
  #staticPods: readonly StaticPod[] = [];

  constructor(options: KubeletOptions) {
    const { client, runtime, images, paths, node, log } = options;
    this.#options = options;
    this.events = new EventRecorder(client, { component: 'kubelet', host: node.name }, log);
    this.#mirror = new MirrorClient(client, log);
    const { events } = this;
    this.#imageGc = new ImageGc({
      images,
      runtime,
      limits: options.imageGc,
      usage: () => percentUsed(paths.state),
      log: { info: (message) => log.info(message), warn: (message) => log.warn(message) },
    });
    const { logLimits: limits } = options;
    this.#logs = new ContainerLogs({
      runtime,
      limits,
      onError: (error) => log.warn({ err: error }, messageOf(error)),
    });
    this.#references = new ReferenceWatcher({ client, log, onChange: (uid) => this.#referenceChanged(uid) });
    this.#evictor = new PodEvictor({
      reclaimDisk: () => this.#imageGc.removeUnused(),
      ...options,
      events,
      pods: this.#pods,
      wake: (uid) => this.#workers.wake(uid),
    });
    const volumes = new VolumeManager({
      podsDir: paths.pods,
      data: this.#references,
      node: node.amounts,
      events: this.events,
      limits: this.#evictor.limits,
    });
    const probes = new ProbeManager({
      runtime,
      events,
      onChange: (uid, type) => this.#handleProbe(uid, type),
    });
    this.#probes = probes;
    const probesOf = (pod: Pod): ProbeResults => probes.resultsOf(pod);
    const retry = (uid: string): void => this.#wakeLater(uid);
    const status = new StatusManager({ client, paths, hostIP: node.ip, probesOf, retry, log });
    this.#status = status;
    const preStop = preStopWith({ runtime, events, node });
    const stopper = new ContainerStopper({ runtime, events, preStop });
    this.#stopper = stopper;
    this.#syncer = new PodSyncer({
      references: this.#references,
      volumes,
      paths,
      runtime,
      images: new ImagePuller(images),
      events,
      status,
      stopper,
      probes,
      node,
      networkNotReady: options.networkNotReady ?? (() => undefined),
      otherPods: (pod) => this.#otherPods(pod),
      pressures: () => this.pressures(),
    });
    this.#workers = new PodWorkers((uid) => this.#sync(uid), log);
  }

  /** Adopts what an earlier kubelet left; no Pod is begun or ended. */
  recover(): Promise<void> {
    this.#recovered ??= this.#options.runtime.recover();
    return this.#recovered;
  }

  /** Adopts what an earlier kubelet left, takes up all Pods, and resolves; the loop goes on until close(). */
  async start(): Promise<void> {
    const { client, runtime, node, paths, log, decodePod } = this.#options;
    await this.recover();
    runtime.onEvent((event) => this.#handlePlegEvent(event.podUid));
    const source = new PodSource({
      client,
      nodeName: node.name,
      log,
      signal: this.#stop.signal,
      onEvent: (event) => this.#handleWatchEvent(event),
      onList: (pods) => this.#handleList(pods),
    });
    const { items, resourceVersion } = await source.list();
    for (const pod of items) this.#handlePodUpdate(pod);
    watchStaticPods({
      dir: paths.manifests,
      nodeName: node.name,
      decode: decodePod,
      log,
      signal: this.#stop.signal,
      onChange: (pods) => this.#handleStaticPods(pods),
    });
    await this.housekeeping();
    this.#logs.start();
    this.#imageGc.start();
    this.#loop = source.follow(resourceVersion);
    this.#evictor.start();
    this.#housekeeper = setInterval(() => {
      this.housekeeping().catch((error) => log.error({ err: error }, `housekeeping: ${messageOf(error)}`));
    }, housekeepingMs);
  }

  /** Stops looking; Pods go on. */
  async close(): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#housekeeper);
    this.#imageGc.close();
    await this.#logs.close();
    await this.#evictor.close();
    this.#references.close();
    this.#probes.close();
    for (const { going } of this.#pods.values()) going.abort(); // a hook may take for ever
    await this.#workers.close();
    await this.#loop;
    await this.events.flush();
    await this.#options.runtime.close();
  }

  /** Looks at every Pod again, as something that they all wait for is there. */
  wakeAll(): void {
    for (const uid of this.#pods.keys()) this.#workers.wake(uid);
  }

  /** Takes every Pod down, static ones too, and takes up no more. @throws when some are still there in the end */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    try {
      for (const uid of this.#pods.keys()) this.#handlePodRemove(uid, drainGraceSeconds);
      for (const until = Date.now() + timeoutMs; this.#pods.size > 0; await setTimeout(20))
        if (Date.now() >= until) throw this.#notDrained(timeoutMs);
      await this.housekeeping();
    } catch (error) {
      this.#draining = false; // it goes on as a kubelet that takes Pods up
      throw error;
    }
  }

  #notDrained(timeoutMs: number): PodwireError {
    const left = [...this.#pods].map(([uid, { pod }]) => {
      const why = this.#workers.lastError(uid);
      return `${pod.metadata.namespace}/${pod.metadata.name}${why ? ` (${why})` : ''}`;
    });
    return new PodwireError('DRAIN_TIMEOUT', `still there after ${timeoutMs / 1000} s: ${left.join(', ')}`);
  }

  /** After a watch that broke: what is there is an update, what we know and is not there any more was removed. */
  #handleList(pods: readonly Pod[]): void {
    const there = new Set(pods.map((pod) => pod.metadata.uid));
    for (const pod of pods) this.#handlePodUpdate(pod);
    for (const [uid, state] of this.#pods)
      if (!there.has(uid) && !state.isStatic) this.#handlePodRemove(uid, 0);
      else this.#workers.wake(uid); // what could not be written while the API was away is written now
  }

  #handleWatchEvent(event: WatchEvent<Pod>): void {
    if (event.type === 'BOOKMARK') return;
    const pod = event.object as Pod;
    if (isMirrorPod(pod)) {
      // A mirror only shows a static Pod; when somebody removes it, it is made again.
      if (event.type === 'DELETED' || pod.metadata.deletionTimestamp) this.#workers.wake(runtimeUid(pod));
      else this.#takeBack(pod);
      return;
    }
    // Its object goes last; one that goes while its containers run was removed by force.
    if (event.type === 'DELETED') this.#handlePodRemove(pod.metadata.uid, 0);
    else this.#handlePodUpdate(pod);
  }

  #handlePodUpdate(pod: Pod): void {
    if (isMirrorPod(pod) || this.#draining) return;
    const { uid } = pod.metadata;
    const known = this.#pods.get(uid);
    if (!known) {
      const state = newPodState(pod);
      this.#pods.set(uid, state);
      this.#workers.wake(uid);
      return;
    }
    const before = known.pod;
    known.pod = pod;
    if (pod.metadata.deletionTimestamp) known.going.abort();
    if (wantsSync(before, pod)) this.#workers.wake(uid);
    this.#takeBack(pod);
    if (graceShortened(before, pod)) this.#stopper.hurry(uid, pod.metadata.deletionGracePeriodSeconds ?? 0);
  }

  /** While we were not heard of, our Pods were said to be not ready: their status is written again. */
  #takeBack(pod: Pod): void {
    const uid = runtimeUid(pod);
    const state = this.#pods.get(uid);
    if (!state || !isMarkedLost(pod)) return;
    state.lastStatus = undefined;
    this.#workers.wake(uid);
  }

  /** `graceSeconds`: for its containers; absent: what its spec says. */
  #handlePodRemove(uid: string, graceSeconds?: number): void {
    const state = this.#pods.get(uid);
    if (!state) return;
    state.gone = true;
    state.going.abort();
    state.graceOverride = graceSeconds;
    this.#workers.wake(uid);
    if (graceSeconds !== undefined) this.#stopper.hurry(uid, graceSeconds);
  }

  #handleStaticPods(pods: readonly StaticPod[]): void {
    if (this.#draining) return;
    this.#staticPods = pods;
    const wanted = new Set(pods.map(({ pod }) => pod.metadata.uid));
    for (const { pod } of pods) {
      if (this.#pods.has(pod.metadata.uid)) continue;
      this.#pods.set(pod.metadata.uid, newPodState(pod, 'file'));
      this.#workers.wake(pod.metadata.uid);
    }
    for (const [uid, state] of this.#pods)
      if (state.isStatic && !state.gone && !wanted.has(uid)) this.#handlePodRemove(uid);
  }

  /** Readiness is told at once, whatever the Pod's worker is at; what else a probe finds is the worker's to act on. */
  #handleProbe(uid: string, type: ProbeType): void {
    const state = this.#pods.get(uid);
    if (!state || state.finished || state.failed) return;
    this.#status.write(state, runtimeStatusOf(this.#options.runtime, uid));
    if (type !== 'readiness') this.#workers.wake(uid);
  }

  /** What failed outside of a sync is tried again by the next one. */
  #wakeLater(uid: string): void {
    setTimeout(statusRetryMs, undefined, { signal: this.#stop.signal, ref: false }).then(
      () => this.#handlePlegEvent(uid),
      () => {}, // it is closing
    );
  }

  #handlePlegEvent(uid: string): void {
    if (this.#pods.has(uid)) this.#workers.wake(uid);
  }

  /** A ConfigMap or Secret: volumes are written anew, and containers that waited for it need not wait longer. */
  #referenceChanged(uid: string): void {
    const state = this.#pods.get(uid);
    if (!state) return;
    for (const [name, { reason }] of state.waiting)
      if (reason === 'CreateContainerConfigError') state.failedAt.delete(name);
    this.#workers.wake(uid);
  }

  /** What the node is short of. */
  pressures(): readonly Pressure[] {
    return this.#evictor.pressures();
  }

  /** There is more room now: Pods that wait to be larger ask again. */
  #wakeDeferred(): void {
    for (const [uid, { sizes }] of this.#pods) if (sizes?.pending) this.#workers.wake(uid);
  }

  #otherPods({ metadata: { uid } }: Pod): Pod[] {
    const states = [...this.#pods.values()].filter(
      (state) => state.admitted && state.pod.metadata.uid !== uid && !state.failed && !isOver(state),
    );
    return states.map(allocatedPod);
  }

  /** The Pods of this node as they are known here, whether the API can be asked or not. */
  pods(): Pod[] {
    return [...this.#pods.values()].map(({ pod, lastStatus }) =>
      lastStatus ? { ...pod, status: lastStatus } : pod,
    );
  }

  async #sync(uid: string): Promise<SyncOutcome> {
    const state = this.#pods.get(uid);
    if (!state) return 'done';
    const { isStatic } = state;
    if (state.gone || state.pod.metadata.deletionTimestamp) {
      const outcome = await this.#syncer.syncTerminatingPod(state);
      if (isStatic) await this.#mirror.remove(state.pod);
      this.#pods.delete(uid);
      this.#wakeDeferred();
      if (isStatic) this.#handleStaticPods(this.#staticPods); // its file may have come back meanwhile
      return outcome;
    }
    if (isStatic) {
      await this.#mirror.ensure(state);
      // What a Pod of the API is told by its object: a reboot must not begin its counts anew, nor run again what is over.
      if (state.lastStatus) state.pod = { ...state.pod, status: state.lastStatus };
    }
    return this.#syncer.syncPod(state);
  }

  /** Takes down what the node has of Pods that nobody knows. */
  async housekeeping(): Promise<void> {
    const { client, runtime, paths, node, log } = this.#options;
    const isKnown = (uid: string): boolean => this.#pods.has(uid);
    await housekeeping({ client, runtime, paths, nodeName: node.name, mirror: this.#mirror, log, isKnown });
  }
}
