// Flags of a node's resources, under kubelet's names: what is kept back from Pods, and when Pods must go.
// Assumes they are the node's own: each node of a cluster may have others. Pure.
import type { Command } from 'commander';
import { defaultHard, parseThresholds, type ThresholdFlags } from '../../lib/kubelet/eviction/thresholds.ts';
import {
  type MachineFigures,
  nodeCapacity,
  type NodeCapacity,
  parseReserved,
} from '../../lib/kubelet/node-capacity.ts';

export interface ResourceFlags extends ThresholdFlags {
  readonly systemReserved?: string;
  readonly kubeReserved?: string;
}

/** What the node has, and what of it Pods may ask for. @throws PodwireError BAD_RESERVATION, BAD_EVICTION */
export function capacityOf(machine: MachineFigures, flags: ResourceFlags): NodeCapacity {
  const reserved = [
    parseReserved('--system-reserved', flags.systemReserved),
    parseReserved('--kube-reserved', flags.kubeReserved),
  ];
  return nodeCapacity(machine, { thresholds: parseThresholds(flags), reserved });
}

export function addResourceFlags(program: Command): Command {
  return program
    .option('--system-reserved <list>', 'kept back for the system, e.g. cpu=200m,memory=500Mi')
    .option('--kube-reserved <list>', 'kept back for podwire itself, e.g. memory=200Mi')
    .option(
      '--eviction-hard <list>',
      `less than this, and Pods are evicted at once; "": never (default: "${defaultHard}")`,
    );
}
