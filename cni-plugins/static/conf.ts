// The configuration of static, narrowed: the addresses to give, each with its gateway. Assumes the keys of the reference
// plugin of that name: CNI_ARGS IP adds, args.cni.ips and the capability `ips` replace (the later wins). Pure.
import { type Cidr, contains, formatCidr, formatIp, parseCidr, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, type Fields } from '../../lib/cni/json.ts';
import { defined, parseDns, parseRoute } from '../../lib/cni/result.ts';
import type { CniDns, CniIp, CniRoute } from '../../lib/cni/types.ts';

export interface StaticConf {
  readonly ips: readonly CniIp[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

/** @throws CniError 7, or 4 where CNI_ARGS is wrong; both name the key */
export function parseConf(conf: Fields, args: Readonly<Record<string, string>>): StaticConf {
  if (conf.object.ipam === undefined) throw conf.bad('ipam', 'the configuration of static');
  const ipam = conf.fields('ipam');
  const written = [...ipam.objects('addresses').map(parseAddress), ...fromArgs(args)];
  const ips =
    listed(conf.fields('runtimeConfig'), 'ips') ??
    listed(conf.fields('args').fields('cni'), 'ips') ??
    written;
  const twice = ips.find((ip, at) => ips.findIndex((other) => sameAddress(ip, other)) < at);
  if (twice) throw ipam.bad('addresses', `each address once (${twice.address} is there twice)`);
  return {
    ips: withGateways(ips, splitArg(args, 'GATEWAY')),
    routes: ipam.objects('routes').map(parseRoute),
    dns: parseDns(ipam.fields('dns')),
  };
}

const bareOf = (ip: CniIp): string => formatIp((parseCidr(ip.address) as Cidr).ip);
const sameAddress = (a: CniIp, b: CniIp): boolean => bareOf(a) === bareOf(b);

function parseAddress(fields: Fields): CniIp {
  const address = fields.string('address');
  if (address === undefined || !parseCidr(address))
    throw fields.bad('address', 'an address with prefix length, such as 10.1.0.5/24');
  const gateway = fields.string('gateway') || undefined;
  const cidr = parseCidr(address) as Cidr;
  const ip = gateway === undefined ? undefined : parseIp(gateway);
  if (gateway !== undefined && ip?.family !== cidr.ip.family)
    throw fields.bad('gateway', `an IPv${cidr.ip.family} address`);
  return defined({ address: formatCidr(cidr), gateway: ip && formatIp(ip) });
}

/** A list of `address/length`; undefined where there is none, so that another source counts. */
function listed(fields: Fields, key: string): CniIp[] | undefined {
  const texts = fields.strings(key);
  if (texts.length === 0) return undefined;
  return texts.map((address, at) => {
    const cidr = parseCidr(address);
    if (cidr) return { address: formatCidr(cidr) };
    throw badValue(
      `${fields.path(key)}[${at}]`,
      address,
      'an address with prefix length, such as 10.1.0.5/24',
    );
  });
}

const splitArg = (args: Readonly<Record<string, string>>, key: string): string[] =>
  (args[key] ?? '')
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '');

const badArg = (key: string, text: string, expected: string) =>
  cniError(
    'CNI_INVALID_ENVIRONMENT',
    `CNI_ARGS ${key}: expected ${expected}, got ${JSON.stringify(text.slice(0, 200))}`,
  );

const fromArgs = (args: Readonly<Record<string, string>>): CniIp[] =>
  splitArg(args, 'IP').map((address) => {
    const cidr = parseCidr(address);
    if (cidr) return { address: formatCidr(cidr) };
    throw badArg('IP', address, 'addresses with prefix length between commas');
  });

/** Each gateway of CNI_ARGS goes to every address whose net it lies in. */
function withGateways(ips: readonly CniIp[], gateways: readonly string[]): CniIp[] {
  const parsed = gateways.map((text) => {
    const ip = parseIp(text);
    if (ip) return ip;
    throw badArg('GATEWAY', text, 'IP addresses between commas');
  });
  return ips.map((one) => {
    const near = parsed.findLast((ip) => contains(parseCidr(one.address) as Cidr, ip));
    return near ? { ...one, gateway: formatIp(near) } : one;
  });
}
