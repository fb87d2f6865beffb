// CPU and memory of Pods in the kernel's units, and the QoS class they make. Pure. O(containers).
// Source: kubelet's cm.ResourceConfigForPod, MilliCPUToShares, MilliCPUToQuota (period 100 ms).
import { allContainers, lastingContainers, placedContainers } from '../api/pod-containers.ts';
import { quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Container, Pod } from '../api/types.ts';
import type { LinuxResources } from '../container/cri.ts';

type Amounts = Record<string, string | number | undefined>;
/** CPUs (exact to a thousandth) or bytes. */
const amount = (of: unknown, name: 'cpu' | 'memory'): number | undefined => {
  const value = (of as Amounts | undefined)?.[name];
  if (value === undefined) return undefined;
  return name === 'cpu' ? quantityMilli(value) / 1000 : quantityValue(value);
};

/** cpu.shares of that many CPUs: 1024 a CPU, at least 2. */
export const sharesOf = (cpus: number): number => Math.min(262_144, Math.max(2, Math.floor(cpus * 1024)));
/** Microseconds in a period of 100 000; the kernel refuses less than 1000. */
export const quotaOf = (cpus: number): number => Math.max(1000, Math.round(cpus * 100_000));

/** Limits of one container. `pidsLimit` is the node's, 0 for none. */
export function containerResources(container: Container, pidsLimit: number): LinuxResources {
  const { limits, requests } = container.resources ?? {};
  const cpuLimit = amount(limits, 'cpu');
  const memory = amount(limits, 'memory');
  return {
    cpuShares: sharesOf(amount(requests, 'cpu') ?? cpuLimit ?? 0),
    ...(cpuLimit ? { cpuQuota: quotaOf(cpuLimit) } : {}),
    ...(memory ? { memoryLimit: memory } : {}),
    ...(pidsLimit > 0 ? { pidsLimit } : {}),
  };
}

/**
 * What a Pod needs at its most hungry moment: all that lasts together, or an init container beside the sidecars that
 * began before it. Source: k8s.io/component-helpers/resource, PodRequests.
 */
function atMost({ spec }: Pod, of: (container: Container) => number): number {
  let sidecars = 0;
  let whileStarting = 0;
  for (const { container, kind } of placedContainers(spec)) {
    if (kind === 'init') whileStarting = Math.max(whileStarting, sidecars + of(container));
    if (kind === 'sidecar') sidecars += of(container);
  }
  return Math.max(
    whileStarting,
    lastingContainers(spec).reduce((total, container) => total + of(container), 0),
  );
}

/** Limits of the Pod's cgroup: a limit holds only if every container has one. */
export function podResources(pod: Pod, pidsLimit: number): LinuxResources {
  const all = allContainers(pod.spec);
  const sum = (kind: 'limits' | 'requests', name: 'cpu' | 'memory'): number =>
    atMost(pod, (c) => amount(c.resources?.[kind], name) ?? 0);
  const everyLimit = (name: 'cpu' | 'memory'): boolean => all.every((c) => amount(c.resources?.limits, name));
  return {
    cpuShares: sharesOf(sum('requests', 'cpu')),
    ...(everyLimit('cpu') ? { cpuQuota: quotaOf(sum('limits', 'cpu')) } : {}),
    ...(everyLimit('memory') ? { memoryLimit: sum('limits', 'memory') } : {}),
    ...(pidsLimit > 0 ? { pidsLimit } : {}),
  };
}
