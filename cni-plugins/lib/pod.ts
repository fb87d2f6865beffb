// The container's side of an attachment as a list of changes: link up, addresses, routes. Shared by all plugins that make
// an interface. Pure; a few dozen operations at most.
import { type Cidr, formatCidr, parseCidr } from '../../lib/cni/address.ts';
import type { CniIp, CniRoute } from '../../lib/cni/types.ts';
import type { NetOp } from '../../lib/kernel/net.ts';

export interface PodSide {
  readonly ifname: string;
  readonly mac: string;
  /** False: an IPv6 address is used at once, with no look for a duplicate (1-2 s). */
  readonly enableDad: boolean;
}

export const isV6 = (text: string): boolean => text.includes(':');

/** A named namespace by its name: short, and what a person would type. */
export const netnsWord = (path: string): string =>
  /^(?:\/var)?\/run\/netns\/([\w.-]+)$/.exec(path)?.[1] ?? path;

/** Up, addresses, routes, in that order. */
export function podOps(side: PodSide, ips: readonly CniIp[], routes: readonly CniRoute[]): NetOp[] {
  const { ifname, mac, enableDad } = side;
  const quick = !enableDad && ips.some((ip) => isV6(ip.address));
  const dad = enableDad ? {} : { dad: 'skip' as const };
  return [
    ...(quick ? [{ op: 'setLink', name: ifname, linkLocal: 'none' } as const] : []),
    { op: 'setLink', name: ifname, state: 'up' },
    ...(quick ? [{ op: 'addAddress', dev: ifname, address: linkLocalOf(mac), ...dad } as const] : []),
    ...ips.map((ip): NetOp => ({ op: 'addAddress', dev: ifname, address: ip.address, ...dad })),
    ...routes.map((route) => routeOp(route, ips, ifname)),
  ];
}

/** fe80:: and the modified EUI-64 of the MAC. Source: RFC 4291, appendix A. */
export function linkLocalOf(mac: string): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = mac.split(':').map((part) => Number.parseInt(part, 16));
  const hex = [a ^ 2, b, c, 0xff, 0xfe, d, e, f].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return formatCidr(parseCidr(`fe80::${hex.match(/..../g)?.join(':')}/64`) as Cidr);
}

/** A route of a result; without a gateway of its own it goes by that of the first address of its family. */
export function routeOp(route: CniRoute, ips: readonly CniIp[], dev: string): NetOp {
  const via =
    route.gw ?? ips.find((ip) => isV6(ip.address) === isV6(route.dst) && ip.gateway !== undefined)?.gateway;
  const onLink = route.scope !== undefined && route.scope >= 253;
  return {
    op: 'addRoute',
    dev,
    dst: route.dst,
    ...(via === undefined || onLink ? {} : { via }),
    ...(route.mtu === undefined ? {} : { mtu: route.mtu }),
    ...(route.advmss === undefined ? {} : { advmss: route.advmss }),
    ...(route.priority === undefined ? {} : { metric: route.priority }),
    ...(route.table === undefined ? {} : { table: route.table }),
    ...(route.scope === undefined ? {} : { scope: route.scope }),
  };
}

/** Families of the addresses: those that the machine must forward. */
export const families = (ips: readonly CniIp[]): Array<4 | 6> => [
  ...new Set(ips.map((ip): 4 | 6 => (isV6(ip.address) ? 6 : 4))),
];
