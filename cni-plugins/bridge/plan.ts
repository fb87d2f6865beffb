// What an ADD does, computed: from configuration, what the bridge is now, and the addresses IPAM gave, to two lists of
// changes (host, Pod) and the result. Pure. A few dozen operations at most.
import {
  type Cidr,
  formatCidr,
  formatIp,
  networkOf,
  overlap,
  parseCidr,
  parseIp,
  plus,
} from '../../lib/cni/address.ts';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniIp, CniResult, CniRoute } from '../../lib/cni/types.ts';
import type { LinkFacts, NetOp } from '../../lib/kernel/net.ts';
import { ownCodes } from '../skel/codes.ts';
import { isV6, netnsWord, podOps } from '../lib/pod.ts';
import type { BridgeConf } from './conf.ts';
import { portVlanOps } from './vlan.ts';

export interface Wish {
  readonly conf: BridgeConf;
  readonly netns: string;
  readonly ifname: string;
  /** Host end of the pair. */
  readonly veth: string;
  /** Shown by `ip link`; who it belongs to. */
  readonly alias: string;
  readonly macs: { readonly bridge: string; readonly host: string; readonly container: string };
  /** The machine has IPv6 at all, and a link of this MTU. */
  readonly ipv6: boolean;
  /** Of IPAM; {} without. */
  readonly ipam: CniResult;
}

export interface AddPlan {
  readonly host: readonly NetOp[];
  /** Those of `host` that make the bridge the gateway. */
  readonly gateway: readonly NetOp[];
  readonly pod: readonly NetOp[];
  readonly result: CniResult;
}

/**
 * `bridge` undefined: there is none; 'unknown': there is one, and the first change looks at it. The plan then trusts
 * it to be the gateway already, as it nearly always is, and is to be made again with what was seen.
 * @throws CniError 112 where the bridge has another address and forceAddress is not set
 */
export function planAdd(wish: Wish, seen: LinkFacts | 'unknown' | undefined): AddPlan {
  const bridge = seen === 'unknown' ? undefined : seen;
  const { conf, macs } = wish;
  const ips = withGateways(conf, wish.ipam.ips ?? []);
  const routes = withDefaultRoutes(conf, ips, wish.ipam.routes ?? []);
  const result: CniResult = {
    interfaces: [
      { name: conf.bridge, mac: bridge?.mac ?? macs.bridge },
      { name: wish.veth, mac: macs.host },
      { name: wish.ifname, mac: macs.container, sandbox: wish.netns },
    ].map((one, at) => (at > 0 && conf.mtu !== undefined ? { ...one, mtu: conf.mtu } : one)),
    ips: ips.map((ip) => ({ ...ip, interface: 2 })),
    routes,
    dns: Object.keys(conf.dns).length > 0 ? conf.dns : (wish.ipam.dns ?? {}),
  };
  const inVlan = conf.vlans?.access !== undefined;
  const own = inVlan ? [] : gatewayOps(wish, ips, bridge);
  const side = { ifname: wish.ifname, mac: macs.container, enableDad: conf.enableDad };
  return {
    host: [
      ...(seen === undefined ? makeBridge(conf, macs.bridge) : filtering(conf)),
      ...(seen === 'unknown' ? [{ op: 'look', name: conf.bridge } as const] : own),
      ...portOps(wish),
    ],
    gateway: own,
    pod: conf.containerInterface ? podOps(side, ips, routes) : [],
    result,
  };
}

/** Changes that were found done: what a script would have to do on a machine without the bridge. For `explain`. */
export function heldOps(wish: Wish, seen: LinkFacts | 'unknown' | undefined): NetOp[] {
  if (seen === undefined) return [];
  const { conf, macs, ipam } = wish;
  const make = makeBridge(conf, seen === 'unknown' ? macs.bridge : seen.mac);
  const inVlan = conf.vlans?.access !== undefined;
  return inVlan ? make : [...make, ...gatewayOps(wish, withGateways(conf, ipam.ips ?? []), undefined)];
}

const filtering = (conf: BridgeConf): NetOp[] =>
  conf.vlans ? [{ op: 'setBridge', name: conf.bridge, vlanFiltering: 'on' }] : [];

/** Of a gateway that is in a VLAN: what gives `dev`, which `seen` tells of, the gateways' addresses. */
export const vlanGatewayOps = (wish: Wish, seen: LinkFacts, result: CniResult): NetOp[] =>
  gatewayOps(wish, result.ips ?? [], seen, seen.name);

