// The network below the Pods': the link that holds the node's address, what it carries at a time, and what is on it.
// Assumes the node's address is on one link of this namespace. One question to `ip`.
import { networkInterfaces } from 'node:os';
import { formatIp, parseCidr, parseIp } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import { ipJson, type KernelOptions } from '../kernel/ip.ts';
import type { Family, Underlay } from './types.ts';

interface IpAddress {
  local: string;
  prefixlen: number;
  scope: string;
  temporary?: boolean;
  deprecated?: boolean;
}

interface IpLink {
  ifname?: string;
  mtu: number;
  flags: string[];
  addr_info?: IpAddress[];
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

/** Of the answer of `ip -j addr show dev`; the first of `addresses` is whose family tunnels have. Pure. */
export function underlayOf(link: IpLink, addresses: readonly string[]): Underlay {
  const own: Partial<Record<Family, string>> = {};
  const held = (link.addr_info ?? []).filter(({ scope }) => scope !== 'link');
  // A family that nobody named: the link's own address of it, if it is one to stay.
  const lasting = held.filter(({ temporary, deprecated }) => !temporary && !deprecated);
  for (const address of [...addresses, ...lasting.map(({ local }) => local)]) {
    const ip = parseIp(address);
    if (ip) own[ip.family] ??= formatIp(ip);
  }
  const nets = held.flatMap(({ local, prefixlen }) => parseCidr(`${local}/${prefixlen}`) ?? []);
  return {
    device: link.ifname ?? '',
    mtu: link.flags.includes('LOOPBACK') ? undefined : link.mtu,
    addresses: own,
    family: parseIp(addresses[0] ?? '')?.family ?? 4,
    nets,
  };
}
