// What an ADD of ptp does, computed: two lists of changes (machine, container) and the result. The container reaches only
// its gateway on the link, and all else through it, its own subnet too: so every packet is routed. Pure.
import {
  type Cidr,
  formatCidr,
  formatIp,
  networkOf,
  parseCidr,
  parseIp,
  sameIp,
} from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import type { CniIp, CniResult } from '../../lib/cni/types.ts';
import type { NetOp } from '../../lib/kernel/net.ts';
import { isV6, linkLocalOf, netnsWord, routeOp } from '../lib/pod.ts';
import type { PtpConf } from './conf.ts';

export interface Wish {
  readonly conf: PtpConf;
  readonly netns: string;
  readonly ifname: string;
  /** The machine's end of the pair. */
  readonly veth: string;
  readonly alias: string;
  readonly macs: { readonly host: string; readonly container: string };
  /** The machine has IPv6 at all, and a link of this MTU. */
  readonly ipv6: boolean;
  readonly ipam: CniResult;
}

export interface AddPlan {
  readonly host: readonly NetOp[];
  readonly pod: readonly NetOp[];
  readonly result: CniResult;
}

/** @throws CniError 7 where IPAM gave an address without a gateway */
export function planAdd(wish: Wish): AddPlan {
  const { conf, macs, ipam } = wish;
  const ips = (ipam.ips ?? []).map(checkGateway);
  const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
  const result: CniResult = {
    interfaces: [
      { name: wish.veth, mac: macs.host, ...mtu },
      { name: wish.ifname, mac: macs.container, ...mtu, sandbox: wish.netns },
    ],
    ips: ips.map((ip) => ({ ...ip, interface: 1 })),
    routes: ipam.routes ?? [],
    dns: Object.keys(conf.dns).length > 0 ? conf.dns : (ipam.dns ?? {}),
  };
  return { host: hostOps(wish, ips), pod: podSideOps(wish, ips), result };
}

type Gated = CniIp & { readonly gateway: string };

function checkGateway(ip: CniIp): Gated {
  const { address, gateway } = ip;
  const own = (parseCidr(address) as Cidr).ip;
  const near = gateway === undefined ? undefined : parseIp(gateway);
  if (near?.family === own.family && !sameIp(near, own)) return { ...ip, gateway: formatIp(near) };
  const got = gateway === undefined ? 'without a gateway' : `with gateway ${gateway}`;
  throw cniError(
    'CNI_INVALID_CONFIG',
    `ipam: gave ${address} ${got}; ptp needs another address of that family for the machine's end`,
  );
}

const alone = (address: string): string => `${address}/${isV6(address) ? 128 : 32}`;
const ipOf = (ip: CniIp): string => formatIp((parseCidr(ip.address) as Cidr).ip);
const distinct = (items: readonly string[]): string[] => [...new Set(items)];

/** The pair, the gateways' addresses on our end (the same ones on every pair), and a route to each of the container's. */
function hostOps(wish: Wish, ips: readonly Gated[]): NetOp[] {
  const { conf, veth, macs } = wish;
  const six = ips.some((ip) => isV6(ip.address));
  return [
    {
      op: 'addVeth',
      name: veth,
      mac: macs.host,
      ...(conf.mtu === undefined ? {} : { mtu: conf.mtu }),
      peer: { name: wish.ifname, mac: macs.container, netns: netnsWord(wish.netns) },
    },
    ...(wish.ipv6 ? [{ op: 'setLink', name: veth, linkLocal: 'none' } as const] : []),
    { op: 'setLink', name: veth, alias: wish.alias, state: 'up' },
    ...(six ? [{ op: 'putAddress', dev: veth, address: linkLocalOf(macs.host), dad: 'skip' } as const] : []),
    ...distinct(ips.map((ip) => alone(ip.gateway))).map(
      (address): NetOp => ({ op: 'putAddress', dev: veth, address, dad: 'skip' }),
    ),
    ...ips.map((ip): NetOp => ({ op: 'addRoute', dev: veth, dst: alone(ipOf(ip)) })),
  ];
}

function podSideOps({ ifname, macs, ipam }: Wish, ips: readonly Gated[]): NetOp[] {
  const six = ips.some((ip) => isV6(ip.address));
  const routes = ips.flatMap((ip): NetOp[] => {
    const { ip: own, length } = parseCidr(ip.address) as Cidr;
    const subnet = formatCidr({ ip: networkOf({ ip: own, length }), length });
    const src = formatIp(own);
    const toSubnet: NetOp = { op: 'putRoute', dev: ifname, dst: subnet, via: ip.gateway, src };
    return [
      { op: 'putRoute', dev: ifname, dst: alone(ip.gateway), src, scope: 253 },
      ...(subnet === alone(src) ? [] : [toSubnet]),
    ];
  });
  return [
    ...(six ? [{ op: 'setLink', name: ifname, linkLocal: 'none' } as const] : []),
    { op: 'setLink', name: ifname, state: 'up' },
    ...(six
      ? [{ op: 'addAddress', dev: ifname, address: linkLocalOf(macs.container), dad: 'skip' } as const]
      : []),
    ...ips.map(
      ({ address }): NetOp => ({ op: 'addAddress', dev: ifname, address, dad: 'skip', prefixRoute: 'none' }),
    ),
    ...routes,
    ...(ipam.routes ?? []).map((route) => routeOp(route, ips, ifname)),
  ];
}
