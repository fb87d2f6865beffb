// Ends Pods that take more than they may, or more than the node has: local disk limits and node pressure, on a real node.
// Assumes each Pod's cgroup is where sandboxes put it, and the kubelet's own table of Pods. Costs what its two watches cost.
import type { EventRecorder } from '../../api/events.ts';
import type { Pod } from '../../api/types.ts';
import type { Logger } from 'pino';
import type { RuntimeService } from '../../container/cri.ts';
import { messageOf } from '../../exec/errors.ts';
import { cgroupUsage } from '../../kernel/cgroup-usage.ts';
import type { NodePaths } from '../../kernel/paths.ts';
import { podCgroup } from '../../sandbox/sandbox.ts';
import { deadContainers, type PodState, runtimeStatusOf } from '../pod-state.ts';
import { readFigures } from './figures.ts';
import { LocalStorageLimits, measureLocalStorage, totalOf } from './local-storage.ts';
import { EvictionManager, type EvictionSettings, hardGraceSeconds } from './manager.ts';
import type { PodUse } from './rank.ts';
import { evictionDefaults, pressureOf, type Pressure, type Signal } from './thresholds.ts';

/** What the owner of a kubelet decides. */
export interface EvictionWishes {
  /** When Pods must go for want of memory, disk or processes; never unless told. */
  readonly eviction?: EvictionSettings;
  /** Removes images and the like that no Pod needs, where the disk is short. */
  readonly reclaimDisk?: () => Promise<void>;
  /** The node's conditions are others now. */
  readonly onPressure?: () => void;
}

interface Surroundings extends EvictionWishes {
  readonly paths: NodePaths;
  readonly runtime: RuntimeService;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly pods: ReadonlyMap<string, PodState>;
  /** Its worker has something to do. */
  readonly wake: (podUid: string) => void;
}

export class PodEvictor {
  /** Of emptyDirs and ephemeral-storage. */
  readonly limits: LocalStorageLimits;
  readonly #manager: EvictionManager;
  readonly #options: Surroundings;

  constructor(options: Surroundings) {
    const { paths, runtime, log, pods, eviction = { ...evictionDefaults, thresholds: [] } } = options;
    this.#options = options;
    this.limits = new LocalStorageLimits({
      measure: (pod) => measureLocalStorage({ paths, runtime }, pod),
      onExceeded: (uid, message) => this.#evict(uid, { message, graceSeconds: hardGraceSeconds }),
    });
    this.#manager = new EvictionManager({
      ...eviction,
      read: () => readFigures({ nodefs: paths.state, imagefs: paths.images }),
      pods: () => [...pods.values()].filter(({ finished }) => !finished),
      use: (pod, { signal }) => podUse({ paths, runtime }, pod, signal),
      evict: (pod, how) => this.#evict(pod.metadata.uid, { ...how, disrupted: true }),
      reclaimDisk: () => this.#reclaimDisk(),
      onPressure: options.onPressure ?? (() => {}),
      onError: (error) => log.warn({ err: error }, `eviction: ${messageOf(error)}`),
    });
  }

  start(): void {
    this.#manager.start();
  }

  async close(): Promise<void> {
    this.limits.close();
    await this.#manager.close();
  }

  /** What the node is short of. */
  pressures(): readonly Pressure[] {
    return this.#manager.pressures();
  }

  #evict(uid: string, how: { message: string; graceSeconds: number; disrupted?: boolean }): void {
    const { pods, events, wake } = this.#options;
    const { message, graceSeconds, disrupted = false } = how;
    const state = pods.get(uid);
    if (!state || state.failed || state.finished || state.gone) return;
    state.failed = { reason: 'Evicted', message, disrupted };
    state.graceOverride = graceSeconds;
    events.record(state.pod, { type: 'Warning', reason: 'Evicted', message });
    wake(uid);
  }

  /** Dead containers of which only the status tells; then what the kubelet's owner knows of, images above all. */
  async #reclaimDisk(): Promise<void> {
    const { runtime, pods, reclaimDisk } = this.#options;
    for (const uid of pods.keys())
      for (const { id } of deadContainers(runtimeStatusOf(runtime, uid))) await runtime.removeContainer(id);
    await reclaimDisk?.();
  }
}

/** Nothing of it runs any more. */
export const isOver = ({ finished, pod: { status } }: Pick<PodState, 'finished' | 'pod'>): boolean =>
  finished || status?.phase === 'Succeeded' || status?.phase === 'Failed';

/** Only what the signal is about is measured: a disk takes its time. */
async function podUse(
  { paths, runtime }: Pick<Surroundings, 'paths' | 'runtime'>,
  pod: Pod,
  signal: Signal,
): Promise<PodUse> {
  const { uid } = pod.metadata;
  const group = podCgroup(paths, uid);
  const usage = cgroupUsage(group);
  const base = { pod, memory: usage?.workingSet ?? 0, pids: usage?.pids ?? 0 };
  if (pressureOf(signal) === 'DiskPressure') {
    const disk = await measureLocalStorage({ paths, runtime }, pod);
    return { ...base, disk: totalOf(disk), containers: disk.containers };
  }
  const running = runtime.listContainers().filter((one) => one.podUid === uid && one.state === 'running');
  const containers = new Map(
    running.map(({ id, name }) => [name, cgroupUsage(`${group}/${id}`)?.workingSet ?? 0]),
  );
  return { ...base, disk: 0, containers };
}
