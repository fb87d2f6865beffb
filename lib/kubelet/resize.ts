// Resizing a Pod in place: what it was allocated, what its containers have, and what is to be done about the difference.
// Pure. Assumes desired resources in the spec, allocated ones here, and the actual ones in the Pod's status, from where a new
// daemon takes them up. O(containers). Source: pkg/kubelet/allocation and kuberuntime's doPodResizeAction, v1.34.
import { isDeepStrictEqual } from 'node:util';
import { lastingContainers, statusOfContainer } from '../api/pod-containers.ts';
import { type Amounts, amountsOf, podRequests } from '../api/pod-requests.ts';
import type { Container, Pod } from '../api/types.ts';
import type { LinuxResources } from '../container/cri.ts';
import { shortage, shortageText } from './fit.ts';

export type Requirements = NonNullable<Container['resources']>;
/** By container name. */
export type Sizes = ReadonlyMap<string, Requirements>;

/** Deferred: not now · Infeasible: never on this node. */
export interface Refusal {
  readonly reason: 'Deferred' | 'Infeasible';
  readonly message: string;
}

export interface Resizing {
  /** What the node has agreed to. */
  allocated: Sizes;
  /** What the containers have. */
  applied: Sizes;
  /** Why the node does not agree to what the spec asks for: Deferred, Infeasible. */
  pending?: Refusal | undefined;
  /** What keeps the containers from having what was agreed to. */
  error?: string | undefined;
}

const sizeOf = ({ resources }: Container): Requirements => resources ?? {};

/** What the spec asks for. */
export const desiredSizes = ({ spec }: Pod): Sizes =>
  new Map(lastingContainers(spec).map((container) => [container.name, sizeOf(container)]));

/** When the kubelet first sees a Pod: one that ran has what its status says. */
export function startResizing(pod: Pod): Resizing {
  const sizes = new Map(
    lastingContainers(pod.spec).map((container) => [
      container.name,
      statusOfContainer(pod.status, container.name)?.resources ?? sizeOf(container),
    ]),
  );
  return { allocated: sizes, applied: sizes };
}

/** The Pod with other resources; the same object where they are its own. */
export function withSizes(pod: Pod, sizes: Sizes): Pod {
  if (isDeepStrictEqual(desiredSizes(pod), sizes)) return pod;
  const sized = (container: Container): Container => ({
    ...container,
    resources: sizes.get(container.name) ?? sizeOf(container),
  });
  const { containers, initContainers } = pod.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      containers: containers.map(sized),
      ...(initContainers ? { initContainers: initContainers.map(sized) } : {}),
    },
  };
}

export type Decision = 'nothing' | 'allocate' | Refusal;

/** Whether the node agrees to what the spec asks for now. */
export function decideResize(input: {
  readonly pod: Pod;
  readonly allocated: Sizes;
  readonly others: readonly Pod[];
  readonly allocatable: Amounts;
}): Decision {
  const { pod, allocated, others, allocatable } = input;
  if (isDeepStrictEqual(desiredSizes(pod), allocated)) return 'nothing';
  const wanted = podRequests(pod.spec);
  for (const resource of ['cpu', 'memory']) {
    const requested = wanted[resource] ?? 0;
    const capacity = allocatable[resource] ?? Number.POSITIVE_INFINITY;
    if (requested > capacity) {
      const numbers = `requested: ${requested}, capacity: ${capacity}`;
      return { reason: 'Infeasible', message: `Node didn't have enough capacity: ${resource}, ${numbers}` };
    }
  }
  const { cpu = 0, memory = 0 } = allocatable;
  const short = shortage(pod, others, { cpu, memory });
  return short ? { reason: 'Deferred', message: shortageText(short) } : 'allocate';
}

export interface ContainerChange {
  readonly name: string;
  /** Its resizePolicy wants it to begin anew with what changed. */
  readonly restart: boolean;
}

/** The containers that do not have what was allocated to them. */
export function containerChanges(pod: Pod, { allocated, applied }: Resizing): ContainerChange[] {
  return lastingContainers(pod.spec).flatMap(({ name, resizePolicy = [] }) => {
    const [now, was] = [allocated.get(name) ?? {}, applied.get(name) ?? {}];
    if (isDeepStrictEqual(now, was)) return [];
    const restart = resizePolicy.some(
      ({ resourceName, restartPolicy }) =>
        restartPolicy === 'RestartContainer' && differs(now, was, resourceName),
    );
    return [{ name, restart }];
  });
}

const differs = (a: Requirements, b: Requirements, resource: string): boolean =>
  (['limits', 'requests'] as const).some(
    (list) => amountsOf(a[list])[resource] !== amountsOf(b[list])[resource],
  );

/** What holds for the Pod's group while its containers change: the larger of each; no limit is the largest. */
export function roomFor(before: LinuxResources, after: LinuxResources): LinuxResources {
  const larger = (name: 'cpuShares' | 'cpuQuota' | 'memoryLimit'): object => {
    const [was, will] = [before[name], after[name]];
    return was === undefined || will === undefined ? {} : { [name]: Math.max(was, will) };
  };
  return { ...larger('cpuShares'), ...larger('cpuQuota'), ...larger('memoryLimit') };
}

/** Why a limit of memory cannot be set; the kernel would kill to keep it. */
export function memoryFault(
  what: string,
  { memoryLimit }: LinuxResources,
  usage: number | undefined,
): string | undefined {
  if (memoryLimit === undefined || usage === undefined || usage <= memoryLimit) return undefined;
  return `attempting to set ${what} memory limit (${memoryLimit}) below current usage (${usage})`;
}
