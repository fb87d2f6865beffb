// ipMasq: packets of these containers that leave for another net go out under the machine's own address.
// Assumes nftables >= 1.0 and one table for all networks, `inet podwire-cni`; per network and family a set of addresses,
// a set of nets they reach as they are, and one rule. ADD puts elements in, DEL takes them out: one transaction each, O(1) in containers.
import { type Cidr, formatCidr, networkOf, parseCidr } from '../../lib/cni/address.ts';
import type { CniIp } from '../../lib/cni/types.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import type { KernelOptions } from '../../lib/kernel/ip.ts';
import { nftApply, nftComment, nftList } from '../../lib/kernel/nftables.ts';

const table = 'inet podwire-cni';

interface Family {
  /** Addresses to masquerade; nets that they reach as they are. */
  readonly from: string;
  readonly near: string;
  readonly type: string;
  readonly match: string;
  readonly multicast: string;
}

const tag = (network: string): string => sha256(network).slice(0, 8);
const family = (network: string, version: 4 | 6): Family => ({
  from: `from${version}-${tag(network)}`,
  near: `near${version}-${tag(network)}`,
  type: `ipv${version}_addr`,
  match: version === 4 ? 'ip' : 'ip6',
  multicast: version === 4 ? '224.0.0.0/4' : 'ff00::/8',
});
const familyOf = (network: string, address: string): Family => family(network, address.includes(':') ? 6 : 4);
const chainOf = (network: string): string => `masq-${tag(network)}`;

/** Who an element belongs to, as its comment says. */
export const ownerOf = (containerId: string, ifname: string): string => `${containerId} ${ifname}`;

/** The transaction that makes table, sets, chain and rules where they are missing, and adds the addresses. Pure. */
export function masqueradeText(network: string, ips: readonly CniIp[], owner: string): string {
  const comment = `comment ${nftComment(`podwire: network ${network}`)}`;
  const chain = `${table} ${chainOf(network)}`;
  const both = [family(network, 4), family(network, 6)];
  const lines = [
    `add table ${table}`,
    ...both.flatMap(({ from, near, type, multicast }) => [
      `add set ${table} ${from} { type ${type}; ${comment}; }`,
      `add set ${table} ${near} { type ${type}; flags interval; auto-merge; ${comment}; }`,
      `add element ${table} ${near} { ${multicast} }`,
    ]),
    `add chain ${chain} { type nat hook postrouting priority srcnat; policy accept; }`,
    `flush chain ${chain}`,
    ...both.map(
      ({ from, near, match }) =>
        `add rule ${chain} ${match} saddr @${from} ${match} daddr != @${near} masquerade ${comment}`,
    ),
    ...ips.flatMap((ip) => {
      const { ip: address, length } = parseCidr(ip.address) as Cidr;
      const net = formatCidr({ ip: networkOf({ ip: address, length }), length });
      const { from, near } = familyOf(network, ip.address);
      return [
        `add element ${table} ${near} { ${net} }`,
        `add element ${table} ${from} { ${bare(ip.address)} comment ${nftComment(owner)} }`,
      ];
    }),
  ];
  return `${lines.join('\n')}\n`;
}

/**
 * The transaction that makes `nets` the only ones that are reached as they are; the sets must be there. One command a
 * set: nft 1.0.6 fails where neighbouring intervals come one by one after a flush. Pure.
 */
export function nearText(network: string, nets: readonly string[]): string {
  const lines = ([4, 6] as const).flatMap((version) => {
    const { near, multicast } = family(network, version);
    const own = nets.filter((net) => net.includes(':') === (version === 6));
    return [
      `flush set ${table} ${near}`,
      `add element ${table} ${near} { ${[multicast, ...own].join(', ')} }`,
    ];
  });
  return `${lines.join('\n')}\n`;
}

const bare = (address: string): string => address.split('/')[0] ?? '';

/** The transaction that takes addresses out; an address is added first, for nft refuses to delete what is not there. Pure. */
export function unmasqueradeText(network: string, addresses: readonly string[]): string {
  const lines = addresses.flatMap((address) => {
    const { from } = familyOf(network, address);
    return [
      `add element ${table} ${from} { ${bare(address)} }`,
      `delete element ${table} ${from} { ${bare(address)} }`,
    ];
  });
  return `${lines.join('\n')}\n`;
}

export async function addMasquerade(
  network: string,
  ips: readonly CniIp[],
  options: KernelOptions & { owner: string },
): Promise<void> {
  if (ips.length > 0) await nftApply(masqueradeText(network, ips, options.owner), options);
}

/** Takes out every address whose owner `isStale`; knows them by their comments, so it needs no result. */
export async function dropMasquerade(
  network: string,
  isStale: (owner: string) => boolean,
  options: KernelOptions,
): Promise<void> {
  for (const { from } of [family(network, 4), family(network, 6)]) {
    const objects = await nftList(['set', ...table.split(' '), from], options);
    const set = objects?.find((object) => object.set !== undefined)?.set;
    const addresses = parseElements(set?.elem)
      .filter(({ owner }) => isStale(owner))
      .map(({ address }) => address);
    if (addresses.length > 0) await nftApply(unmasqueradeText(network, addresses), options);
  }
}

/** Elements of `nft -j list set`: `"10.0.0.1"`, or `{elem: {val, comment}}` where they have a comment. Pure. */
export function parseElements(elements: unknown): Array<{ address: string; owner: string }> {
  if (!Array.isArray(elements)) return [];
  return elements.map((element: unknown) => {
    if (typeof element === 'string') return { address: element, owner: '' };
    const { elem } = element as { elem: { val: string; comment?: string } };
    return { address: elem.val, owner: elem.comment ?? '' };
  });
}
