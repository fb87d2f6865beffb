// The eviction manager of a real node: its figures, and what its Pods use, from cgroups and disks.
// Assumes each Pod's cgroup is where sandboxes put it. Wiring only.
import type { Logger } from 'pino';
import type { Pod } from '../../api/types.ts';
import type { RuntimeService } from '../../container/cri.ts';
import { messageOf } from '../../exec/errors.ts';
import { cgroupUsage } from '../../kernel/cgroup-usage.ts';
import type { NodePaths } from '../../kernel/paths.ts';
import { podCgroup } from '../../sandbox/sandbox.ts';
import { readFigures } from './figures.ts';
import { measureLocalStorage, totalOf } from './local-storage.ts';
import { EvictionManager, type EvictionOptions, type EvictionSettings } from './manager.ts';
import type { PodUse } from './rank.ts';
import { evictionDefaults, pressureOf, type Signal } from './thresholds.ts';

interface Node {
  readonly paths: NodePaths;
  readonly runtime: RuntimeService;
  readonly log: Logger;
  readonly eviction?: EvictionSettings;
  readonly reclaimDisk?: () => Promise<void>;
  readonly onPressure?: () => void;
}

export function evictionManager(node: Node, acts: Pick<EvictionOptions, 'pods' | 'evict'>): EvictionManager {
  const { paths, log, eviction = { ...evictionDefaults, thresholds: [] } } = node;
  return new EvictionManager({
    ...eviction,
    ...acts,
    read: () => readFigures({ nodefs: paths.state, imagefs: paths.images }),
    use: (pod, { signal }) => podUse(node, pod, signal),
    reclaimDisk: node.reclaimDisk ?? (async () => {}),
    onPressure: node.onPressure ?? (() => {}),
    onError: (error) => log.warn({ err: error }, `eviction: ${messageOf(error)}`),
  });
}

/** Only what the signal is about is measured: a disk takes its time. */
async function podUse(
  { paths, runtime }: Pick<Node, 'paths' | 'runtime'>,
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
