// A NetOp as the very bytes that `ip` sends for its text: same attributes, same order (the tests hold them side by side).
// Assumes names of links were turned into indexes, and namespaces opened, by the caller. Pure.
// Source of numbers: include/uapi/linux/{rtnetlink,if_link,if_addr,if_bridge,neighbour,veth}.h.
import type { NetOp } from '../net.ts';
import { addressBytes, broadcastOf, macBytes, splitCidr } from './address.ts';
import { flags, Request } from './message.ts';

/** What a change needs beside its own words. */
export interface Resolve {
  /** Index of a link in the namespace that the change is for. @throws KernelError ENODEV */
  link(name: string): number;
  /** An open descriptor of a namespace. @throws KernelError ENOENT */
  netns(name: string): number;
}

type Op<Name extends NetOp['op']> = Extract<NetOp, { op: Name }>;

export const rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  delRoute: 25,
  newNeigh: 28,
  delNeigh: 29,
} as const;
export const ifla = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  linkinfo: 18,
  ifalias: 20,
  afSpec: 26,
  netnsFd: 28,
  extMask: 29,
} as const;
export const infoKind = 1;
const infoData = 2;
const infoSlaveData = 5;
export const ifa = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
const nda = { dst: 1, lladdr: 2 } as const;
const rta = { dst: 1, oif: 4, gateway: 5, priority: 6, prefsrc: 7, metrics: 8, table: 15 } as const;

export const iff = { up: 0x1, promisc: 0x100 } as const;
export const familyOf = (address: string): 2 | 10 => (address.includes(':') ? 10 : 2); // AF_INET, AF_INET6

const change = flags.request | flags.ack;
const make = change | flags.create | flags.excl;
const put = change | flags.create | flags.replace;

/** struct ifinfomsg. */
const linkHead = (
  request: Request,
  { index = 0, flagBits = 0, mask = 0 }: { index?: number; flagBits?: number; mask?: number } = {},
): Request => request.fixed([1, 0], [1, 0], [2, 0], [4, index], [4, flagBits], [4, mask]);

/** The request of one change; undefined for one that is left to `ip`. */
export function encode(op: NetOp, resolve: Resolve): Request | undefined {
  switch (op.op) {
    case 'addBridge':
      return op.vlanFiltering ? undefined : addBridge(op);
    case 'addVeth':
      return addVeth(op, resolve);
    case 'addMacvlan':
      return addMacvlan(op, resolve);
    case 'renameLink':
      return linkHead(new Request(rtm.newLink, change), { index: resolve.link(op.name) }).name(
        ifla.ifname,
        op.to,
      );
    case 'setLink':
      return setLink(op, resolve);
    case 'setBridgePort':
      return setBridgePort(op, resolve);
    case 'addAddress':
    case 'putAddress':
    case 'deleteAddress':
      return address(op, resolve);
    case 'addRoute':
    case 'putRoute':
      return route(op, resolve);
    case 'deleteRoute':
      return deleteRoute(op, resolve);
    case 'putNeighbour':
    case 'deleteNeighbour':
      return neighbour(op, resolve);
    case 'putFdb':
    case 'deleteFdb':
      return fdb(op, resolve);
    case 'deleteLink':
      return linkHead(new Request(rtm.delLink, change), { index: resolve.link(op.name) });
    default:
      return undefined;
  }
}

const kinds: ReadonlySet<NetOp['op']> = new Set([
  'addBridge',
  'addVeth',
  'addMacvlan',
  'renameLink',
  'setLink',
  'setBridgePort',
  'addAddress',
  'putAddress',
  'deleteAddress',
  'addRoute',
  'putRoute',
  'deleteRoute',
  'putNeighbour',
  'deleteNeighbour',
  'putFdb',
  'deleteFdb',
  'deleteLink',
  'look',
]);

/** True for what `encode` knows to say, so that a list is either all ours or all ip's. */
export function canEncode(op: NetOp): boolean {
  if (!kinds.has(op.op)) return false;
  if (op.op === 'addBridge') return op.vlanFiltering === undefined;
  // ip refuses, or has other words for, a gateway of the other family.
  if (op.op === 'deleteRoute') return op.dst.includes('/');
  if (op.op === 'addRoute' || op.op === 'putRoute')
    return op.dst.includes('/') && (op.via === undefined || familyOf(op.via) === familyOf(op.dst));
  return true;
}

