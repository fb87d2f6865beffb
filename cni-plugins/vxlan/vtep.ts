// The VTEP: the link that wraps Pods' packets for the other machines. What one that is there differs in, in words, and
// what follows: use it as it is, set it right, or make it anew. Assumes links with our alias are ours to remake. Pure.
import { type Cidr, formatCidr, formatIp, networkOf } from '../../lib/cni/address.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import type { LinkInfo } from '../../lib/kernel/link-info.ts';
import type { NetOp } from '../../lib/kernel/net.ts';
import type { Peer } from './peers.ts';

export interface Vtep {
  readonly name: string;
  readonly id: number;
  readonly port: number;
  /** Address that packets leave from. */
  readonly local: string;
  readonly device: string;
  readonly mac: string;
  readonly mtu: number;
}

export type Verdict =
  | { readonly do: 'reuse'; readonly fix: readonly NetOp[]; readonly reasons: readonly string[] }
  | { readonly do: 'recreate'; readonly reasons: readonly string[] }
  /** Not ours, and of no use as it is. */
  | { readonly do: 'refuse'; readonly reasons: readonly string[] };

const aliasStart = (network: string): string => `podwire: overlay ${network} `;

/** What cannot be changed while the link lives. */
function incompatible(seen: LinkInfo, wanted: Vtep): string[] {
  if (seen.kind !== 'vxlan') return [`it is no vxlan${seen.kind === '' ? '' : ` (${seen.kind})`}`];
  const { id, port, local, local6, link, learning, group, group6 } = seen.data;
  const differences: Array<[string, unknown, unknown]> = [
    ['VNI', id, wanted.id],
    ['port', port, wanted.port],
    ['local address', local ?? local6, wanted.local],
    ['device', link, wanted.device],
    ['learning', learning, false],
    ['multicast group', group ?? group6, undefined],
  ];
  return differences.flatMap(([what, is, should]) =>
    is === should ? [] : [`its ${what} is ${is ?? 'none'}, not ${should ?? 'none'}`],
  );
}

export function judge(seen: LinkInfo, wanted: Vtep, network: string): Verdict {
  const reasons = incompatible(seen, wanted);
  if (reasons.length > 0) return { do: isOurs(seen, network) ? 'recreate' : 'refuse', reasons };
  const { name, mac, mtu } = wanted;
  const fix: NetOp[] = [];
  const told: string[] = [];
  if (seen.mac !== mac) {
    fix.push({ op: 'setLink', name, mac });
    told.push(`its MAC was ${seen.mac}, not ${mac}`);
  }
  if (seen.mtu !== mtu) {
    fix.push({ op: 'setLink', name, mtu });
    told.push(`its MTU was ${seen.mtu}, not ${mtu}`);
  }
  if (!seen.up) {
    fix.push({ op: 'setLink', name, state: 'up' });
    told.push('it was down');
  }
  return { do: 'reuse', fix, reasons: told };
}

/** Ours from its first moment, so that nothing a kill leaves behind is taken for somebody else's. */
export const makeOps = ({ name, id, port, local, device, mac, mtu }: Vtep, network: string): NetOp[] => [
  { op: 'addVxlan', name, id, port, local, dev: device, mac, mtu },
  { op: 'setLink', name, alias: `${aliasStart(network)}begun` },
  { op: 'setLink', name, linkLocal: 'none' },
  { op: 'setLink', name, state: 'up' },
];

/** The node's own address on the overlay: the first of its subnet, which no Pod gets. */
export const gatewayOf = (net: Cidr): string => formatIp(networkOf(net));

export const ownAddressOps = (name: string, nets: readonly Cidr[]): NetOp[] =>
  nets.map((net) => ({
    op: 'putAddress',
    dev: name,
    address: `${gatewayOf(net)}/${net.ip.family === 4 ? 32 : 128}`,
    dad: 'skip',
  }));

export const isOurs = (seen: LinkInfo, network: string): boolean =>
  seen.kind === 'vxlan' && seen.alias.startsWith(aliasStart(network));

/** Says whose the link is and, as a digest, what was last put into it: an ADD that finds the same need not look further. */
export function aliasOf(
  network: string,
  wanted: Vtep,
  all: { peers: readonly Peer[]; nets: readonly Cidr[] },
): string {
  const entries = all.peers.map(
    ({ mac, publicIP, subnets }) => `${mac} ${formatIp(publicIP)} ${subnets.map(formatCidr).join(' ')}`,
  );
  const text = [JSON.stringify(wanted), ...all.nets.map(formatCidr).sort(), ...entries.sort()].join('\n');
  return `${aliasStart(network)}${sha256(text).slice(0, 16)}`;
}