const makeBridge = (conf: BridgeConf, mac: string): NetOp[] => [
  // The MAC is given at creation: a bridge that has none of its own takes its ports' lowest, and changes with them.
  {
    op: 'addBridge',
    name: conf.bridge,
    mac,
    ...(conf.mtu === undefined ? {} : { mtu: conf.mtu }),
    ...(conf.vlans ? { vlanFiltering: 'on' } : {}),
  },
  { op: 'setLink', name: conf.bridge, state: 'up', ...(conf.promiscMode ? { promisc: 'on' as const } : {}) },
];

/** Each address with a gateway: IPAM's own, else (for a gateway bridge) the first address of its net. */
function withGateways(conf: BridgeConf, ips: readonly CniIp[]): CniIp[] {
  return ips.map((ip) => {
    if (ip.gateway !== undefined || !conf.isGateway) return ip;
    return { ...ip, gateway: formatIp(plus(networkOf(parseCidr(ip.address) as Cidr), 1n)) };
  });
}

function withDefaultRoutes(conf: BridgeConf, ips: readonly CniIp[], routes: readonly CniRoute[]): CniRoute[] {
  const all = [...routes];
  if (!conf.isDefaultGateway) return all;
  for (const ip of ips) {
    const dst = isV6(ip.address) ? '::/0' : '0.0.0.0/0';
    if (all.some((route) => route.dst === dst && route.gw !== undefined) || ip.gateway === undefined)
      continue;
    all.push({ dst, gw: ip.gateway });
  }
  // A route of IPAM without a gateway goes by the same one: two would clash in the kernel.
  return all.filter(
    (route) =>
      route.gw !== undefined || !all.some((other) => other.dst === route.dst && other.gw !== undefined),
  );
}

/** The bridge as gateway of each net. `putAddress` does no harm where another ADD was faster. */
function gatewayOps(
  { conf }: Wish,
  ips: readonly CniIp[],
  bridge: LinkFacts | undefined,
  dev = conf.bridge,
): NetOp[] {
  if (!conf.isGateway) return [];
  const ops: NetOp[] = [];
  for (const ip of ips) {
    const wanted: Cidr = {
      ip: parseIp(ip.gateway ?? '') ?? (parseCidr(ip.address) as Cidr).ip,
      length: (parseCidr(ip.address) as Cidr).length,
    };
    const address = formatCidr(wanted);
    const held = (bridge?.addresses ?? [])
      .filter((text) => isV6(text) === isV6(address))
      .map((text) => parseCidr(text))
      .filter((cidr) => cidr !== undefined);
    if (held.some((cidr) => formatCidr(cidr) === address)) continue;
    for (const other of held.filter((cidr) => clashes(cidr, wanted))) {
      if (!conf.forceAddress)
        throw new CniError(
          ownCodes.bridgeConflict,
          `bridge ${dev} has address ${formatCidr(other)}, not ${address}`,
          {
            details: 'set forceAddress, or give the network another bridge',
          },
        );
      ops.push({ op: 'deleteAddress', dev, address: formatCidr(other) });
    }
    ops.push({
      op: 'putAddress',
      dev,
      address,
      ...(conf.enableDad ? {} : { dad: 'skip' as const }),
    });
  }
  return ops;
}

/** One IPv4 address a bridge; several of IPv6 where their nets are apart. As the reference has it. */
const clashes = (held: Cidr, wanted: Cidr): boolean =>
  held.ip.family === wanted.ip.family && (wanted.ip.family === 4 || overlap(held, wanted));

function portOps(wish: Wish): NetOp[] {
  const { conf, veth, macs } = wish;
  const port: NetOp = {
    op: 'setBridgePort',
    name: veth,
    ...(conf.hairpinMode ? { hairpin: 'on' as const } : {}),
    ...(conf.portIsolation ? { isolated: 'on' as const } : {}),
  };
  return [
    {
      op: 'addVeth',
      name: veth,
      mac: macs.host,
      ...(conf.mtu === undefined ? {} : { mtu: conf.mtu }),
      peer: { name: wish.ifname, mac: macs.container, netns: netnsWord(wish.netns) },
    },
    // A bridge port needs no address of its own: without fe80:: it sends no DAD and no router solicitations.
    ...(wish.ipv6 ? [{ op: 'setLink', name: veth, linkLocal: 'none' } as const] : []),
    { op: 'setLink', name: veth, alias: wish.alias, master: conf.bridge, state: 'up' },
    ...(conf.hairpinMode || conf.portIsolation ? [port] : []),
    ...(conf.vlans ? portVlanOps(veth, conf.vlans) : []),
  ];
}
