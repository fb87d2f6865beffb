// The nftables text of portmap: one table, `inet podwire-hostport`. Maps lead from protocol and port (and the machine's
// address, where one is named) to container and port, so a packet is looked up once however many mappings there are.
// Assumes kernel >= 5.7 (the incoming interface known in postrouting). Pure; texts are pinned in the tests.
import { formatIp, type Ip } from '../../lib/cni/address.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import type { FlowFilter } from '../../lib/kernel/conntrack.ts';
import { createLine, type Element, quoted, takeLines } from '../lib/elements.ts';
import type { Mapping, PortmapConf, Protocol } from './conf.ts';

export const table = 'inet podwire-hostport';

const versions = [4, 6] as const;
const l4 = 'meta l4proto { tcp, udp, sctp } fib daddr type local';

/** Networks with conditions have maps and chains of their own, named by this; '' for all others. */
export const suffixOf = (network: string, { conditions }: PortmapConf): string =>
  conditions[4] === '' && conditions[6] === '' ? '' : `-${sha256(network).slice(0, 8)}`;

function mapLines(suffix: string): string[] {
  return versions.flatMap((v) => [
    `add map ${table} any${v}${suffix} { type inet_proto . inet_service : ipv${v}_addr . inet_service; }`,
    `add map ${table} at${v}${suffix} { type ipv${v}_addr . inet_proto . inet_service : ipv${v}_addr . inet_service; }`,
  ]);
}

/** Where the maps are asked: a mapping with an address goes before one without. */
function portChains(suffix: string): string[] {
  return versions.flatMap((v) => {
    const ip = v === 4 ? 'ip' : 'ip6';
    const chain = `${table} ports${v}${suffix}`;
    return [
      `add chain ${chain}`,
      `flush chain ${chain}`,
      // ::1 cannot leave lo, whatever it is translated to: the machine's own service there stays within reach.
      ...(v === 6 ? [`add rule ${chain} ip6 daddr ::1 return`] : []),
      `add rule ${chain} dnat ${ip} to ${ip} daddr . meta l4proto . th dport map @at${v}${suffix}`,
      `add rule ${chain} dnat ${ip} to meta l4proto . th dport map @any${v}${suffix}`,
    ];
  });
}

/** `order` below 0 goes first: of two translations the first one stands. */
function hookChains(suffix: string, conditions: PortmapConf['conditions'], order: number): string[] {
  return ['prerouting', 'output'].flatMap((hook) => {
    const chain = `${table} ${hook}${suffix}`;
    return [
      `add chain ${chain} { type nat hook ${hook} priority ${-100 + order}; policy accept; }`,
      `flush chain ${chain}`,
      ...versions.map((v) => {
        const only = conditions[v] === '' ? '' : ` ${conditions[v]}`;
        return `add rule ${chain} meta nfproto ipv${v}${only} ${l4} jump ports${v}${suffix}`;
      }),
    ];
  });
}

/** Table, maps, sets and chains that all networks share. */
export function skeletonLines(): string[] {
  const guard = `${table} guard`;
  const back = `${table} postrouting`;
  return [
    `add table ${table}`,
    ...mapLines(''),
    ...versions.flatMap((v) => [
      `add set ${table} pair${v} { type ipv${v}_addr . ipv${v}_addr; }`,
      `add set ${table} near${v} { type ifname . ipv${v}_addr; }`,
      `add set ${table} all${v} { type ipv${v}_addr; }`,
    ]),
    ...portChains(''),
    ...hookChains('', { 4: '', 6: '' }, 0),
    // route_localnet lets 127.0.0.0/8 be routed; from a wire such packets are still never to be believed.
    // Every packet of the machine comes by here: what tells most of them apart is asked first, and costs half.
    `add chain ${guard} { type filter hook prerouting priority -300; policy accept; }`,
    `flush chain ${guard}`,
    ...['saddr', 'daddr'].map((end) => `add rule ${guard} ip ${end} 127.0.0.0/8 iifname != "lo" drop`),
    `add chain ${back} { type nat hook postrouting priority 100; policy accept; }`,
    `flush chain ${back}`,
    ...versions.flatMap((v) => {
      const ip = v === 4 ? 'ip' : 'ip6';
      return [
        `add rule ${back} ct status dnat ${ip} saddr . ${ip} daddr @pair${v} masquerade`,
        `add rule ${back} ct status dnat iifname . ${ip} daddr @near${v} masquerade`,
        `add rule ${back} ct status dnat ${ip} daddr @all${v} masquerade`,
      ];
    }),
  ];
}

