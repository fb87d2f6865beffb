// What all nodes of a cluster must agree on: the servers' flags, told to every agent when it joins and when it starts.
// Assumes all servers were given the same. Pure.
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
