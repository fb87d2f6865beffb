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
] as const;

export type ResourceFlag = (typeof flags)[number][0];

export function addResourceFlags(command: Command): void {
  for (const [, flag, description] of flags) command.option(flag, description);
}

/** Key and flag of each. */
export const resourceFlags: ReadonlyArray<readonly [ResourceFlag, string]> = flags.map(([key, flag]) => [
  key,
  flag.replace(/ .*/, ''),
]);
