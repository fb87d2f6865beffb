// Which Pods of a node a drain asks to leave, which it leaves alone, and which it does not dare to touch. Pure.
// Assumes the Pods of one node. O(Pods). Source of the rules: k8s.io/kubectl/pkg/drain/filters.go (v1.34)
import type { Pod } from '../../lib/api/types.ts';

export interface DrainRules {
  readonly force?: boolean | undefined;
  readonly ignoreDaemonsets?: boolean | undefined;
  readonly deleteEmptydirData?: boolean | undefined;
}

export interface DrainPlan {
  readonly leave: readonly Pod[];
  /** Said before it begins. */
  readonly warnings: readonly string[];
  /** Why it must not begin. */
  readonly refusals: readonly string[];
}

interface Rule {
  readonly meets: (pod: Pod) => boolean;
  /** What it means when the flag is not given. */
  readonly refusal: string;
  readonly flag: keyof DrainRules;
  readonly warning: string;
  /** With the flag: these stay. */
  readonly stays?: true;
}

const mirror = 'kubernetes.io/config.mirror';
const controllerOf = ({ metadata }: Pod) => metadata.ownerReferences?.find(({ controller }) => controller);
const isOver = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed';

const rules: readonly Rule[] = [
  {
    meets: (pod) => controllerOf(pod)?.kind === 'DaemonSet' && !isOver(pod),
    refusal: 'cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)',
    flag: 'ignoreDaemonsets',
    warning: 'ignoring DaemonSet-managed Pods',
    stays: true,
  },
  {
    meets: (pod) => (pod.spec.volumes ?? []).some(({ emptyDir }) => emptyDir !== undefined) && !isOver(pod),
    refusal: 'cannot delete Pods with local storage (use --delete-emptydir-data to override)',
    flag: 'deleteEmptydirData',
    warning: 'deleting Pods with local storage',
  },
  {
    meets: (pod) => controllerOf(pod) === undefined && !isOver(pod),
    refusal: 'cannot delete Pods that declare no controller (use --force to override)',
    flag: 'force',
    warning: 'deleting Pods that declare no controller',
  },
];

export function planDrain(pods: readonly Pod[], given: DrainRules): DrainPlan {
  const leave: Pod[] = [];
  const met = new Map<Rule, string[]>();
  for (const pod of pods) {
    if (pod.metadata.annotations?.[mirror] !== undefined) continue; // its file would bring it back
    const applying = rules.filter((rule) => rule.meets(pod));
    for (const rule of applying)
      met.set(rule, [...(met.get(rule) ?? []), `${pod.metadata.namespace}/${pod.metadata.name}`]);
    if (!applying.some(({ stays, flag }) => stays && given[flag])) leave.push(pod);
  }
  const told = (isGiven: boolean, text: (rule: Rule) => string): string[] =>
    [...met]
      .filter(([{ flag }]) => (given[flag] ?? false) === isGiven)
      .map(([rule, names]) => `${text(rule)}: ${names.join(', ')}`);
  return {
    leave,
    warnings: told(true, (rule) => rule.warning),
    refusals: told(false, (rule) => rule.refusal),
  };
}
