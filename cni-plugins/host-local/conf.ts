// The configuration of host-local, narrowed: range sets with their ends and gateways worked out, addresses asked for.
// Assumes the keys and defaults of the reference plugin of that name. Pure.
import {
  type Cidr,
  contains,
  formatIp,
  type Ip,
  lastOf,
  networkOf,
  overlap,
  parseCidr,
  parseIp,
  plus,
  sameIp,
} from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, Fields } from '../../lib/cni/json.ts';
import { parseRoute } from '../../lib/cni/result.ts';
import type { CniRoute } from '../../lib/cni/types.ts';

export interface Range {
  /** Host bits are zero. */
  readonly subnet: Cidr;
  /** First and last address to hand out. */
  readonly start: Ip;
  readonly end: Ip;
  /** Never handed out. */
  readonly gateway: Ip;
}

/** One address is taken from each set; all ranges of a set are of one family. */
export type RangeSet = readonly [Range, ...Range[]];

export interface HostLocalConf {
  readonly network: string;
  readonly sets: readonly RangeSet[];
  readonly routes: readonly CniRoute[];
  readonly dataDir: string;
  /** A resolv.conf to take dns from; '' for none. */
  readonly resolvConf: string;
  readonly requested: readonly Ip[];
}

export const defaultDataDir = '/var/lib/cni/networks';

/** @throws CniError 7 that names the key */
export function parseConf(conf: Fields, args: Readonly<Record<string, string>>): HostLocalConf {
  if (conf.object.ipam === undefined) throw conf.bad('ipam', 'the configuration of host-local');
  const ipam = conf.fields('ipam');
  const dataDir = ipam.string('dataDir') || defaultDataDir;
  if (!dataDir.startsWith('/')) throw ipam.bad('dataDir', 'an absolute path');
  const resolvConf = ipam.string('resolvConf') ?? '';
  if (resolvConf !== '' && !resolvConf.startsWith('/')) throw ipam.bad('resolvConf', 'an absolute path');
  return {
    network: conf.string('name') ?? '',
    sets: parseSets(conf, ipam),
    routes: ipam.objects('routes').map(parseRoute),
    dataDir,
    resolvConf,
    requested: parseRequested(conf, args),
  };
}

function parseSets(conf: Fields, ipam: Fields): RangeSet[] {
  const runtime = conf.fields('runtimeConfig');
  const single = ipam.object.subnet === undefined ? [] : [parseSet([ipam], 'ipam')];
  const sets = [...nested(runtime, 'ipRanges'), ...single, ...nested(ipam, 'ranges')];
  if (sets.length === 0) throw ipam.bad('ranges', 'at least one range (or subnet)');
  for (const [at, set] of sets.entries())
    for (const other of sets.slice(at + 1))
      if (
        set.some((a) =>
          other.some(
            (b) =>
              overlap(a.subnet, b.subnet) && a.start.value <= b.end.value && b.start.value <= a.end.value,
          ),
        )
      )
        throw badValue('ipam.ranges', describeSet(other), `no overlap with ${describeSet(set)}`);
  return sets;
}

function nested(fields: Fields, key: string): RangeSet[] {
  return fields.array(key).map((set, at) => {
    const where = `${fields.path(key)}[${at}]`;
    if (!Array.isArray(set)) throw badValue(where, set, 'an array of ranges');
    return parseSet(
      set.map((range, index) => new Fields(range, `${where}[${index}]`)),
      where,
    );
  });
}

function parseSet(ranges: readonly Fields[], where: string): RangeSet {
  const [first, ...rest] = ranges.map(parseRange);
  if (!first) throw badValue(where, [], 'at least one range');
  for (const range of rest)
    if (range.subnet.ip.family !== first.subnet.ip.family)
      throw badValue(where, formatIp(range.start), 'one address family');
  return [first, ...rest];
}

function parseRange(fields: Fields): Range {
  const subnet = parseCidr(fields.string('subnet') ?? '');
  if (!subnet) throw fields.bad('subnet', 'a network such as 10.1.0.0/16');
  if (!sameIp(subnet.ip, networkOf(subnet)))
    throw fields.bad('subnet', `no host bits (${formatIp(networkOf(subnet))}/${subnet.length})`);
  const four = subnet.ip.family === 4;
  if (subnet.length > (four ? 30 : 126))
    throw fields.bad('subnet', `a prefix length up to ${four ? 30 : 126}`);
  const inside = (key: string, fallback: Ip): Ip => {
    const text = fields.string(key);
    const ip = text ? parseIp(text) : fallback;
    if (!ip || !contains(subnet, ip)) throw fields.bad(key, `an address in ${fields.string('subnet')}`);
    return ip;
  };
  const gatewayText = fields.string('gateway');
  const gateway = gatewayText ? parseIp(gatewayText) : plus(subnet.ip, 1n);
  if (!gateway || gateway.family !== subnet.ip.family)
    throw fields.bad('gateway', `an IPv${subnet.ip.family} address`);
  const start = inside('rangeStart', plus(subnet.ip, 1n));
  const end = inside('rangeEnd', four ? plus(lastOf(subnet), -1n) : lastOf(subnet));
  if (start.value > end.value)
    throw fields.bad('rangeStart', `an address not after rangeEnd (${formatIp(end)})`);
  return { subnet, start, end, gateway };
}

/** Addresses asked for: CNI_ARGS IP, args.cni.ips, the capability `ips`. A prefix length is allowed and ignored. */
function parseRequested(conf: Fields, args: Readonly<Record<string, string>>): Ip[] {
  const cni = conf.fields('args').fields('cni');
  const texts: Array<[string, string]> = [
    ...(args.IP ? [['CNI_ARGS IP', args.IP] as [string, string]] : []),
    ...cni.strings('ips').map((ip): [string, string] => [cni.path('ips'), ip]),
    ...conf
      .fields('runtimeConfig')
      .strings('ips')
      .map((ip): [string, string] => ['runtimeConfig.ips', ip]),
  ];
  return texts.map(([where, text]) => {
    const ip = parseIp(text) ?? parseCidr(text)?.ip;
    if (ip) return ip;
    if (where.startsWith('CNI_ARGS'))
      throw cniError('CNI_INVALID_ENVIRONMENT', `${where}: ${JSON.stringify(text)} is no IP address`);
    throw badValue(where, text, 'an IP address');
  });
}

export const inRange = (range: Range, ip: Ip): boolean =>
  ip.family === range.start.family && range.start.value <= ip.value && ip.value <= range.end.value;

/** `10.1.0.1-10.1.0.254,10.2.0.1-10.2.0.9` */
export const describeSet = (set: RangeSet): string =>
  set.map(({ start, end }) => `${formatIp(start)}-${formatIp(end)}`).join(',');

/** How many addresses a set can hand out. */
export const capacity = (set: RangeSet): bigint =>
  set.reduce(
    (sum, range) => sum + range.end.value - range.start.value + (inRange(range, range.gateway) ? 0n : 1n),
    0n,
  );
