// What the chaos tests share: repeatable chance, and what must hold of a node at rest, told by the kernel.
// Assumes Pods of namespace default whose names nobody else on the machine uses. O(Pods) a check.
import { runtimeUid } from '../../lib/kubelet/layout.ts';
import type { Pod } from '../../lib/api/types.ts';
import type { KernelFacts } from './kernel-facts.ts';

/** Chance that a seed repeats. mulberry32: 32 bits of state, good enough to choose faults by. */
export class Chance {
  #state: number;
  readonly seed: number;
  constructor(seed: number) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** PODWIRE_CHAOS_SEED, or the time. */
  static given(): Chance {
    return new Chance(Number(process.env.PODWIRE_CHAOS_SEED ?? Date.now() % 1_000_000));
  }

  /** 0 ≤ x < 1 */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  of<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }

  /** By weight. */
  choose<K extends string>(weights: Readonly<Record<K, number>>): K {
    const all = Object.entries(weights) as [K, number][];
    let at = this.next() * all.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of all) {
      at -= weight;
      if (at < 0) return name;
    }
    return all[0]![0];
  }
}

const idOf = (containerID: string | undefined): string => containerID?.replace('podwire://', '') ?? '';

export const statusesOf = ({ status }: Pod) => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
];

/** Ids of the containers that the API says run. */
export const runningIds = (pod: Pod): string[] =>
  statusesOf(pod)
    .filter(({ state }) => state?.running)
    .map(({ containerID }) => idOf(containerID));

export const isOver = ({ status }: Pod): boolean => ['Succeeded', 'Failed'].includes(status?.phase ?? '');

/** Running, with every app container ready. */
export const isReady = (pod: Pod | undefined): boolean =>
  pod?.status?.phase === 'Running' &&
  (pod.status.containerStatuses ?? []).every(({ state, ready }) => state?.running && ready);

/** Its namespaces, by the names that a sandbox of this Pod may have. */
export const netnsOf = (facts: KernelFacts, name: string): string[] =>
  Object.keys(facts.netns).filter((netns) => netns.replace(/-[0-9a-f]{10}$/, '') === name);

/**
 * What is not as it must be on a node at rest: every Pod ready or over. `isOurs`: whether a namespace of that Pod name is
 * of this node. Containers that ended keep their records (the last two), never a process.
 */
export function faultsAtRest(
  pods: readonly Pod[],
  facts: KernelFacts,
  isOurs: (pod: string) => boolean,
): string[] {
  const living = pods.filter((pod) => !isOver(pod));
  return [
    ...living.flatMap((pod) => faultsOfPod(pod, facts)),
    ...strays(pods, living, facts, isOurs),
    ...duplicates(living.map(({ status }) => status?.podIP ?? '')).map((ip) => `address ${ip} is two Pods'`),
  ];
}

function faultsOfPod(pod: Pod, facts: KernelFacts): string[] {
  const { name } = pod.metadata;
  const ips = (pod.status?.podIPs ?? []).map(({ ip }) => ip ?? '');
  const own = netnsOf(facts, name);
  const [sandbox = ''] = own;
  const groups = facts.cgroups[`pod${runtimeUid(pod)}`] ?? {};
  const running = runningIds(pod);
  return [
    ...(own.length === 1 ? [] : [`${name}: ${own.length} namespaces: ${own.join(' ')}`]),
    ...(same(facts.netns[sandbox] ?? [], ips)
      ? []
      : [`${name}: has ${JSON.stringify(facts.netns[sandbox])}, its status says ${ips.join()}`]),
    ...ips
      .filter((ip) => facts.leases[ip] !== sandbox)
      .map((ip) => `${name}: lease ${ip} is ${facts.leases[ip]}'s`),
    ...((groups.pause ?? []).length > 0 ? [] : [`${name}: no pause`]),
    ...running.filter((id) => (groups[id] ?? []).length === 0).map((id) => `${name}: ${id} has no process`),
    ...running.filter((id) => !facts.conmons.includes(id)).map((id) => `${name}: ${id} has no conmon`),
  ];
}

function strays(
  pods: readonly Pod[],
  living: readonly Pod[],
  facts: KernelFacts,
  isOurs: (pod: string) => boolean,
): string[] {
  const sandboxes = new Set(living.flatMap(({ metadata }) => netnsOf(facts, metadata.name)));
  const uids = new Set(living.map((pod) => runtimeUid(pod)));
  const known = new Set(pods.map((pod) => runtimeUid(pod)));
  const running = new Set(living.flatMap(runningIds));
  const groups = Object.entries(facts.cgroups);
  const processes = groups.flatMap(([pod, all]) =>
    Object.entries(all).map(([id, pids]) => ({ pod, id, pids })),
  );
  const ofSandbox = (path: string): string | undefined => /\/sandboxes\/([^/]+)/.exec(path)?.[1];
  const ofContainer = (path: string): string | undefined => /\/containers\/([0-9a-f]{64})\//.exec(path)?.[1];
  const ofVolume = (path: string): string | undefined => /\/podwire\/pods\/([^/]+)/.exec(path)?.[1];
  const containers = Object.keys(facts.containers);
  // A dead sandbox's record stays as long as a container of it is kept for its log.
  const kept = new Set(Object.values(facts.containers));
  return [
    ...Object.keys(facts.netns)
      .filter((netns) => isOurs(netns.replace(/-[0-9a-f]{10}$/, '')) && !sandboxes.has(netns))
      .map((netns) => `stray netns ${netns}`),
    ...Object.entries(facts.leases)
      .filter(([, owner]) => !sandboxes.has(owner))
      .map(([ip, owner]) => `leaked lease ${ip} of ${owner}`),
    ...facts.sandboxes.filter((id) => !sandboxes.has(id) && !kept.has(id)).map((id) => `stray sandbox ${id}`),
    ...(facts.ports.length === sandboxes.size
      ? []
      : [`${facts.ports.length} ports on the bridge for ${sandboxes.size} sandboxes`]),
    ...groups
      .filter(([pod]) => /^pod/.test(pod) && !uids.has(pod.slice(3)))
      .map(([pod]) => `stray cgroup ${pod}`),
    ...processes
      .filter(({ id, pids }) => pids.length > 0 && id !== 'pause' && !running.has(id))
      .map(({ pod, id, pids }) => `${pod}/${id}: process ${pids.join()} of no running container`),
    ...facts.conmons.filter((id) => !running.has(id)).map((id) => `stray conmon ${id}`),
    ...duplicates(facts.conmons).map((id) => `two conmons for ${id}`),
    ...facts.mounts
      .filter((path) => {
        const [sandbox, container, volume] = [ofSandbox(path), ofContainer(path), ofVolume(path)];
        if (sandbox !== undefined) return !sandboxes.has(sandbox);
        if (container !== undefined) return !containers.includes(container);
        return volume !== undefined && !known.has(volume);
      })
      .map((path) => `stray mount ${path}`),
    ...facts.overlays.filter((id) => !containers.includes(id)).map((id) => `stray overlay ${id}`),
    ...facts.volumes.filter((uid) => !known.has(uid)).map((uid) => `stray volumes ${uid}`),
  ];
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  [...a].sort().join() === [...b].sort().join();
const duplicates = (list: readonly string[]): string[] => list.filter((one, at) => list.indexOf(one) !== at);