function properties(request: Request, link: { mac?: string | undefined; mtu?: number | undefined }): Request {
  if (link.mac !== undefined) request.bytes(ifla.address, macBytes(link.mac));
  if (link.mtu !== undefined) request.u32(ifla.mtu, link.mtu);
  return request;
}

function addBridge(op: Op<'addBridge'>): Request {
  const request = linkHead(new Request(rtm.newLink, make));
  properties(request, op).name(ifla.ifname, op.name);
  return request.nest(ifla.linkinfo, (info) => info.text(infoKind, 'bridge'));
}

function addVeth(op: Op<'addVeth'>, resolve: Resolve): Request {
  const { peer, mtu } = op;
  const request = linkHead(new Request(rtm.newLink, make));
  properties(request, op).name(ifla.ifname, op.name);
  return request.nest(ifla.linkinfo, (info) =>
    info.text(infoKind, 'veth').nest(infoData, (data) =>
      data.nest(1, (far) => {
        properties(linkHead(far), { mac: peer.mac, mtu });
        if (peer.netns !== undefined) far.u32(ifla.netnsFd, resolve.netns(peer.netns));
        far.name(ifla.ifname, peer.name);
      }),
    ),
  );
}

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;

function addMacvlan(op: Op<'addMacvlan'>, resolve: Resolve): Request {
  const request = linkHead(new Request(rtm.newLink, make));
  properties(request, op);
  if (op.netns !== undefined) request.u32(ifla.netnsFd, resolve.netns(op.netns));
  request.u32(ifla.link, resolve.link(op.parent)).name(ifla.ifname, op.name);
  return request.nest(ifla.linkinfo, (info) =>
    info.text(infoKind, 'macvlan').nest(infoData, (data) => {
      if (op.queue !== undefined) data.u32(7, op.queue); // IFLA_MACVLAN_BC_QUEUE_LEN
      data.u32(1, macvlanModes[op.mode]); // IFLA_MACVLAN_MODE
    }),
  );
}

function setLink(op: Op<'setLink'>, resolve: Resolve): Request {
  const flagBits = (op.state === 'up' ? iff.up : 0) | (op.promisc === 'on' ? iff.promisc : 0);
  const mask = (op.state ? iff.up : 0) | (op.promisc ? iff.promisc : 0);
  const request = linkHead(new Request(rtm.newLink, change), {
    index: resolve.link(op.name),
    flagBits,
    mask,
  });
  properties(request, op);
  if (op.alias !== undefined) request.text(ifla.ifalias, op.alias);
  if (op.master !== undefined) request.u32(ifla.master, resolve.link(op.master));
  if (op.linkLocal === 'none') request.nest(ifla.afSpec, (spec) => spec.nest(10, (inet6) => inet6.u8(8, 1))); // IFLA_INET6_ADDR_GEN_MODE: none
  return request;
}

function setBridgePort(op: Op<'setBridgePort'>, resolve: Resolve): Request {
  const request = linkHead(new Request(rtm.newLink, change), { index: resolve.link(op.name) });
  const bit = (state: 'on' | 'off'): number => (state === 'on' ? 1 : 0);
  return request.nest(ifla.linkinfo, (info) =>
    info.text(infoKind, 'bridge_slave').nest(infoSlaveData, (port) => {
      if (op.hairpin) port.u8(4, bit(op.hairpin)); // IFLA_BRPORT_MODE
      if (op.isolated) port.u8(33, bit(op.isolated)); // IFLA_BRPORT_ISOLATED
    }),
  );
}

function address(op: Op<'addAddress' | 'putAddress' | 'deleteAddress'>, resolve: Resolve): Request {
  const { ip, length } = splitCidr(op.address);
  const family = familyOf(ip);
  const bytes = addressBytes(ip);
  const deletes = op.op === 'deleteAddress';
  const noDad = op.op !== 'deleteAddress' && op.dad === 'skip' && family === 10 ? 0x02 : 0; // IFA_F_NODAD
  const host = !deletes && family === 2 && bytes[0] === 127 ? 254 : 0; // RT_SCOPE_HOST
  const request = new Request(
    deletes ? rtm.delAddr : rtm.newAddr,
    deletes ? change : op.op === 'addAddress' ? make : put,
  );
  // The header has room for the low flags only: with a higher one all of them go into an attribute.
  const wide = op.op !== 'deleteAddress' && op.prefixRoute === 'none' ? 0x200 | noDad : 0; // IFA_F_NOPREFIXROUTE
  request.fixed([1, family], [1, length], [1, wide === 0 ? noDad : 0], [1, host], [4, resolve.link(op.dev)]);
  request.bytes(ifa.local, bytes);
  if (wide !== 0) request.u32(ifa.flags, wide);
  request.bytes(ifa.address, bytes);
  if (!deletes && family === 2 && length < 31) request.bytes(ifa.broadcast, broadcastOf(bytes, length));
  return request;
}

