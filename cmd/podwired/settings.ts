// What all nodes of a cluster must agree on: the servers' flags, told to every agent when it joins and when it starts.
// Assumes all servers were given the same, which each asks of the others at its start. Pure.
import type { ClusterSettings } from '../../lib/apiserver/routes-cluster.ts';
import type { Flags } from './flags.ts';

const shared = [
  ...(['clusterCidr', 'serviceCidr', 'networkBackend', 'clusterDns', 'clusterDomain'] as const),
  'nodeMonitorGracePeriod',
] as const;
type Shared = Pick<Flags, (typeof shared)[number]>;
export type Settings = ClusterSettings & Shared;

export const sharedSettings = (flags: Flags): Shared =>
  Object.fromEntries(
    shared.filter((name) => flags[name] !== undefined).map((name) => [name, flags[name]]),
  ) as Shared;

/** What servers of one store must have alike, by flag: a node's subnet, its Pods' way to others and their names follow from it. */
export const serverSettings = (flags: Flags): Record<string, string> => ({
  'cluster-cidr': flags.clusterCidr,
  'service-cidr': flags.serviceCidr,
  'node-cidr-mask-size-ipv4': String(flags.nodeCidrMaskSizeIpv4),
  'node-cidr-mask-size-ipv6': String(flags.nodeCidrMaskSizeIpv6),
  'network-backend': flags.networkBackend ?? 'vxlan',
  'cluster-dns': flags.clusterDns.join(),
  'cluster-domain': flags.clusterDomain,
});
