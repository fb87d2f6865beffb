// A backend's own link: its name, the alias that says whose it is, and the node's own addresses on it.
// Assumes the first address of a node's subnet goes to no Pod: the node itself speaks to Pods elsewhere from it. Pure but
// for the removal.
import { type Cidr, formatIp, networkOf } from '../cni/address.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { readLinkInfo } from '../kernel/link-info.ts';
import { deleteLink } from '../kernel/link.ts';
import type { NetOp } from '../kernel/net.ts';
import type { BackendName, LocalNode } from './types.ts';

const shortNames = { vxlan: 'vx', wireguard: 'wg', ipip: 'ipip' } as const;
type Tunnel = keyof typeof shortNames;

/** `podwire-vx`, or `pw<tag>-vx` where several nodes share a machine. */
export const linkName = (backend: Tunnel, tag: string): string =>
  `${tag === '' ? 'podwire' : `pw${tag}`}-${shortNames[backend]}`;

/** Of any node on this machine. */
export const isOwnLinkName = (name: string): boolean => /^(podwire|pw[0-9a-f]{6})-(vx|wg|ipip)$/.test(name);

export const aliasOf = (backend: BackendName): string => `podwire: node network ${backend}`;

/** Of the node's own address among its Pods' where there is no link to hold it, and lo does. */
export const loLabel = 'lo:podwire';

const ownAddress = (net: Cidr): string => `${formatIp(networkOf(net))}/${net.ip.family === 4 ? 32 : 128}`;

/** The changes that leave the node's own addresses, and no others, on its link. */
export function ownAddressOps(
  seen: { readonly name: string; readonly addresses?: readonly string[] },
  { podCidrs }: Pick<LocalNode, 'podCidrs'>,
): NetOp[] {
  const dev = seen.name;
  const wanted = podCidrs.map(ownAddress);
  const has = seen.addresses ?? [];
  return [
    ...wanted
      .filter((address) => !has.includes(address))
      .map((address): NetOp => ({ op: 'putAddress', dev, address, dad: 'skip' })),
    ...has
      .filter((address) => !wanted.includes(address))
      .map((address): NetOp => ({ op: 'deleteAddress', dev, address })),
  ];
}

/** Only a link that carries our alias. */
export async function removeOwnLink(name: string, options: KernelOptions): Promise<void> {
  const seen = await readLinkInfo(name, options);
  if (seen?.alias.startsWith('podwire: node network ')) await deleteLink(name, options);
}
