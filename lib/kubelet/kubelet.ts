// The kubelet: syncLoop takes Pods from the API and from files, and events from the runtime (PLEG), and wakes the
// worker of the Pod they are about. Assumes it alone manages the Pods of its node name.
// O(changes) while it runs; one list at start; housekeeping every 30 s is O(Pods).
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Client, WatchEvent } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { Pod } from '../api/types.ts';
import type { ImageService, RuntimeService } from '../container/cri.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { EventRecorder } from './events.ts';
import { ImagePuller } from './images.ts';
import { isMirrorPod, isStaticPod, runtimeUid } from './layout.ts';
import { newPodState, type PodState } from './pod-state.ts';
import { PodWorkers, type SyncOutcome } from './pod-workers.ts';
import { type StaticPod, watchStaticPods } from './static-pods.ts';
import { MirrorClient } from './mirror.ts';
import { StatusManager } from './status-manager.ts';
import type { NodeFacts } from './sync-context.ts';
import { PodSyncer } from './sync-pod.ts';
import { tearDownPodDir } from './volumes.ts';

export interface KubeletOptions {
  readonly client: Client;
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  readonly paths: NodePaths;
  readonly node: NodeFacts;
  readonly log: Logger;
  /** Parses, defaults and validates a static Pod's manifest; throws with the field. */
  readonly decodePod: (document: unknown) => Pod;
}

