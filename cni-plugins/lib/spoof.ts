// Anti-spoofing: what comes out of a container has the MAC it was given and, where IPAM gave addresses, one of those as
// its source. Assumes nftables >= 1.0; one table for all networks, `bridge podwire-cni`; a chain a guarded port, found by
// one look-up in a map whatever the number of ports. The chain's name follows from the port's: DEL needs no memory.
import { type Cidr, formatIp, parseCidr } from '../../lib/cni/address.ts';
import { isAbsent } from '../../lib/kernel/errors.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import type { KernelOptions } from '../../lib/kernel/ip.ts';
import { nftApply, nftComment, nftList } from '../../lib/kernel/nftables.ts';
import { isV6, linkLocalOf } from './pod.ts';

export interface Guard {
  /** The bridge's port: what comes in by it comes out of the container. */
  readonly port: string;
  readonly mac: string;
  /** `ip/prefix length`; undefined: any address goes. */
  readonly addresses: readonly string[] | undefined;
  /** Frames with a VLAN tag may pass (a trunk): their addresses cannot be looked at. */
  readonly tagged: 'pass' | 'drop';
  /** For a person: who it belongs to. */
  readonly owner: string;
}

const table = 'bridge podwire-cni';
const hook = `${table} spoof`;
const chainOf = (port: string): string => `spoof-${port}`;
const bare = (address: string): string => formatIp((parseCidr(address) as Cidr).ip);
const setOf = (items: readonly string[]): string => `{ ${items.join(', ')} }`;

/** The rules of one port, each a condition that drops. Pure. */
export function guardRules({ mac, addresses, tagged }: Guard): string[] {
  const rules = [`ether saddr != ${mac}`, `arp saddr ether != ${mac}`];
  if (!addresses) return rules;
  const four = addresses.filter((address) => !isV6(address)).map(bare);
  const six = addresses.filter(isV6).map(bare);
  // 0.0.0.0 asks whether an address is free (RFC 5227); :: and the MAC's own fe80:: are what IPv6 begins with.
  const arp = setOf(['0.0.0.0', ...four]);
  const ip6 = setOf(['::', bare(linkLocalOf(mac)), ...six]);
  return [
    ...rules,
    // A tag would hide the addresses, and one of VLAN 0 is taken off by the receiver.
    ...(tagged === 'drop' ? ['ether type vlan', 'meta protocol != { ip, arp, ip6 }'] : []),
    `arp saddr ip != ${arp}`,
    four.length > 0 ? `ip saddr != ${setOf(four)}` : 'meta protocol ip',
    `ip6 saddr != ${ip6}`,
  ];
}

/** Tells rules of one guard from those of another: stands in their comment. */
const labelOf = (guard: Guard): string =>
  `${guard.owner} ${sha256(guardRules(guard).join('\n')).slice(0, 8)}`.slice(-120);

/** The transaction that puts a port under guard. Repeatable. Pure. */
export function guardText(guard: Guard): string {
  const chain = `${table} ${chainOf(guard.port)}`;
  const comment = nftComment(labelOf(guard));
  return `${[
    `add table ${table}`,
    `add map ${table} ports { type ifname : verdict; }`,
    `add chain ${hook} { type filter hook prerouting priority -300; policy accept; }`,
    `flush chain ${hook}`,
    `add rule ${hook} iifname vmap @ports`,
    `add chain ${chain}`,
    `flush chain ${chain}`,
    ...guardRules(guard).map((rule) => `add rule ${chain} ${rule} drop comment ${comment}`),
    `add element ${table} ports { ${nftComment(guard.port)} : jump ${chainOf(guard.port)} }`,
  ].join('\n')}\n`;
}

/** The transaction that ends it, whether or not it is there (nft refuses to delete what is not, so it is made first). Pure. */
export function unguardText(port: string): string {
  const chain = `${table} ${chainOf(port)}`;
  const element = `${table} ports { ${nftComment(port)} : jump ${chainOf(port)} }`;
  return `${[
    `add chain ${chain}`,
    `add element ${element}`,
    `delete element ${element}`,
    `flush chain ${chain}`,
    `delete chain ${chain}`,
  ].join('\n')}\n`;
}

export const addGuard = (guard: Guard, options: KernelOptions): Promise<void> =>
  nftApply(guardText(guard), options);

export async function dropGuard(port: string, options: KernelOptions): Promise<void> {
  try {
    await nftApply(unguardText(port), options);
  } catch (error) {
    if (!isAbsent(error)) throw error; // no table: nothing was ever guarded
  }
}

/** Ends the guard of every port that `isStale`. */
export async function dropGuards(isStale: (port: string) => boolean, options: KernelOptions): Promise<void> {
  const objects = (await nftList(['table', ...table.split(' ')], options)) ?? [];
  const names = objects.flatMap(({ chain }) => (typeof chain?.name === 'string' ? [chain.name] : []));
  for (const name of names.filter((one) => one.startsWith(chainOf('')))) {
    const port = name.slice(chainOf('').length);
    if (isStale(port)) await dropGuard(port, options);
  }
}

/** What is wrong with a port's guard, in words. */
export async function guardFaults(guard: Guard, options: KernelOptions): Promise<string[]> {
  const objects = (await nftList(['table', ...table.split(' ')], options)) ?? [];
  const rules = objects.filter(({ rule }) => rule?.chain === chainOf(guard.port));
  const label = nftComment(labelOf(guard)).slice(1, -1);
  const whole =
    rules.length === guardRules(guard).length && rules.every(({ rule }) => rule?.comment === label);
  const elements = objects.find(({ map }) => map?.name === 'ports')?.map?.elem;
  const reached =
    Array.isArray(elements) && elements.some((one) => Array.isArray(one) && one[0] === guard.port);
  return whole && reached ? [] : [`the rules of macspoofchk for ${guard.port} are missing or changed`];
}
