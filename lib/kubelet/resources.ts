// Resources of Pods in the kernel's units: cpu, memory, huge pages, processes, and who dies first for want of memory.
// Pure; O(containers). Source: kubelet's cm.ResourceConfigForPod, MilliCPUToShares, MilliCPUToQuota (period 100 ms),
// qos.GetContainerOOMScoreAdjust, v1.34. Memory QoS (memory.min, memory.high) is off there, and here.
import { qosClassOf } from '../api/defaulting.ts';
import { allContainers } from '../api/pod-containers.ts';
import { type Amounts, amountsOf, podLimits, podRequests } from '../api/pod-requests.ts';
import type { Container, Pod, PodSpec } from '../api/types.ts';
import type { LinuxResources } from '../container/cri.ts';

/** What the node's own settings and size make of a limit. */
export interface NodeLimits {
  /** 0: no limit. */
  readonly pidsLimit: number;
  /** Bytes. */
  readonly memory: number;
  /** The lowest oom_score_adj that the daemon may give; -1000 with CAP_SYS_RESOURCE. */
  readonly leastOomScore: number;
  /** Sizes of which the machine has huge pages, as resources: hugepages-2Mi. */
  readonly hugePages: readonly string[];
}

/** cpu.shares of that many thousandths of a CPU: 1024 a CPU, at least 2. */
export const sharesOf = (milli: number): number =>
  Math.min(262_144, Math.max(2, Math.floor((milli * 1024) / 1000)));
/** Microseconds in a period of 100 000; the kernel refuses less than 1000. */
export const quotaOf = (milli: number): number => Math.max(1000, milli * 100);

/** The kernel's name of a size: 2MB of hugepages-2Mi. */
export const pageSizeOf = (resource: string): string => resource.replace('hugepages-', '').replace(/i$/, 'B');

/** Who has no limit on a size gets none of its pages. */
function hugePageLimits(limits: Amounts, { hugePages }: NodeLimits): Pick<LinuxResources, 'hugepageLimits'> {
  if (hugePages.length === 0) return {};
  return {
    hugepageLimits: Object.fromEntries(hugePages.map((name) => [pageSizeOf(name), limits[name] ?? 0])),
  };
}

const pidsLimitOf = ({ pidsLimit }: NodeLimits): Pick<LinuxResources, 'pidsLimit'> =>
  pidsLimit > 0 ? { pidsLimit } : {};

/** Limits of one container. */
export function containerResources(pod: Pod, container: Container, node: NodeLimits): LinuxResources {
  const limits = amountsOf(container.resources?.limits);
  const requests = amountsOf(container.resources?.requests);
  return {
    cpuShares: sharesOf(requests.cpu ?? limits.cpu ?? 0),
    ...(limits.cpu ? { cpuQuota: quotaOf(limits.cpu) } : {}),
    ...(limits.memory ? { memoryLimit: limits.memory } : {}),
    ...pidsLimitOf(node),
    ...hugePageLimits(limits, node),
    oomScoreAdj: Math.max(node.leastOomScore, oomScoreAdj(pod.spec, requests.memory ?? 0, node.memory)),
  };
}

/** Limits of the Pod's cgroup: a limit holds only if every container has one. */
export function podResources(pod: Pod, node: NodeLimits): LinuxResources {
  const limits = podLimits(pod.spec);
  const all = allContainers(pod.spec).map(({ resources }) => amountsOf(resources?.limits));
  const everyLimit = (name: 'cpu' | 'memory'): boolean => all.every((one) => one[name]);
  return {
    cpuShares: sharesOf(podRequests(pod.spec).cpu ?? 0),
    ...(everyLimit('cpu') ? { cpuQuota: quotaOf(limits.cpu as number) } : {}),
    ...(everyLimit('memory') ? { memoryLimit: limits.memory as number } : {}),
    ...pidsLimitOf(node),
    ...hugePageLimits(limits, node),
  };
}

const guaranteedOomScore = -997;

/** -1000 (never) to 1000 (first): whom the kernel kills when the machine's memory ends. */
function oomScoreAdj(spec: PodSpec, memoryRequest: number, nodeMemory: number): number {
  const qos = qosClassOf(spec);
  if (qos === 'Guaranteed' || spec.priorityClassName === 'system-node-critical') return guaranteedOomScore;
  if (qos === 'BestEffort') return 1000;
  const score = 1000 - Math.floor((1000 * memoryRequest) / nodeMemory);
  return Math.min(999, Math.max(1000 + guaranteedOomScore, score));
}
