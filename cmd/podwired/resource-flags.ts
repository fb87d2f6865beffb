// Flags of a node's resources, under kubelet's names: what is kept back from Pods, and when Pods must go.
// Assumes they are the node's own: each node of a cluster may have others. Pure.
import type { Command } from 'commander';
import type { EvictionSettings } from '../../lib/kubelet/eviction/manager.ts';
import {
  defaultHard,
  evictionDefaults,
  parseThresholds,
  type ThresholdFlags,
} from '../../lib/kubelet/eviction/thresholds.ts';
import {
  type MachineFigures,
  nodeCapacity,
  type NodeCapacity,
  parseReserved,
} from '../../lib/kubelet/node-capacity.ts';
import { seconds } from './controller-flags.ts';

export interface ResourceFlags extends ThresholdFlags {
  readonly systemReserved?: string;
  readonly kubeReserved?: string;
  /** Seconds. */
  readonly evictionPressureTransitionPeriod?: number;
  /** Seconds. */
  readonly evictionMaxPodGracePeriod?: number;
  /** Seconds between two looks. */
  readonly evictionMonitoringPeriod?: number;
}

/** What the node has, and what of it Pods may ask for. @throws PodwireError BAD_RESERVATION, BAD_EVICTION */
export function capacityOf(machine: MachineFigures, flags: ResourceFlags): NodeCapacity {
  const reserved = [
    parseReserved('--system-reserved', flags.systemReserved),
    parseReserved('--kube-reserved', flags.kubeReserved),
  ];
  return nodeCapacity(machine, { thresholds: parseThresholds(flags), reserved });
}

/** @throws PodwireError BAD_EVICTION */
export const evictionOf = (flags: ResourceFlags): EvictionSettings => ({
  thresholds: parseThresholds(flags),
  periodMs: (flags.evictionMonitoringPeriod ?? evictionDefaults.periodMs / 1000) * 1000,
  transitionMs: (flags.evictionPressureTransitionPeriod ?? evictionDefaults.transitionMs / 1000) * 1000,
  maxGraceSeconds: flags.evictionMaxPodGracePeriod ?? evictionDefaults.maxGraceSeconds,
});

export function addResourceFlags(program: Command): Command {
  return program
    .option('--system-reserved <list>', 'kept back for the system, e.g. cpu=200m,memory=500Mi')
    .option('--kube-reserved <list>', 'kept back for podwire itself, e.g. memory=200Mi')
    .option(
      '--eviction-hard <list>',
      `less than this, and Pods are evicted at once; "": never (default: "${defaultHard}")`,
    )
    .option(
      '--eviction-soft <list>',
      'less than this for its grace period, and Pods are evicted with their grace',
    )
    .option('--eviction-soft-grace-period <list>', 'of each soft threshold, e.g. memory.available=1m30s')
    .option(
      '--eviction-minimum-reclaim <list>',
      'what must be there beyond a threshold, e.g. nodefs.available=1Gi',
    )
    .option(
      '--eviction-pressure-transition-period <time>',
      'how long the node counts as short of something after it was',
      seconds,
      evictionDefaults.transitionMs / 1000,
    )
    .option(
      '--eviction-max-pod-grace-period <time>',
      'the longest grace of a Pod that goes by a soft threshold',
      seconds,
      evictionDefaults.maxGraceSeconds,
    )
    .option(
      '--eviction-monitoring-period <time>',
      'how often the node looks what it is short of',
      seconds,
      evictionDefaults.periodMs / 1000,
    );
}
