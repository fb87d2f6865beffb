// Local disk of Pods: what they take, and who takes more than its limits (emptyDir sizeLimit, ephemeral-storage).
// Assumes du(1). Pods with a limit are measured every few seconds, at most a twentieth of the time however large they are;
// one that is over is told to its kubelet, once. Source: kubelet's localStorageEviction (it looks every 10 s), v1.34.
import { allContainers } from '../../api/pod-containers.ts';
import { podLimits } from '../../api/pod-requests.ts';
import { quantityValue } from '../../api/quantity.ts';
import type { Pod } from '../../api/types.ts';
import type { RuntimeService } from '../../container/cri.ts';
import { diskUsage } from '../../kernel/disk.ts';
import type { NodePaths } from '../../kernel/paths.ts';
import { podLogDir, runtimeUid } from '../layout.ts';
import { volumeDir } from '../volumes/volume.ts';
import { join } from 'node:path';

/** Bytes. */
export interface LocalStorageUse {
  /** Of emptyDirs on disk. */
  readonly volumes: ReadonlyMap<string, number>;
  /** Logs and writable layers, by container name. */
  readonly containers: ReadonlyMap<string, number>;
}

export const totalOf = ({ volumes, containers }: LocalStorageUse): number =>
  [...volumes.values(), ...containers.values()].reduce((sum, bytes) => sum + bytes, 0);

const resource = 'ephemeral-storage';

interface Limited {
  readonly name: string;
  readonly limit: string | number;
}

/** emptyDirs on disk that have a limit. */
const limitedVolumes = ({ spec }: Pod): Limited[] =>
  (spec.volumes ?? []).flatMap(({ name, emptyDir }) => {
    const { medium = '', sizeLimit } = emptyDir ?? {};
    return medium !== '' || sizeLimit === undefined || quantityValue(sizeLimit) === 0
      ? []
      : [{ name, limit: sizeLimit }];
  });

const limitedContainers = ({ spec }: Pod): Limited[] =>
  allContainers(spec).flatMap(({ name, resources }) => {
    const limit = resources?.limits?.[resource];
    return limit === undefined ? [] : [{ name, limit }];
  });

/** What of a Pod is over its limit, in Kubernetes' words; undefined when all is well. Pure. */
export function localStorageFault(pod: Pod, use: LocalStorageUse): string | undefined {
  const over = ({ limit }: Limited, bytes = 0): boolean => bytes > quantityValue(limit);
  const volume = limitedVolumes(pod).find((one) => over(one, use.volumes.get(one.name)));
  if (volume) return `Usage of EmptyDir volume "${volume.name}" exceeds the limit "${volume.limit}". `;
  const ofPod = podLimits(pod.spec)[resource];
  if (ofPod !== undefined && totalOf(use) > ofPod)
    return `Pod ephemeral local storage usage exceeds the total limit of containers ${printed(pod, ofPod)}. `;
  const container = limitedContainers(pod).find((one) => over(one, use.containers.get(one.name)));
  if (container)
    return `Container ${container.name} exceeded its local ephemeral storage limit "${container.limit}". `;
  return undefined;
}

/** A single container's limit as its manifest has it. */
function printed(pod: Pod, total: number): string {
  const [first, second] = limitedContainers(pod);
  return first && !second ? `${first.limit}` : `${total}`;
}

/** Measures one Pod: logs and emptyDirs by one process, each container's writable layer by the runtime. */
export async function measureLocalStorage(
  { paths, runtime }: { paths: NodePaths; runtime: RuntimeService },
  pod: Pod,
): Promise<LocalStorageUse> {
  const uid = runtimeUid(pod);
  const volumes = (pod.spec.volumes ?? [])
    .filter(({ emptyDir }) => emptyDir && (emptyDir.medium ?? '') === '')
    .map(({ name }) => ({ name, path: volumeDir(paths.pods, pod, { kind: 'empty-dir', name }) }));
  const logs = allContainers(pod.spec).map(({ name }) => ({ name, path: join(podLogDir(paths, pod), name) }));
  const measured = await diskUsage([...volumes, ...logs].map(({ path }) => path));
  const containers = new Map(logs.map(({ name, path }) => [name, measured.get(path) ?? 0]));
  for (const { id, name, podUid } of runtime.listContainers())
    if (podUid === uid)
      containers.set(name, (containers.get(name) ?? 0) + ((await runtime.writableLayerBytes(id)) ?? 0));
  return {
    volumes: new Map(volumes.map(({ name, path }) => [name, measured.get(path) ?? 0])),
    containers,
  };
}

const leastPauseMs = 2000;
const pausePerWork = 20;

export interface LocalStorageOptions {
  readonly measure: (pod: Pod) => Promise<LocalStorageUse>;
  readonly onExceeded: (podUid: string, message: string) => void;
}

export class LocalStorageLimits {
  readonly #options: LocalStorageOptions;
  readonly #pods = new Map<string, Pod>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: LocalStorageOptions) {
    this.#options = options;
  }

  /** Repeatable; costs nothing for a Pod without such limits. */
  watch(pod: Pod): void {
    if (limitedVolumes(pod).length === 0 && limitedContainers(pod).length === 0) return;
    this.#pods.set(pod.metadata.uid, pod);
    this.#schedule(leastPauseMs);
  }

  forget(podUid: string): void {
    this.#pods.delete(podUid);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #schedule(ms: number): void {
    if (this.#timer !== undefined || this.#closed || this.#pods.size === 0) return;
    this.#timer = setTimeout(() => void this.#measureAll(), ms);
    this.#timer.unref();
  }

  async #measureAll(): Promise<void> {
    const begin = Date.now();
    for (const [uid, pod] of this.#pods) {
      const fault = localStorageFault(pod, await this.#options.measure(pod));
      if (fault !== undefined && this.#pods.delete(uid)) this.#options.onExceeded(uid, fault);
    }
    this.#timer = undefined;
    this.#schedule(Math.max(leastPauseMs, (Date.now() - begin) * pausePerWork));
  }
}
