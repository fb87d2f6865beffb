// What fieldRef and resourceFieldRef give: facts of the Pod as text, for environments and downwardAPI volumes. Pure.
// Assumes paths and resources that validation let pass. O(1), but for the label and annotation maps.
// Source: kubelet's podFieldSelectorRuntimeValue, pkg/api/v1/resource ExtractContainerResourceValue, fieldpath.FormatMap.
import { quantityMilli, quantityValue } from '../api/quantity.ts';
import type { Container, Pod } from '../api/types.ts';

/** What a container's environment may ask about: the node and the Pod's addresses. */
export interface PodFacts {
  readonly hostIP: string;
  readonly podIPs: readonly string[];
}

/** What the node has for Pods: what a limit counts as that is not set. cpu in CPUs, the others in bytes. */
export interface NodeAmounts {
  readonly cpu: number;
  readonly memory: number;
  readonly ephemeralStorage: number;
}

/** @throws RangeError for a path that nobody knows */
export function fieldValue(pod: Pod, facts: PodFacts, path: string): string {
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (keyed) return pod.metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2] as string] ?? '';
  const values: Record<string, () => string> = {
    'metadata.name': () => pod.metadata.name,
    'metadata.namespace': () => pod.metadata.namespace,
    'metadata.uid': () => pod.metadata.uid,
    'metadata.labels': () => formatMap(pod.metadata.labels),
    'metadata.annotations': () => formatMap(pod.metadata.annotations),
    'spec.nodeName': () => pod.spec.nodeName ?? '',
    'spec.serviceAccountName': () => pod.spec.serviceAccountName ?? '',
    'status.hostIP': () => facts.hostIP,
    'status.hostIPs': () => facts.hostIP,
    'status.podIP': () => facts.podIPs[0] ?? '',
    'status.podIPs': () => facts.podIPs.join(','),
  };
  const value = values[path];
  if (!value) throw new RangeError(`fieldRef "${path}" is not supported`);
  return value();
}

/** key="value" lines, sorted by key. */
function formatMap(map: Readonly<Record<string, string>> = {}): string {
  return Object.keys(map)
    .sort()
    .map((key) => `${key}=${JSON.stringify(map[key])}`)
    .join('\n');
}

export interface ResourceRef {
  readonly resource: string;
  readonly divisor?: string | number;
  readonly containerName?: string;
}

/** The amount divided by the divisor, rounded up. A limit that is not set is what the node has. */
export function resourceValue(container: Container, ref: ResourceRef, node: NodeAmounts): string {
  const [kind, name] = splitResource(ref.resource);
  const divisor = ref.divisor === undefined || Number(ref.divisor) === 0 ? 1 : ref.divisor;
  const given = container.resources?.[kind]?.[name] ?? (kind === 'limits' ? nodeAmount(name, node) : 0);
  if (name === 'cpu') return String(Math.ceil(quantityMilli(given) / quantityMilli(divisor)));
  return String(Math.ceil(quantityValue(given) / quantityValue(divisor)));
}

function splitResource(resource: string): ['limits' | 'requests', string] {
  const dot = resource.indexOf('.');
  return [resource.slice(0, dot) as 'limits' | 'requests', resource.slice(dot + 1)];
}

function nodeAmount(name: string, node: NodeAmounts): number {
  if (name === 'cpu') return node.cpu;
  if (name === 'memory') return node.memory;
  return name === 'ephemeral-storage' ? node.ephemeralStorage : 0;
}
