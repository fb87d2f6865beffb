// What tuning does with `ip`, as lines, and what it finds wrong. Pure; texts are pinned in the tests.
import type { CniResult } from '../../lib/cni/types.ts';
import { ipWord } from '../../lib/kernel/ip.ts';
import type { LinkSettings, Sysctl } from './conf.ts';

const onOff = (value: boolean): string => (value ? 'on' : 'off');

/** The line for `ip -batch` that makes a link so; undefined where there is nothing to set. */
export function settingsLine(ifname: string, settings: LinkSettings): string | undefined {
  const { mac, mtu, promisc, allmulti, txQLen } = settings;
  const words = [
    ...(mac === undefined ? [] : [`address ${mac}`]),
    ...(mtu === undefined ? [] : [`mtu ${mtu}`]),
    ...(promisc === undefined ? [] : [`promisc ${onOff(promisc)}`]),
    ...(allmulti === undefined ? [] : [`allmulticast ${onOff(allmulti)}`]),
    ...(txQLen === undefined ? [] : [`txqueuelen ${txQLen}`]),
  ];
  return words.length === 0 ? undefined : `link set dev ${ipWord(ifname)} ${words.join(' ')}`;
}

/** A link as `ip -j link show` has it. */
export interface IpLink {
  readonly address?: string;
  readonly mtu?: number;
  readonly txqlen?: number;
  readonly flags?: readonly string[];
}

/** All settings of a link as they are now. */
export const settingsOf = (link: IpLink): LinkSettings => ({
  ...(link.address === undefined ? {} : { mac: link.address }),
  ...(link.mtu === undefined ? {} : { mtu: link.mtu }),
  promisc: link.flags?.includes('PROMISC') ?? false,
  allmulti: link.flags?.includes('ALLMULTI') ?? false,
  ...(link.txqlen === undefined ? {} : { txQLen: link.txqlen }),
});

/** Of `all`, those that `wanted` changes: what is to be put back. */
export const formerOf = (wanted: LinkSettings, all: LinkSettings): LinkSettings =>
  Object.fromEntries(Object.entries(all).filter(([key]) => key in wanted));

/** The result as it is after the change. */
export function withSettings(result: CniResult, ifname: string, { mac, mtu }: LinkSettings): CniResult {
  if (!result.interfaces) return result;
  const change = { ...(mac === undefined ? {} : { mac }), ...(mtu === undefined ? {} : { mtu }) };
  const isOurs = (one: { name: string; sandbox?: string }) =>
    one.name === ifname && one.sandbox !== undefined;
  return {
    ...result,
    interfaces: result.interfaces.map((one) => (isOurs(one) ? { ...one, ...change } : one)),
  };
}

/** Everything that is not as it was set, in words. */
export function findFaults(
  wanted: { readonly ifname: string; readonly link: LinkSettings; readonly sysctls: readonly Sysctl[] },
  seen: { readonly link: LinkSettings | undefined; readonly values: readonly string[] },
): string[] {
  const { ifname, link, sysctls } = wanted;
  const missing = Object.keys(link).length > 0 && !seen.link ? [`${ifname} is missing in the container`] : [];
  const settings = Object.entries(link)
    .map(([key, value]) => ({ key, value, found: seen.link?.[key as keyof LinkSettings] }))
    .filter(({ value, found }) => seen.link && found !== value)
    .map(({ key, value, found }) => `${ifname}: ${key} is ${found}, not ${value}`);
  const values = sysctls
    .map(({ key, value }, at) => ({ key, value: plain(value), found: plain(seen.values[at] ?? '') }))
    .filter(({ value, found }) => found !== value)
    .map(
      ({ key, value, found }) => `sysctl ${key} is ${JSON.stringify(found)}, not ${JSON.stringify(value)}`,
    );
  return [...missing, ...settings, ...values];
}

/** The kernel writes tabs between the numbers of one value. */
const plain = (value: string): string => value.trim().replaceAll(/\s+/g, ' ');
