// The VTEP of a CNI network: its alias, which says whose it is and what was last put into it, and its own addresses.
// Assumes links with our alias are ours to remake; lib/kernel/vtep.ts judges one that is there. Pure.
import { type Cidr, formatCidr, formatIp, networkOf } from '../../lib/cni/address.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import type { LinkInfo } from '../../lib/kernel/link-info.ts';
import type { NetOp } from '../../lib/kernel/net.ts';
import { judgeVtep, makeVtepOps, type Verdict, type Vtep } from '../../lib/kernel/vtep.ts';
import type { Peer } from './peers.ts';

export type { Vtep } from '../../lib/kernel/vtep.ts';

const aliasStart = (network: string): string => `podwire: overlay ${network} `;

export const judge = (seen: LinkInfo, wanted: Vtep, network: string): Verdict =>
  judgeVtep(seen, wanted, isOurs(seen, network) ? 'us' : 'others');

export const makeOps = (vtep: Vtep, network: string): NetOp[] =>
  makeVtepOps(vtep, `${aliasStart(network)}begun`);

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