function route(op: Op<'addRoute' | 'putRoute'>, resolve: Resolve): Request {
  const { ip, length } = splitCidr(op.dst);
  const family = familyOf(ip);
  const table = op.table ?? 254; // RT_TABLE_MAIN
  const scope = op.scope ?? (family === 2 && op.via === undefined ? 253 : 0); // RT_SCOPE_LINK, RT_SCOPE_UNIVERSE
  const onLink = op.gateway === 'onlink' ? 4 : 0; // RTNH_F_ONLINK
  const request = new Request(rtm.newRoute, op.op === 'addRoute' ? make : put);
  request.fixed([1, family], [1, length], [1, 0], [1, 0]);
  request.fixed([1, table < 256 ? table : 0], [1, op.protocol ?? 3], [1, scope], [1, 1], [4, onLink]); // RTPROT_BOOT, RTN_UNICAST
  request.bytes(rta.dst, addressBytes(ip));
  if (op.via !== undefined) request.bytes(rta.gateway, addressBytes(op.via));
  if (op.src !== undefined) request.bytes(rta.prefsrc, addressBytes(op.src));
  if (op.metric !== undefined) request.u32(rta.priority, op.metric);
  if (table > 255) request.u32(rta.table, table);
  request.u32(rta.oif, resolve.link(op.dev));
  const { mtu, advmss } = op;
  if (mtu === undefined && advmss === undefined) return request;
  return request.nest(rta.metrics, (metrics) => {
    if (mtu !== undefined) metrics.u32(2, mtu);
    if (advmss !== undefined) metrics.u32(8, advmss);
  });
}

function deleteRoute(op: Op<'deleteRoute'>, resolve: Resolve): Request {
  const { ip, length } = splitCidr(op.dst);
  const family = familyOf(ip);
  const scope = family === 2 ? 255 : 0; // RT_SCOPE_NOWHERE: of any scope
  const request = new Request(rtm.delRoute, change);
  request.fixed([1, family], [1, length], [1, 0], [1, 0]);
  request.fixed([1, 254], [1, op.protocol ?? 0], [1, scope], [1, 0], [4, 0]);
  return request.bytes(rta.dst, addressBytes(ip)).u32(rta.oif, resolve.link(op.dev));
}

const nud = { noarp: 0x40, permanent: 0x80 } as const;

function neighbour(op: Op<'putNeighbour'> | Op<'deleteNeighbour'>, resolve: Resolve): Request {
  const request = new Request(
    op.op === 'putNeighbour' ? rtm.newNeigh : rtm.delNeigh,
    op.op === 'putNeighbour' ? put : change,
  );
  request.fixed([1, familyOf(op.ip)], [1, 0], [2, 0], [4, resolve.link(op.dev)]);
  request.fixed([2, nud.permanent], [1, 0], [1, 0]).bytes(nda.dst, addressBytes(op.ip));
  return op.op === 'putNeighbour' ? request.bytes(nda.lladdr, macBytes(op.mac)) : request;
}

function fdb(op: Op<'putFdb' | 'deleteFdb'>, resolve: Resolve): Request {
  const request = new Request(
    op.op === 'putFdb' ? rtm.newNeigh : rtm.delNeigh,
    op.op === 'putFdb' ? put : change,
  );
  request.fixed([1, 7], [1, 0], [2, 0], [4, resolve.link(op.dev)]); // PF_BRIDGE
  request.fixed([2, nud.noarp | nud.permanent], [1, 2], [1, 0]); // NTF_SELF
  return request.bytes(nda.lladdr, macBytes(op.mac)).bytes(nda.dst, addressBytes(op.to));
}
