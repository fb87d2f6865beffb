// A Pod's volumes on the node: set up before its first container, kept up to date, torn down after its last.
// Assumes one call a Pod at a time (its worker's), which may be repeated at any point, also by a new daemon.
// A Pod without volumes costs nothing; one whose sources did not change costs a comparison of objects.
import { rmSync } from 'node:fs';
import { allContainers, ephemeralContainers } from '../../api/pod-containers.ts';
import type { Pod, Volume } from '../../api/types.ts';
import { messageOf, PodwireError } from '../../exec/errors.ts';
import { listMounts, mountTmpfs, unmountAll } from '../../kernel/mount.ts';
import type { EventRecorder } from '../../api/events.ts';
import type { NodeAmounts } from '../field-refs.ts';
import type { DataSource } from '../references.ts';
import { isWritten, makeVolumeDir, writeAtomically } from './atomic-writer.ts';
import { type Contents, contentsOf } from './contents.ts';
import { setUpEmptyDir } from './empty-dir.ts';
import { setUpHostPath } from './host-path.ts';
import type { LocalStorageLimits } from '../eviction/local-storage.ts';
import {
  type Payload,
  type PodVolumes,
  podDir,
  VolumeError,
  volumeDir,
  type VolumeOnNode,
} from './volume.ts';

export interface VolumeManagerOptions {
  readonly podsDir: string;
  readonly data: DataSource;
  readonly node: NodeAmounts;
  readonly events: EventRecorder;
  readonly limits: LocalStorageLimits;
}

const unwrittenRetryMs = 5000;

export class VolumeManager {
  readonly #options: VolumeManagerOptions;
  /** Why a volume that stands could not be brought up to date, by Pod uid and volume: told once. */
  readonly #stale = new Map<string, string>();
  /** Of these, whose new contents are there and could not be written: nothing but time tells when they can. */
  readonly #unwritten = new Set<string>();

  constructor(options: VolumeManagerOptions) {
    this.#options = options;
  }

  /**
   * Makes what is missing and writes what changed, of the volumes that a container mounts: others are nobody's, as with
   * the kubelet. @throws VolumeError while something is missing
   */
  async setUp(pod: Pod): Promise<PodVolumes> {
    const { limits } = this.#options;
    const volumes = new Map<string, VolumeOnNode>();
    const mounted = mountedVolumes(pod);
    for (const volume of pod.spec.volumes ?? []) {
      if (!mounted.has(volume.name)) continue;
      try {
        volumes.set(volume.name, await this.#setUp(pod, volume));
      } catch (error) {
        if (error instanceof VolumeError) throw error;
        throw new VolumeError(volume.name, messageOf(error), { cause: error });
      }
    }
    limits.watch(pod);
    return volumes;
  }

  /** Milliseconds until a volume should be written again that could not be brought up to date, as on a full disk. */
  retryMs(podUid: string): number | undefined {
    return [...this.#unwritten].some((key) => key.startsWith(`${podUid}/`)) ? unwrittenRetryMs : undefined;
  }

  /** Its containers have ended: its volumes change no more. */
  settle(podUid: string): void {
    this.#options.limits.forget(podUid);
  }

  /** Unmounts and removes all that a Pod had on the node's disk. Repeatable. */
  async tearDown(podUid: string): Promise<void> {
    this.settle(podUid);
    for (const key of this.#stale.keys()) if (key.startsWith(`${podUid}/`)) this.#forget(key);
    await tearDownPodDir(this.#options.podsDir, podUid);
  }

  async #setUp(pod: Pod, volume: Volume): Promise<VolumeOnNode> {
    const { podsDir } = this.#options;
    if (volume.emptyDir) return setUpEmptyDir(podsDir, pod, volume);
    if (volume.hostPath) return setUpHostPath(volume.name, volume.hostPath);
    const contents = contentsOf({ pod, ...this.#options }, volume);
    if (!contents) throw new VolumeError(volume.name, 'this kind of volume is not supported');
    const path = volumeDir(podsDir, pod, { kind: contents.kind, name: volume.name });
    await this.#write(pod, { name: volume.name, path, contents });
    return { path, readOnly: true };
  }

  /** A volume that was written stays as it is while its source is missing: containers live with it. */
  async #write(pod: Pod, volume: { name: string; path: string; contents: Contents }): Promise<void> {
    const { name, path, contents } = volume;
    const key = `${pod.metadata.uid}/${name}`;
    const gid = pod.spec.securityContext?.fsGroup;
    let payload: Payload | undefined;
    try {
      payload = await contents.read();
      makeVolumeDir(path);
      if (contents.inMemory && !listMounts(path).includes(path))
        await mountTmpfs({ target: path, options: 'mode=0755,nosuid,nodev' });
      writeAtomically(path, payload, { gid });
      this.#forget(key);
    } catch (error) {
      const told = new VolumeError(name, messageOf(error), { cause: error });
      if (!isWritten(path)) throw told;
      if (payload) this.#unwritten.add(key);
      if (this.#stale.get(key) === told.message) return;
      this.#stale.set(key, told.message);
      const { events } = this.#options;
      events.record(pod, { type: 'Warning', reason: 'FailedMount', message: told.message });
    }
  }

  #forget(key: string): void {
    this.#stale.delete(key);
    this.#unwritten.delete(key);
  }
}

/** Source: kubelet's GetPodVolumeNames. */
function mountedVolumes({ spec }: Pod): ReadonlySet<string> {
  const containers = [...allContainers(spec), ...ephemeralContainers(spec)];
  return new Set(containers.flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name)));
}

/** Unmounts and removes all that a Pod had on the node's disk. Never follows a mount. Repeatable. */
export async function tearDownPodDir(podsDir: string, uid: string): Promise<void> {
  const dir = podDir(podsDir, uid);
  await unmountAll(dir);
  const left = listMounts(dir);
  // Removing through a mount that would not go could delete what belongs to somebody else.
  if (left.length > 0)
    throw new PodwireError('VOLUME_BUSY', `${left.join(', ')}: still mounted, not removed`);
  rmSync(dir, { recursive: true, force: true });
}
