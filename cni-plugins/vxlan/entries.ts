// What the VTEP must know of each peer: a route a subnet, by a gateway that is that peer's VTEP; the gateway's MAC; and the
// machine behind that MAC. Compared with what the kernel has, to the fewest changes. Pure; linear in peers.
import { formatCidr, formatIp, parseCidr } from '../../lib/cni/address.ts';
import type { NetOp } from '../../lib/kernel/net.ts';
import type { Peer } from './peers.ts';
import { gatewayOf } from './vtep.ts';

/** Each a map from what is looked up to what is found. */
export interface Entries {
  /** Subnet → gateway. */
  readonly routes: ReadonlyMap<string, string>;
  /** Gateway → MAC. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** MAC → the machine's address. */
  readonly fdb: ReadonlyMap<string, string>;
}

export const noEntries: Entries = { routes: new Map(), neighbours: new Map(), fdb: new Map() };

export function entriesOf(peers: readonly Peer[]): Entries {
  const nets = peers.flatMap((peer) => peer.subnets.map((net) => ({ net, mac: peer.mac })));
  return {
    routes: new Map(nets.map(({ net }) => [formatCidr(net), gatewayOf(net)])),
    neighbours: new Map(nets.map(({ net, mac }) => [gatewayOf(net), mac])),
    fdb: new Map(peers.map(({ mac, publicIP }) => [mac, formatIp(publicIP)])),
  };
}

/** The changes that lead from one to the other: FDB first, so that no packet finds a gateway that leads nowhere. */
export function planEntries(dev: string, wanted: Entries, seen: Entries): NetOp[] {
  return [
    ...differing(wanted.fdb, seen.fdb).map(([mac, to]): NetOp => ({ op: 'putFdb', dev, mac, to })),
    ...gone(wanted.fdb, seen.fdb).map(([mac, to]): NetOp => ({ op: 'deleteFdb', dev, mac, to })),
    ...differing(wanted.neighbours, seen.neighbours).map(
      ([ip, mac]): NetOp => ({ op: 'putNeighbour', dev, ip, mac }),
    ),
    ...differing(wanted.routes, seen.routes).map(
      ([dst, via]): NetOp => ({ op: 'putRoute', dev, dst, via, gateway: 'onlink' }),
    ),
    ...gone(wanted.routes, seen.routes).map(([dst]): NetOp => ({ op: 'deleteRoute', dev, dst })),
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
  const routes = rows.routes as Array<{ dst?: string; gateway?: string }>;
  const neighbours = rows.neighbours as Array<{ dst?: string; lladdr?: string; state?: string[] }>;
  const fdb = rows.fdb as Array<{ mac?: string; dst?: string; state?: string }>;
  return {
    routes: new Map(routes.flatMap(({ dst, gateway }) => (dst && gateway ? [[netOf(dst), gateway]] : []))),
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
function netOf(dst: string): string {
  const cidr = parseCidr(dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`);
  return cidr ? formatCidr(cidr) : dst;
}
