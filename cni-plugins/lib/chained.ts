// What plugins that come after another one in a list take from its result: the container's addresses, and the
// machine's side of its interface. Assumes the order in which bridge and ptp list their interfaces: bridge (if any),
// the machine's end, the container's end. Pure.
import { type Ip, parseCidr } from '../../lib/cni/address.ts';
import { badValue } from '../../lib/cni/json.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { isLinkName } from '../../lib/kernel/link.ts';
import type { PluginCall } from '../skel/skel.ts';

/** @throws CniError 7 where no plugin came before */
export function needPrevious(call: PluginCall): CniResult {
  if (call.prevResult) return call.prevResult;
  throw badValue(
    'prevResult',
    undefined,
    'the result of an earlier plugin of the list: this one must be chained',
  );
}

/** The first address a family that is the container's interface's own. */
export function containerAddresses(result: CniResult, ifname: string): Ip[] {
  const found: Ip[] = [];
  for (const { address, interface: at } of result.ips ?? []) {
    const holder = at === undefined ? undefined : result.interfaces?.[at];
    if (holder && (holder.name !== ifname || !holder.sandbox)) continue;
    const ip = parseCidr(address)?.ip;
    if (ip && !found.some(({ family }) => family === ip.family)) found.push(ip);
  }
  return found;
}

/** Every address of the container's interface. */
export function allAddresses(result: CniResult, ifname: string): Ip[] {
  return (result.ips ?? []).flatMap(({ address, interface: at }) => {
    const holder = at === undefined ? undefined : result.interfaces?.[at];
    if (holder && (holder.name !== ifname || !holder.sandbox)) return [];
    return parseCidr(address)?.ip ?? [];
  });
}

/** Names of the machine's links in a result, in order; names that nft or tc would read as something else are left out. */
export function machineLinks(result: CniResult): string[] {
  const names = (result.interfaces ?? []).filter(({ sandbox }) => !sandbox).map(({ name }) => name);
  return names.filter((name) => isLinkName(name) && !/["\\*]/.test(name));
}

/** Where the container's packets come to the machine's IP layer: the bridge, or the machine's end of a lone pair. */
export const routingLink = (result: CniResult): string | undefined => machineLinks(result)[0];
