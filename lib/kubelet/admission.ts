// What a node refuses of a Pod that the API took: it depends on the node's own settings. Pure.
// Assumes a validated Pod. O(sysctls + Pods of the node). Source: kubelet's sysctl allowlist (pkg/kubelet/sysctl) and
// lifecycle/predicate.go, v1.34.
import { qosClassOf } from '../api/defaulting.ts';
import { taintKeys, tolerates } from '../api/taints.ts';
import type { Pod } from '../api/types.ts';
import { PodwireError } from '../exec/errors.ts';
import { isCritical } from './eviction/rank.ts';
import type { Pressure } from './eviction/thresholds.ts';
import { shortage, shortageText } from './fit.ts';
import type { WaitingReason } from './status.ts';
import type { NodeFacts } from './sync-context.ts';

/** Kernel parameters of a Pod's own namespaces that cannot hurt a neighbour. */
export const safeSysctls: readonly string[] = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
];

/** Those that belong to a namespace; any other would be the machine's. */
const namespaced = ['kernel.shm', 'kernel.msg', 'kernel.sem', 'fs.mqueue.', 'net.'];

const dotted = (name: string): string => name.replaceAll('/', '.');

/** Checks the node's list of further sysctls: names, or beginnings with a `*`. @throws PodwireError BAD_SYSCTL */
export function checkAllowedSysctls(patterns: readonly string[]): readonly string[] {
  return patterns.map((pattern) => {
    const name = dotted(pattern);
    const isName = /^[a-z0-9][-_a-z0-9]*(\.[a-z0-9][-_a-z0-9]*)*(\.\*|\*)?$/.test(name);
    if (isName && namespaced.some((prefix) => name.startsWith(prefix))) return name;
    throw new PodwireError(
      'BAD_SYSCTL',
      `--allowed-unsafe-sysctls ${pattern}: expected a sysctl of a namespace (${namespaced.map((p) => `${p}…`).join(', ')}), which may end in *`,
    );
  });
}

/** Why this node does not run the Pod; undefined when it does. */
export function podRejection(pod: Pod, { node, others, pressures }: Surroundings): WaitingReason | undefined {
  const bad = sysctlRejection(pod, node.allowedUnsafeSysctls);
  if (bad) return bad;
  if (others === undefined) return undefined;
  const pressed = pressureRejection(pod, pressures);
  if (pressed) return pressed;
  const short = shortage(pod, others, node.allocatable);
  return short && { reason: `OutOf${short.resource}`, message: shortageText(short) };
}

/** Where there is too little already, none is let in that would make it worse. */
function pressureRejection(pod: Pod, pressures: readonly Pressure[]): WaitingReason | undefined {
  if (pressures.length === 0 || isCritical({ pod, isStatic: false })) return undefined;
  if (pressures.every((one) => one === 'MemoryPressure')) {
    const taint = { key: taintKeys.memoryPressure, effect: 'NoSchedule' } as const;
    const puts = (pod.spec.tolerations ?? []).some((toleration) => tolerates(toleration, taint));
    if (puts || qosClassOf(pod.spec) !== 'BestEffort') return undefined;
  }
  return { reason: 'Evicted', message: `The node had condition: [${pressures.join(' ')}]. ` };
}

export interface Surroundings {
  readonly pressures: readonly Pressure[];
  readonly node: Pick<NodeFacts, 'allowedUnsafeSysctls' | 'allocatable'>;
  /** Pods that are there already; undefined: it was let in before. */
  readonly others: readonly Pod[] | undefined;
}

function sysctlRejection(pod: Pod, allowedUnsafeSysctls: readonly string[]): WaitingReason | undefined {
  const allowed = (name: string): boolean =>
    safeSysctls.includes(name) ||
    allowedUnsafeSysctls.some((pattern) =>
      pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
    );
  const bad = pod.spec.securityContext?.sysctls?.find(({ name }) => !allowed(dotted(name)));
  if (!bad) return undefined;
  return {
    reason: 'SysctlForbidden',
    message: `forbidden sysctl: ${JSON.stringify(bad.name)} not allowlisted`,
  };
}
