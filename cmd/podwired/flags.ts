// The daemon's flags, remembered from start to start: `podwire up` after a crash means the node as it was.
// Assumes one daemon a root. What is given wins over what is remembered, and that over the defaults.
// `podwire down --pods` forgets them.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterFlags } from './cluster-flags.ts';
import type { ControllerFlags } from './controller-flags.ts';
import type { RangeFlags } from '../../lib/controllers/cluster-ranges.ts';
import { readIfThere, keepFile } from '../../lib/kernel/files.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import type { DatastoreFlags } from './datastore.ts';
import type { ResourceFlags } from './resource-flags.ts';

export interface Flags extends RangeFlags, DatastoreFlags, ClusterFlags, ControllerFlags, ResourceFlags {
  /** This node's subnets, given by hand; absent: of the cluster's range. */
  readonly podCidr?: string;
  /** With its options, see backend-config.ts; vxlan unless told. */
  readonly networkBackend?: string;
  readonly nodeName?: string;
  readonly nodeIp?: string;
  readonly runtime: 'crun' | 'runc';
  /** A CRI socket: Pods run under the container runtime there; absent or '': under podwire's own. */
  readonly runtimeEndpoint?: string;
  readonly cniBinDir?: readonly string[];
  /** Where conflists are, for us and for a container runtime; absent: /etc/podwire/cni/net.d. */
  readonly cniConfDir?: string;
  /** 0: no limit. */
  readonly podPidsLimit: number;
  readonly maxPods: number;
  /** A quantity: a container's log of that size is put aside. */
  readonly containerLogMaxSize: string;
  readonly containerLogMaxFiles: number;
  /** Percent of the disk above which unused images go, and down to which. */
  readonly imageGcHighThreshold: number;
  readonly imageGcLowThreshold: number;
  readonly allowedUnsafeSysctls?: readonly string[];
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
}

const file = (paths: NodePaths): string => join(paths.state, 'flags.json');

/** The flags of the last start; undefined before the first. */
export function rememberedFlags(paths: NodePaths): Flags | undefined {
  const text = readIfThere(file(paths));
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Flags;
  } catch {
    return undefined; // cut short by a full disk: as good as none
  }
}

/**
 * Those that an agent starts with: how it is called, where it is, and its subnets it told when it joined; what it was told
 * before, as a machine of its own or of another cluster, holds no more.
 */
export function rememberedByAgent(
  paths: NodePaths,
): Omit<Flags, 'nodeName' | 'nodeIp' | 'podCidr'> | undefined {
  const flags = rememberedFlags(paths);
  if (!flags) return undefined;
  const { nodeName: _name, nodeIp: _ip, podCidr: _cidr, ...rest } = flags;
  return rest;
}

export function rememberFlags(paths: NodePaths, flags: Flags): void {
  keepFile(file(paths), JSON.stringify(flags));
}

export function forgetFlags(paths: NodePaths): void {
  rmSync(file(paths), { force: true });
}