const housekeepingMs = 30_000;

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #pods = new Map<string, PodState>();
  readonly #workers: PodWorkers;
  readonly #syncer: PodSyncer;
  readonly #status: StatusManager;
  readonly #mirror: MirrorClient;
  readonly events: EventRecorder;
  readonly #stop = new AbortController();
  #housekeeper: NodeJS.Timeout | undefined;
  #loop: Promise<void> = Promise.resolve();
  #draining = false;

  constructor(options: KubeletOptions) {
    const { client, runtime, images, paths, node, log } = options;
    this.#options = options;
    this.events = new EventRecorder(client, node.name, log);
    this.#mirror = new MirrorClient(client, log);
    this.#status = new StatusManager({ client, paths, hostIP: node.ip, log });
    this.#syncer = new PodSyncer({
      paths,
      runtime,
      images: new ImagePuller(images),
      events: this.events,
      status: this.#status,
      node,
    });
    this.#workers = new PodWorkers((uid) => this.#sync(uid), log);
  }

  /** Adopts what an earlier kubelet left, takes up all Pods, and resolves; the loop goes on until close(). */
  async start(): Promise<void> {
    const { client, runtime, node, paths, log, decodePod } = this.#options;
    await runtime.recover();
    runtime.onEvent((event) => this.#handlePlegEvent(event.podUid));
    const fieldSelector = `spec.nodeName=${node.name}`;
    const { items, resourceVersion } = await client.list('pods', { fieldSelector });
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
    this.#loop = this.#syncLoop(fieldSelector, resourceVersion);
    this.#housekeeper = setInterval(() => void this.housekeeping(), housekeepingMs);
  }

  /** Stops looking; Pods go on. */
  async close(): Promise<void> {
    this.#stop.abort();
    clearInterval(this.#housekeeper);
    await this.#workers.close();
    await this.#loop;
    await this.events.flush();
    await this.#options.runtime.close();
  }

  /** Takes every Pod down, static ones too, and takes up no more. @throws when some are still there in the end */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    for (const uid of this.#pods.keys()) this.#handlePodRemove(uid);
    for (const until = Date.now() + timeoutMs; this.#pods.size > 0; await setTimeout(20)) {
      if (Date.now() < until) continue;
      const left = [...this.#pods.values()].map(
        ({ pod }) => `${pod.metadata.namespace}/${pod.metadata.name}`,
      );
      throw new PodwireError('DRAIN_TIMEOUT', `still there after ${timeoutMs / 1000} s: ${left.join(', ')}`);
    }
    await this.housekeeping();
  }

  async #syncLoop(fieldSelector: string, from: string): Promise<void> {
    const { client, log } = this.#options;
    const signal = this.#stop.signal;
    let resourceVersion: string | undefined = from;
    while (!signal.aborted) {
      try {
        for await (const event of client.watch('pods', { fieldSelector, resourceVersion, signal })) {
          resourceVersion = event.object.metadata.resourceVersion;
          this.#handleWatchEvent(event);
        }
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error }, `watch of pods broke: ${messageOf(error)}; listing again`);
        if (!isReason(error, 'Expired') && !isReason(error, 'Gone')) await setTimeout(1000);
        resourceVersion = await this.#relist(fieldSelector);
      }
    }
  }

  /** After a watch that broke: what is there is an update, what we know and is not there any more was removed. */
  async #relist(fieldSelector: string): Promise<string | undefined> {
    try {
      const { items, resourceVersion } = await this.#options.client.list('pods', { fieldSelector });
      const there = new Set(items.map((pod) => pod.metadata.uid));
      for (const pod of items) this.#handlePodUpdate(pod);
      for (const [uid, state] of this.#pods)
        if (!there.has(uid) && !isStaticPod(state.pod)) this.#handlePodRemove(uid);
      return resourceVersion;
    } catch (error) {
      this.#options.log.warn({ err: error }, 'list of pods failed');
      return undefined;
    }
  }

  #handleWatchEvent(event: WatchEvent<Pod>): void {
    if (event.type === 'BOOKMARK') return;
    const pod = event.object as Pod;
    if (isMirrorPod(pod)) {
      // A mirror only shows a static Pod; when somebody removes it, it is made again.
      if (event.type === 'DELETED' || pod.metadata.deletionTimestamp) this.#workers.wake(runtimeUid(pod));
      return;
    }
    if (event.type === 'DELETED') this.#handlePodRemove(pod.metadata.uid);
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
    if (wantsSync(before, pod)) this.#workers.wake(uid);
    if (graceShortened(before, pod)) this.#hurry(pod);
  }

  #handlePodRemove(uid: string): void {
    const state = this.#pods.get(uid);
    if (!state) return;
    state.gone = true;
    this.#workers.wake(uid);
  }

  #handleStaticPods(pods: readonly StaticPod[]): void {
    if (this.#draining) return;
    const wanted = new Set(pods.map(({ pod }) => pod.metadata.uid));
    for (const { pod } of pods) {
      if (this.#pods.has(pod.metadata.uid)) continue;
      this.#pods.set(pod.metadata.uid, newPodState(pod));
      this.#workers.wake(pod.metadata.uid);
    }
    for (const [uid, state] of this.#pods)
      if (isStaticPod(state.pod) && !wanted.has(uid)) this.#handlePodRemove(uid);
  }

  #handlePlegEvent(uid: string): void {
    if (this.#pods.has(uid)) this.#workers.wake(uid);
  }

  /** A second delete with less grace: containers that are being stopped are stopped sooner. */
  #hurry(pod: Pod): void {
    const grace = pod.metadata.deletionGracePeriodSeconds ?? 0;
    for (const container of this.#options.runtime.listContainers())
      if (container.podUid === pod.metadata.uid && container.state === 'running')
        this.#options.runtime
          .stopContainer(container.id, grace)
          .catch((error) =>
            this.#options.log.warn({ err: error, pod: pod.metadata.name }, 'stopping sooner failed'),
          );
  }

  async #sync(uid: string): Promise<SyncOutcome> {
    const state = this.#pods.get(uid);
    if (!state) return 'done';
    const isStatic = isStaticPod(state.pod);
    if (state.gone || state.pod.metadata.deletionTimestamp) {
      const outcome = await this.#syncer.syncTerminatingPod(state);
      if (isStatic) await this.#mirror.remove(state.pod);
      this.#pods.delete(uid);
      return outcome;
    }
    if (isStatic) await this.#mirror.ensure(state);
    return this.#syncer.syncPod(state);
  }

  /** Takes down what the node has of Pods that nobody knows. */
  async housekeeping(): Promise<void> {
    const { runtime, paths, log } = this.#options;
    const orphans = runtime.listPodSandboxes().filter((sandbox) => !this.#pods.has(sandbox.uid));
    for (const sandbox of orphans) {
      log.info(
        { sandbox: sandbox.id, pod: sandbox.name, namespace: sandbox.namespace },
        'removing orphaned sandbox',
      );
      try {
        await runtime.stopPodSandbox(sandbox.id);
        await runtime.removePodSandbox(sandbox.id);
      } catch (error) {
        log.error({ err: error, sandbox: sandbox.id }, `orphaned sandbox not removed: ${messageOf(error)}`);
      }
    }
    const dirs = existsSync(paths.pods) ? readdirSync(paths.pods) : [];
    for (const uid of dirs.filter((name) => !this.#pods.has(name)))
      await tearDownPodDir(paths.pods, uid).catch((error) =>
        log.error({ err: error, uid }, 'orphaned volumes'),
      );
  }
}

/** Status writes come back as updates too; only these changes are work. */
function wantsSync(before: Pod, after: Pod): boolean {
  return (
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    (before.spec !== after.spec && JSON.stringify(before.spec) !== JSON.stringify(after.spec))
  );
}

function graceShortened(before: Pod, after: Pod): boolean {
  const grace = after.metadata.deletionGracePeriodSeconds;
  const known = before.metadata.deletionGracePeriodSeconds;
  return grace !== undefined && known !== undefined && grace < known;
}
