// The link of a tunnel backend without settings of its own beyond kind and MTU (wireguard, ipip): made, kept, set right.
// Assumes the alias says whose it is. One question, and one change where something differs.
import { PodwireError } from '../exec/errors.ts';
import { isNotSupported } from '../kernel/errors.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { deleteLink } from '../kernel/link.ts';
import { type LinkInfo, lackOf, readLinkInfo } from '../kernel/link-info.ts';
import { ipNet, type NetOp } from '../kernel/net.ts';
import { linkLocalOff, settings } from '../kernel/vtep.ts';
import { aliasOf, ownAddressOps } from './own-link.ts';
import type { LocalNode } from './types.ts';

export interface TunnelLink {
  readonly kind: 'wireguard' | 'ipip';
  readonly name: string;
  readonly mtu: number;
  readonly make: NetOp;
  /** What cannot be changed while the link lives, in words. */
  readonly incompatible: (seen: LinkInfo) => readonly string[];
}

/** Gives what was wrong, in words. @throws PodwireError LINK_CONFLICT, BACKEND_NOT_AVAILABLE */
export async function ensureTunnel(
  local: LocalNode,
  tunnel: TunnelLink,
  options: Omit<KernelOptions, 'netns'>,
): Promise<string[]> {
  const { kind, name, mtu } = tunnel;
  const net = ipNet(options);
  const seen = await readLinkInfo(name, options);
  const reasons = seen ? incompatible(seen, tunnel) : [];
  if (seen && seen.alias !== aliasOf(kind))
    throw new PodwireError('LINK_CONFLICT', `link ${name} is there and not podwire's; remove or rename it`);
  if (seen && reasons.length === 0) {
    const right = settings(seen, { name, mac: '', mtu });
    await net.apply([...right.fix, ...ownAddressOps(seen, local)]);
    return right.reasons;
  }
  if (seen) await deleteLink(name, options);
  const ops: NetOp[] = [
    tunnel.make,
    { op: 'setLink', name, alias: aliasOf(kind) },
    ...linkLocalOff(name, mtu),
    { op: 'setLink', name, state: 'up' },
    ...ownAddressOps({ name }, local),
  ];
  try {
    await net.apply(ops);
  } catch (error) {
    await deleteLink(name, options).catch(() => false);
    throw isNotSupported(error) ? lacks(kind, error) : error;
  }
  return reasons.map((reason) => `${reason}: made anew`);
}

const incompatible = (seen: LinkInfo, tunnel: TunnelLink): readonly string[] =>
  seen.kind === tunnel.kind ? tunnel.incompatible(seen) : [`it is no ${tunnel.kind} (${seen.kind})`];

export const lacks = (kind: 'wireguard' | 'ipip' | 'vxlan', cause?: unknown): PodwireError =>
  new PodwireError(
    'BACKEND_NOT_AVAILABLE',
    `network backend ${kind}: ${lackOf(kind)}; load the module, or choose another by --network-backend`,
    { cause },
  );
