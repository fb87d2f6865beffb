// The cluster's three ranges, kept apart: what Pods have, what Services have, and what the machines themselves have.
// Assumes ranges as people give them. Pure; O(ranges · host networks).
import { type Cidr, contains, formatCidr, networkOf, overlap, parseCidr, parseIp } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import { parseRanges } from '../node-network/ranges.ts';

export interface RangeFlags {
  /** One range a family, comma between. */
  readonly clusterCidr: string;
  readonly serviceCidr: string;
  readonly nodeCidrMaskSizeIpv4: number;
  readonly nodeCidrMaskSizeIpv6: number;
}

/** What holds where no flag says otherwise. */
export const rangeDefaults: RangeFlags = {
  // Where flannel's manifests and most guides have Pods; 256 nodes. IPv6 only when asked for: it costs each Pod time.
  clusterCidr: '10.244.0.0/16',
  // kubeadm's; a million Services, far from the above.
  serviceCidr: '10.96.0.0/12',
  // kube-controller-manager's sizes: 254 Pods fit where a node takes 250; a /64 is what IPv6 expects of one link.
  nodeCidrMaskSizeIpv4: 24,
  nodeCidrMaskSizeIpv6: 64,
};

/** A cluster CIDR, and the length of the prefix that each node gets of it. */
export interface NodeRange {
  readonly cidr: Cidr;
  readonly nodeLength: number;
}

export interface ClusterRanges {
  /** One a family. */
  readonly pods: readonly NodeRange[];
  readonly services: readonly Cidr[];
}

/** More nodes than that is a mistake in writing, and would cost memory for nothing; Kubernetes' limit, too. */
const maxNodeBits = 16;
const longest = { 4: 30, 6: 126 } as const;

/** @throws PodwireError INVALID_CLUSTER_CIDR, INVALID_SERVICE_CIDR, RANGES_OVERLAP */
export function clusterRanges(flags: RangeFlags): ClusterRanges {
  const pods = parseRanges(flags.clusterCidr, {
    code: 'INVALID_CLUSTER_CIDR',
    what: '--cluster-cidr',
    example: rangeDefaults.clusterCidr,
    longest,
  }).map((cidr) => nodeRange(cidr, flags));
  const services = parseRanges(flags.serviceCidr, {
    code: 'INVALID_SERVICE_CIDR',
    what: '--service-cidr',
    example: rangeDefaults.serviceCidr,
    longest,
  });
  for (const { cidr } of pods) refuseServiceRange('--cluster-cidr', cidr, services);
  return { pods, services };
}

/** @throws PodwireError RANGES_OVERLAP */
export function refuseServiceRange(flag: string, pods: Cidr, services: readonly Cidr[]): void {
  const service = services.find((each) => overlap(each, pods));
  if (service)
    throw new PodwireError(
      'RANGES_OVERLAP',
      `${flag} ${formatCidr(pods)} overlaps --service-cidr ${formatCidr(service)}: Pods and Services need ranges of their own`,
    );
}

function nodeRange(cidr: Cidr, flags: RangeFlags): NodeRange {
  const { family } = cidr.ip;
  const nodeLength = family === 4 ? flags.nodeCidrMaskSizeIpv4 : flags.nodeCidrMaskSizeIpv6;
  const flag = `--node-cidr-mask-size-ipv${family}`;
  const text = `--cluster-cidr ${formatCidr(cidr)}`;
  if (!Number.isInteger(nodeLength) || nodeLength < cidr.length || nodeLength > longest[family])
    throw new PodwireError(
      'INVALID_CLUSTER_CIDR',
      `${flag} ${nodeLength}: expected ${cidr.length} to ${longest[family]} for ${text}`,
    );
  if (nodeLength - cidr.length > maxNodeBits)
    throw new PodwireError(
      'INVALID_CLUSTER_CIDR',
      `${text} in pieces of /${nodeLength} is for more than ${2 ** maxNodeBits} nodes: give a smaller range, or ${flag} ${cidr.length + maxNodeBits}`,
    );
  return { cidr, nodeLength };
}

/** An address of a machine with its prefix length, and the link that has it. */
export interface HostNetwork {
  /** `192.168.1.7/24`, as node:os tells it; an address alone is that one address. */
  readonly address: string;
  readonly device?: string;
}

/** Bridges and overlay devices of podwire's own: the ranges of Pods lie on them by intent. */
const ownDevice = /^(podwire|pw)/;

/**
 * Why a machine with these addresses cannot be in a cluster of these ranges; undefined when it can. What it names is the
 * address, or the network on its link, that lies in a range.
 */
export function hostFault(
  ranges: { readonly pods: readonly Cidr[]; readonly services: readonly Cidr[] },
  hosts: readonly HostNetwork[],
): string | undefined {
  const named = [
    ...ranges.pods.map((cidr) => ({ cidr, what: 'Pod range', flag: '--cluster-cidr' })),
    ...ranges.services.map((cidr) => ({ cidr, what: 'Service range', flag: '--service-cidr' })),
  ];
  for (const { address, device } of hosts) {
    const cidr = device !== undefined && ownDevice.test(device) ? undefined : hostCidr(address);
    const range = cidr && named.find((each) => overlap(each.cidr, cidr));
    if (!cidr || !range) continue;
    const net = formatCidr({ ip: networkOf(cidr), length: cidr.length });
    const on = device === undefined ? '' : ` (${device})`;
    const subject = contains(range.cidr, cidr.ip)
      ? `the machine's address ${address}${on}`
      : `the network ${net}, which the machine is on${on},`;
    return `${subject} overlaps the cluster's ${range.what} ${formatCidr(range.cidr)}: give the cluster another one with ${range.flag}`;
  }
  return undefined;
}

function hostCidr(address: string): Cidr | undefined {
  if (address.includes('/')) return parseCidr(address);
  const ip = parseIp(address);
  return ip && { ip, length: ip.family === 4 ? 32 : 128 };
}
