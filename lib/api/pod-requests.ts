// What a Pod asks of a node: amounts of resources and ports of the host.
// Assumes the schema check (quantities can be read). Pure; O(containers).
// Source: k8s.io/component-helpers/resource/helpers.go (v1.34)
import { quantityMilli, quantityValue } from './quantity.ts';
import type { Container, Pod, PodSpec } from './types.ts';

/** By resource name; cpu in millicores, all else in whole units. */
export type Amounts = Readonly<Record<string, number>>;

export const amountOf = (resource: string, quantity: string | number): number =>
  resource === 'cpu' ? quantityMilli(quantity) : quantityValue(quantity);

/** A list as a manifest has it, in numbers. */
export function amountsOf(
  list: Readonly<Record<string, string | number>> | undefined,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(list ?? {}).map(([name, quantity]) => [name, amountOf(name, quantity)]),
  );
}

const isSidecar = (container: Container): boolean => container.restartPolicy === 'Always';

/** What a Pod asks for. */
export const podRequests = (spec: PodSpec): Amounts => podAmounts(spec, 'requests');

/** What a Pod may take at most, of what its containers limit. */
export const podLimits = (spec: PodSpec): Amounts => podAmounts(spec, 'limits');

/**
 * Containers and sidecars run together; an init container runs beside the sidecars before it only. The Pod counts with
 * the most that there is at one time.
 */
function podAmounts(spec: PodSpec, kind: 'requests' | 'limits'): Amounts {
  const running: Record<string, number> = {};
  for (const container of spec.containers) add(running, ofContainer(container, kind));
  const sidecars: Record<string, number> = {};
  const most: Record<string, number> = {};
  for (const container of spec.initContainers ?? []) {
    const own = ofContainer(container, kind);
    if (isSidecar(container)) {
      add(sidecars, own);
      atLeast(most, sidecars);
    } else {
      const now = { ...sidecars };
      add(now, own);
      atLeast(most, now);
    }
  }
  add(running, sidecars);
  atLeast(running, most);
  if (spec.overhead) add(running, amountsOf(spec.overhead));
  return running;
}

const ofContainer = (container: Container, kind: 'requests' | 'limits'): Record<string, number> =>
  amountsOf(container.resources?.[kind] as Record<string, string | number> | undefined);

function add(to: Record<string, number>, more: Amounts): void {
  for (const [name, amount] of Object.entries(more)) to[name] = (to[name] ?? 0) + amount;
}

function atLeast(to: Record<string, number>, least: Amounts): void {
  for (const [name, amount] of Object.entries(least)) to[name] = Math.max(to[name] ?? 0, amount);
}

/** A port of the machine; `ip` is '0.0.0.0' for every address. */
export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

export function hostPorts({ spec }: Pod): HostPort[] {
  const containers = [...spec.containers, ...(spec.initContainers ?? []).filter(isSidecar)];
  return containers
    .flatMap((container) => container.ports ?? [])
    .filter(({ hostPort }) => hostPort !== undefined && hostPort > 0)
    .map(({ hostIP, protocol, hostPort }) => ({
      ip: !hostIP || hostIP === '::' ? '0.0.0.0' : hostIP,
      protocol: protocol ?? 'TCP',
      port: hostPort as number,
    }));
}

/** One address may have what another one has, unless one of the two means all. */
export const portsClash = (a: HostPort, b: HostPort): boolean =>
  a.port === b.port &&
  a.protocol === b.protocol &&
  (a.ip === b.ip || a.ip === '0.0.0.0' || b.ip === '0.0.0.0');