/** What this network has beside the skeleton; sent with each ADD, so that a changed configuration takes effect. */
export function networkLines(network: string, conf: PortmapConf): string[] {
  const suffix = suffixOf(network, conf);
  const own =
    suffix === ''
      ? []
      : [...mapLines(suffix), ...portChains(suffix), ...hookChains(suffix, conf.conditions, -1)];
  return [...own, ...(conf.markMasqBit === undefined ? [] : markLines(conf.markMasqBit))];
}

function markLines(bit: number): string[] {
  const chain = `${table} mark${bit}`;
  const mask = `0x${(2 ** bit).toString(16)}`;
  return [
    `add chain ${chain} { type nat hook postrouting priority 99; policy accept; }`,
    `flush chain ${chain}`,
    `add rule ${chain} ct status dnat meta mark and ${mask} == ${mask} masquerade`,
  ];
}

export interface Target {
  readonly network: string;
  readonly conf: PortmapConf;
  readonly addresses: readonly Ip[];
  /** The link by which packets from the same bridge come in; undefined: none known. */
  readonly link: string | undefined;
}

const four = (v: 4 | 6): boolean => v === 4;

/** Elements of the maps: one a mapping and family that both sides have. */
export function mapElements({ network, conf, addresses }: Target): Element[] {
  const suffix = suffixOf(network, conf);
  return conf.mappings.flatMap((mapping) =>
    addresses
      .filter(({ family }) => mapping.families.includes(family))
      .map((ip) => ({
        table,
        set: `${mapping.hostIp === undefined ? 'any' : 'at'}${ip.family}${suffix}`,
        key: mapKey(mapping),
        value: `${formatIp(ip)} . ${mapping.containerPort}`,
      })),
  );
}

const mapKey = ({ hostIp, protocol, hostPort }: Mapping): string =>
  [...(hostIp === undefined ? [] : [hostIp]), protocol, hostPort].join(' . ');

/** Elements that tell which connections go out under the machine's address. */
export function masqueradeElements({ conf, addresses, link }: Target): Element[] {
  if (!conf.snat) return [];
  return addresses.flatMap((ip) => {
    const text = formatIp(ip);
    if (conf.masqAll) return [{ table, set: `all${ip.family}`, key: text }];
    return [
      { table, set: `pair${ip.family}`, key: `${text} . ${text}` },
      ...(four(ip.family) ? [{ table, set: 'pair4', key: `127.0.0.1 . ${text}` }] : []),
      ...(link === undefined ? [] : [{ table, set: `near${ip.family}`, key: `${quoted(link)} . ${text}` }]),
    ];
  });
}

/**
 * The lines that put an attachment's elements in. 'create' fails where any of them is there; 'take' takes over what a
 * lost container of the same address left of masquerading (but never a port), and waits 8 ms for the kernel's deletion.
 */
export function elementLines(target: Target, comment: string, way: 'create' | 'take' = 'create'): string[] {
  const put = (element: Element) =>
    way === 'take' ? takeLines(element, comment) : [createLine(element, comment)];
  return [
    ...mapElements(target).map((element) => createLine(element, comment)),
    ...masqueradeElements(target).flatMap(put),
  ];
}

/** UDP flows that an element of a map took, or now takes, from where they went before. */
export function flowsOf(elements: readonly Element[]): FlowFilter[] {
  return elements.flatMap(({ set, key }) => {
    const found = /^(any|at)([46])/.exec(set);
    const words = key.split(' . ');
    const [port, protocol, address] = [words.at(-1), words.at(-2) as Protocol, words.at(-3)];
    if (!found || protocol !== 'udp') return [];
    const filter = { family: Number(found[2]) as 4 | 6, protocol, port: Number(port) };
    return [address === undefined ? filter : { ...filter, address }];
  });
}

/** Chains that must hold rules for an attachment of this network to work. */
export function neededChains(network: string, conf: PortmapConf): string[] {
  const suffix = suffixOf(network, conf);
  const own = ['prerouting', 'output', 'ports4', 'ports6'].map((name) => `${name}${suffix}`);
  return [
    ...own,
    'guard',
    'postrouting',
    ...(conf.markMasqBit === undefined ? [] : [`mark${conf.markMasqBit}`]),
  ];
}
