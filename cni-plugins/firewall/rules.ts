// The nftables text of firewall: table `inet podwire-firewall`, and for isolated containers `bridge podwire-firewall`.
// Assumes that a verdict "accept" ends our own chain only: another table's drop still stands. One lookup a rule, however
// many containers. Pure; texts are pinned in the tests.
import { formatIp, type Ip } from '../../lib/cni/address.ts';
import { clearLines, createLine, type Element, quoted, takeLines } from '../lib/elements.ts';
import type { IngressPolicy } from './conf.ts';

export const table = 'inet podwire-firewall';
/** What is switched inside a bridge never comes to the table above, unless br_netfilter brings it there. */
export const bridgeTable = 'bridge podwire-firewall';

const versions = [4, 6] as const;

/** Tables, sets and chains. `admin` is a person's: made, never emptied. */
export function skeletonLines(policy: IngressPolicy): string[] {
  const forward = `${table} forward`;
  return [
    `add table ${table}`,
    `add set ${table} bridges { type ifname; }`,
    ...versions.flatMap((v) => [
      `add set ${table} pods${v} { type ipv${v}_addr; }`,
      `add set ${table} guarded${v} { type ifname . ipv${v}_addr; }`,
      `add set ${table} own${v} { type ifname . ifname . ipv${v}_addr; }`,
    ]),
    `add chain ${table} admin`,
    `add chain ${forward} { type filter hook forward priority -10; policy accept; }`,
    `flush chain ${forward}`,
    `add rule ${forward} jump admin`,
    ...versions.flatMap((v) => {
      const ip = v === 4 ? 'ip' : 'ip6';
      return [
        // From one bridge under a policy to a container that is guarded, unless that is the container's own bridge.
        `add rule ${forward} iifname @bridges oifname . ${ip} daddr @guarded${v} iifname . oifname . ${ip} daddr != @own${v} drop`,
        `add rule ${forward} ${ip} saddr @pods${v} accept`,
        `add rule ${forward} ${ip} daddr @pods${v} ct state established,related accept`,
      ];
    }),
    ...(policy === 'isolated' ? bridgeLines() : []),
  ];
}

function bridgeLines(): string[] {
  const forward = `${bridgeTable} forward`;
  return [
    `add table ${bridgeTable}`,
    `add set ${bridgeTable} isolated { type ifname; }`,
    `add chain ${forward} { type filter hook forward priority -200; policy accept; }`,
    `flush chain ${forward}`,
    `add rule ${forward} oifname @isolated ether type { ip, ip6 } drop`,
  ];
}

export interface Target {
  readonly policy: IngressPolicy;
  readonly addresses: readonly Ip[];
  /** The machine's links of the attachment: bridge and port, or the one end of a lone pair. */
  readonly links: readonly string[];
}

/** What the attachment holds. Of the sets it could be in, those it is not in come with `absent`. */
export function elementsOf({ policy, addresses, links }: Target): { present: Element[]; absent: Element[] } {
  const [bridge, port] = links;
  const present: Element[] = [];
  const absent: Element[] = [];
  for (const ip of addresses) {
    const address = formatIp(ip);
    present.push({ table, set: `pods${ip.family}`, key: address });
    if (bridge === undefined) continue;
    const via = quoted(bridge);
    const guarded = { table, set: `guarded${ip.family}`, key: `${via} . ${address}` };
    const own = { table, set: `own${ip.family}`, key: `${via} . ${via} . ${address}` };
    (policy === 'open' ? absent : present).push(guarded);
    (policy === 'same-bridge' ? present : absent).push(own);
  }
  // A lone pair's end is this attachment's alone, and so is its place among the bridges.
  if (policy !== 'open' && bridge !== undefined && port === undefined)
    present.push({ table, set: 'bridges', key: quoted(bridge) });
  if (policy === 'isolated' && port !== undefined)
    present.push({ table: bridgeTable, set: 'isolated', key: quoted(port) });
  return { present, absent };
}

/**
 * The lines of an ADD. 'create' fails where an element is there; 'take' takes over, or away, what a lost container of
 * the same address left, and waits 8 ms for the kernel's deletion.
 */
export function addLines(target: Target, comment: string, way: 'create' | 'take' = 'create'): string[] {
  const { present, absent } = elementsOf(target);
  const shared = sharedElement(target);
  return [
    ...(shared ? [`add element ${table} bridges { ${shared.key} }`] : []),
    ...(way === 'create'
      ? present.map((element) => createLine(element, comment))
      : [...present.flatMap((element) => takeLines(element, comment)), ...absent.flatMap(clearLines)]),
  ];
}

/** The bridge's own element: all its containers share it, so it has no owner, and stays as long as the bridge. */
export function sharedElement({ policy, links }: Target): Element | undefined {
  const [bridge, port] = links;
  if (policy === 'open' || bridge === undefined || port === undefined) return undefined;
  return { table, set: 'bridges', key: quoted(bridge) };
}
