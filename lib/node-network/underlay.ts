// The network below the Pods': the link that holds the node's address, what it carries at a time, and what is on it.
// Assumes the node's address is on one link of this namespace. One question to `ip`.
import { networkInterfaces } from 'node:os';
import { parseCidr, parseIp } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import { ipJson, type KernelOptions } from '../kernel/ip.ts';
import type { Family, Underlay } from './types.ts';

interface IpLink {
  ifname?: string;
  mtu: number;
  flags: string[];
  addr_info?: Array<{ local: string; prefixlen: number; scope: string }>;
}

/** `addresses`: the node's, at most one a family. @throws PodwireError UNDERLAY_NOT_FOUND */
export async function findUnderlay(
  addresses: readonly string[],
  options: KernelOptions = {},
): Promise<Underlay> {
  const [first = ''] = addresses;
  const holder = Object.entries(networkInterfaces()).find(([, held]) =>
    held?.some(({ address }) => address === first),
  );
  if (!holder) throw notFound(first);
  const [link] = (await ipJson(['addr', 'show', 'dev', holder[0]], options)) as [IpLink?];
  if (!link?.ifname) throw notFound(first);
  return underlayOf(link, addresses);
}

const notFound = (address: string): PodwireError =>
  new PodwireError(
    'UNDERLAY_NOT_FOUND',
    `node address ${address}: no link of this machine has it; give one that others reach it by (--node-ip)`,
  );

/** Of the answer of `ip -j addr show dev`. Pure. */
export function underlayOf(link: IpLink, addresses: readonly string[]): Underlay {
  const own: Partial<Record<Family, string>> = {};
  for (const address of addresses) {
    const ip = parseIp(address);
    if (ip) own[ip.family] ??= address;
  }
  const nets = (link.addr_info ?? []).flatMap(({ local, prefixlen, scope }) =>
    scope === 'link' ? [] : (parseCidr(`${local}/${prefixlen}`) ?? []),
  );
  return {
    device: link.ifname ?? '',
    mtu: link.flags.includes('LOOPBACK') ? undefined : link.mtu,
    addresses: own,
    family: parseIp(addresses[0] ?? '')?.family ?? 4,
    nets,
  };
}
