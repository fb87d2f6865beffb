// What overlays between machines share, the CNI plugin vxlan and the node network alike: a VTEP's MAC, what headers weigh,
// and the entries by which a machine knows its peers, compared with what the kernel has, to the fewest changes.
// Assumes texts as iproute2 prints them (canonical addresses). Pure; linear in entries.
import { sha256 } from './hash.ts';
import type { NetOp } from './net.ts';

/** The VTEP's MAC follows from the node's name, so each machine knows all others', and a reboot changes none. */
export function vtepMac(node: string): string {
  const [first = '', ...rest] = sha256(`podwire vtep ${node}`).slice(0, 12).match(/../g) ?? [];
  const local = ((Number.parseInt(first, 16) & 0xfc) | 0x02).toString(16).padStart(2, '0');
  return [local, ...rest].join(':');
}

// Bytes. Sources: RFC 7348 section 5 (VXLAN), RFC 768 (UDP), RFC 791, RFC 8200, IEEE 802.3 (without checksum and tag),
// the WireGuard paper section 5.4.6 (type, receiver, counter: 16; Poly1305 tag: 16).
const headers = {
  ipv4: 20,
  ipv6: 40,
  udp: 8,
  vxlan: 8,
  innerEthernet: 14,
  wireguardData: 16,
  poly1305Tag: 16,
} as const;
const outerIp = (family: 4 | 6): number => (family === 4 ? headers.ipv4 : headers.ipv6);

/** Bytes that each kind of encapsulation adds to an inner packet, by the family of the underlay. */
export const overhead = {
  /** 50, 70 */
  vxlan: (family: 4 | 6): number => outerIp(family) + headers.udp + headers.vxlan + headers.innerEthernet,
  /** 60, 80 */
  wireguard: (family: 4 | 6): number =>
    outerIp(family) + headers.udp + headers.wireguardData + headers.poly1305Tag,
  /** 20 */
  ipip: (family: 4 | 6): number => outerIp(family),
  'host-gw': (_family: 4 | 6): number => 0,
} as const;

/** Each a map from what is looked up to what is found. */
export interface Entries {
  /** Subnet → gateway; '' where the device alone is enough. */
  readonly routes: ReadonlyMap<string, string>;
  /** Gateway → MAC. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** MAC → the machine's address. */
  readonly fdb: ReadonlyMap<string, string>;
}

export const noEntries: Entries = { routes: new Map(), neighbours: new Map(), fdb: new Map() };

/** How the routes of entries are made. */
export interface RouteStyle {
  readonly gateway?: 'onlink';
  /** rt_protocol: marks the routes as ours among others by the same device. */
  readonly protocol?: number;
}

/** The changes that lead from one to the other: FDB first, so that no packet finds a gateway that leads nowhere. */
export function planEntries(
  dev: string,
  wanted: Entries,
  seen: Entries,
  style: RouteStyle = { gateway: 'onlink' },
): NetOp[] {
  const { protocol } = style;
  const marked = protocol === undefined ? {} : { protocol };
  return [
    ...differing(wanted.fdb, seen.fdb).map(([mac, to]): NetOp => ({ op: 'putFdb', dev, mac, to })),
    ...gone(wanted.fdb, seen.fdb).map(([mac, to]): NetOp => ({ op: 'deleteFdb', dev, mac, to })),
    ...differing(wanted.neighbours, seen.neighbours).map(
      ([ip, mac]): NetOp => ({ op: 'putNeighbour', dev, ip, mac }),
    ),
    ...differing(wanted.routes, seen.routes).map(
      ([dst, via]): NetOp => ({ op: 'putRoute', dev, dst, ...(via === '' ? {} : { via }), ...style }),
    ),
    ...gone(wanted.routes, seen.routes).map(([dst]): NetOp => ({ op: 'deleteRoute', dev, dst, ...marked })),
    ...gone(wanted.neighbours, seen.neighbours).map(([ip]): NetOp => ({ op: 'deleteNeighbour', dev, ip })),
  ];
}

type Pairs = Array<[string, string]>;
const differing = (wanted: ReadonlyMap<string, string>, seen: ReadonlyMap<string, string>): Pairs =>
  [...wanted].filter(([key, value]) => seen.get(key) !== value);
const gone = (wanted: ReadonlyMap<string, string>, seen: ReadonlyMap<string, string>): Pairs =>
  [...seen].filter(([key]) => !wanted.has(key));

/** Of the answers of `ip -j route show dev`, `ip -j neigh show dev`, `bridge -j fdb show dev`. */
export function parseEntries(rows: {
  routes: readonly unknown[];
  neighbours: readonly unknown[];
  fdb: readonly unknown[];
}): Entries {
  const routes = rows.routes as Array<{ dst?: string; gateway?: string; protocol?: string }>;
  const neighbours = rows.neighbours as Array<{ dst?: string; lladdr?: string; state?: string[] }>;
  const fdb = rows.fdb as Array<{ mac?: string; dst?: string; state?: string }>;
  return {
    routes: new Map(
      routes.flatMap(({ dst, gateway, protocol }) =>
        dst && protocol !== 'kernel' ? [[netText(dst), gateway ?? '']] : [],
      ),
    ),
    neighbours: new Map(
      neighbours.flatMap(({ dst, lladdr, state }) =>
        dst && lladdr && state?.includes('PERMANENT') ? [[dst, lladdr]] : [],
      ),
    ),
    fdb: new Map(
      fdb.flatMap(({ mac, dst, state }) => (mac && dst && state === 'permanent' ? [[mac, dst]] : [])),
    ),
  };
}

/** `ip` leaves the length of a single address out. */
export const netText = (dst: string): string =>
  dst.includes('/') || dst === 'default' ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`;
