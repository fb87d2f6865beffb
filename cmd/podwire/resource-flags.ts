// Flags about the resources of this node, of `up` and `join`; podwired reads them (cmd/podwired/resource-flags.ts).
// Assumes podwired judges the values. Pure.
import type { Command } from 'commander';

const flags = [
  ['systemReserved', '--system-reserved <list>', 'kept back from Pods, e.g. cpu=200m,memory=500Mi'],
  ['kubeReserved', '--kube-reserved <list>', 'kept back from Pods, for podwire itself'],
  [
    'evictionHard',
    '--eviction-hard <list>',
    'with less, Pods are evicted, e.g. memory.available<200Mi; "": never',
  ],
  ['evictionSoft', '--eviction-soft <list>', 'with less for a while, Pods are evicted with their grace'],
  ['evictionSoftGracePeriod', '--eviction-soft-grace-period <list>', 'that while, e.g. memory.available=90s'],
  ['evictionMinimumReclaim', '--eviction-minimum-reclaim <list>', 'what must be there beyond a threshold'],
  [
    'evictionPressureTransitionPeriod',
    '--eviction-pressure-transition-period <time>',
    'a shortage counts on for (default: 5m)',
  ],
  [
    'evictionMaxPodGracePeriod',
    '--eviction-max-pod-grace-period <time>',
    'longest grace by a soft threshold',
  ],
  ['evictionMonitoringPeriod', '--eviction-monitoring-period <time>', 'between two looks (default: 10s)'],
] as const;

export type ResourceFlag = (typeof flags)[number][0];

export function addResourceFlags(command: Command): void {
  for (const [, flag, description] of flags) command.option(flag, description);
}

/** By key. */
export const resourceFlags = Object.fromEntries(
  flags.map(([key, flag]) => [key, flag.replace(/ .*/, '')]),
) as Readonly<Record<ResourceFlag, string>>;
