// What bandwidth does with `ip` and `tc`, as lines. Towards the container: a bucket on the machine's end of its pair. From
// it: what comes in there is sent through an ifb device, and the bucket is on that. Pure; texts are pinned in the tests.
import type { CniResult } from '../../lib/cni/types.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import { ipWord } from '../../lib/kernel/ip.ts';
import { burstBytes, type Shape, type TcObject, tbfWords } from '../../lib/kernel/tc.ts';
import type { BandwidthConf } from './conf.ts';

const hex = (text: string, length: number): string => sha256(text).slice(0, length);

/** ifb devices of one network begin with this. */
export const ifbPrefix = (network: string): string => `pwb${hex(network, 4)}`;

/** `pwb`, 4 hex digits of the network, 8 of the attachment: DEL needs no memory. */
export const ifbName = (network: string, owner: { containerId: string; ifname: string }): string =>
  `${ifbPrefix(network)}${hex(`${owner.containerId}\n${owner.ifname}`, 8)}`;

export interface Ifb {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly alias: string;
  /** The machine has IPv6: the device must not get an address of it. */
  readonly ipv6: boolean;
}

/** Lines for `ip -batch`. */
export const ifbLines = ({ name, mac, mtu, alias, ipv6 }: Ifb): string[] => [
  `link add name ${name} address ${mac} mtu ${mtu} type ifb`,
  ...(ipv6 ? [`link set dev ${name} addrgenmode none`] : []),
  `link set dev ${name} alias ${ipWord(alias)} up`,
];

/** Lines for `tc -batch`. The bucket comes before what leads to it. */
export function shapeLines(conf: BandwidthConf, port: string, ifb: string): string[] {
  const dev = ipWord(port);
  return [
    ...(conf.ingress ? [`qdisc replace dev ${dev} root handle 1: ${tbfWords(conf.ingress)}`] : []),
    ...(conf.egress
      ? [
          `qdisc replace dev ${ifb} root handle 1: ${tbfWords(conf.egress)}`,
          `qdisc add dev ${dev} handle ffff: ingress`,
          `filter add dev ${dev} parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev ${ifb}`,
        ]
      : []),
  ];
}

/** Lines that take it all off a port that stays. */
export const unshapeLines = (conf: BandwidthConf, port: string): string[] => [
  ...(conf.ingress ? [`qdisc del dev ${ipWord(port)} root`] : []),
  ...(conf.egress ? [`qdisc del dev ${ipWord(port)} ingress`] : []),
];

/** Lines for `tc -j -batch` whose answers `shapeFaults` reads. */
export const askLines = (conf: BandwidthConf, port: string, ifb: string): string[] => [
  `qdisc show dev ${ipWord(port)}`,
  ...(conf.egress ? [`qdisc show dev ${ifb}`, `filter show dev ${ipWord(port)} parent ffff:`] : []),
];

/** Everything that is missing or wrong, in words. */
export function shapeFaults(
  conf: BandwidthConf,
  names: { readonly port: string; readonly ifb: string },
  answers: ReadonlyArray<readonly TcObject[]>,
): string[] {
  const [onPort = [], onIfb = [], filters = []] = answers;
  const redirects = filters.some((filter) =>
    filter.options?.actions?.some((action) => action.kind === 'mirred' && action.to_dev === names.ifb),
  );
  return [
    ...(conf.ingress ? bucketFaults(conf.ingress, names.port, onPort) : []),
    ...(conf.egress ? bucketFaults(conf.egress, names.ifb, onIfb) : []),
    ...(conf.egress && !redirects ? [`${names.port} does not lead to ${names.ifb}`] : []),
  ];
}

function bucketFaults(shape: Shape, dev: string, qdiscs: readonly TcObject[]): string[] {
  const options = qdiscs.find(({ kind, root }) => kind === 'tbf' && root === true)?.options;
  if (!options) return [`${dev} has no token bucket`];
  const [rate, burst] = [Math.floor(shape.rate / 8), burstBytes(shape)];
  return [
    ...(near(options.rate, rate) ? [] : [`${dev} lets ${options.rate} bytes/s pass, not ${rate}`]),
    ...(near(options.burst, burst) ? [] : [`${dev} has a burst of ${options.burst} bytes, not ${burst}`]),
  ];
}

/** The kernel keeps a burst as time, and rounds it. */
const near = (found: number | undefined, wanted: number): boolean =>
  found !== undefined && Math.abs(found - wanted) <= Math.max(2, wanted / 100);

/** Buckets that no whole packet fits in let none pass; in words for a person. */
export function tightBuckets(conf: BandwidthConf, mtu: number): string[] {
  const packet = mtu + 14; // with its Ethernet header
  return (['ingress', 'egress'] as const).flatMap((way) => {
    const shape = conf[way];
    if (!shape || burstBytes(shape) >= packet) return [];
    return [
      `${way}Burst ${shape.burst} bits is less than one packet of ${packet} bytes: larger packets are lost`,
    ];
  });
}

/** Names that may be the machine's end of the container's pair, the likeliest first: listed last before the container's. */
export function portCandidates(result: CniResult, ifname: string): string[] {
  const all = result.interfaces ?? [];
  const inside = all.findIndex(({ name, sandbox }) => name === ifname && sandbox);
  const before = inside < 0 ? all : all.slice(0, inside);
  return before
    .filter(({ sandbox }) => !sandbox)
    .map(({ name }) => name)
    .reverse();
}
