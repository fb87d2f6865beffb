// Results between versions of the specification: read any of 0.3.1-1.1.0, keep the 1.1.0 shape, write any.
// Assumes the differences listed in the specification: 1.0.0 drops ips[].version, 1.1.0 adds mtu, socketPath and pciID
// to interfaces and mtu, advmss, priority, table, scope to routes.
import { cniError } from './errors.ts';
import { Fields } from './json.ts';
import { parseCidr, parseIp } from './address.ts';
import {
  type CniDns,
  type CniInterface,
  type CniIp,
  type CniResult,
  type CniRoute,
  type JsonObject,
  type SpecVersion,
  specVersions,
} from './types.ts';

/** Narrows a cniVersion. @throws CniError 1 */
export function parseVersion(value: unknown): SpecVersion {
  const known = specVersions.find((version) => version === value);
  if (known) return known;
  const given = value === undefined ? 'none (which means 0.1.0)' : JSON.stringify(value);
  throw cniError('CNI_INCOMPATIBLE_VERSION', `cniVersion: ${given} is not supported`, {
    details: `supported: ${specVersions.join(', ')}`,
  });
}

const big = { min: 0, max: 2 ** 32 - 1 };

/** Narrows a result of any supported version. @throws CniError 7 that names the field */
export function parseResult(value: unknown, where: string): CniResult {
  const fields = new Fields(value, where);
  if (fields.object.cniVersion !== undefined) parseVersion(fields.object.cniVersion);
  return prune({
    interfaces: fields.objects('interfaces').map(parseInterface),
    ips: fields.objects('ips').map(parseIpConfig),
    routes: fields.objects('routes').map(parseRoute),
    dns: parseDns(fields.fields('dns')),
  });
}

const parseInterface = (fields: Fields): CniInterface =>
  defined({
    name: fields.string('name') ?? '',
    mac: fields.string('mac'),
    mtu: fields.integer('mtu', big),
    sandbox: fields.string('sandbox'),
    socketPath: fields.string('socketPath'),
    pciID: fields.string('pciID'),
  });

function parseIpConfig(fields: Fields): CniIp {
  const address = fields.string('address');
  if (address === undefined || !parseCidr(address))
    throw fields.bad('address', 'an address with prefix length');
  const gateway = fields.string('gateway') || undefined;
  if (gateway !== undefined && !parseIp(gateway)) throw fields.bad('gateway', 'an IP address');
  return defined({ address, gateway, interface: fields.integer('interface', { min: -1, max: 1e6 }) });
}

/** One route, of a result or of a configuration. */
export function parseRoute(fields: Fields): CniRoute {
  const dst = fields.string('dst');
  if (dst === undefined || !parseCidr(dst)) throw fields.bad('dst', 'a network such as 0.0.0.0/0');
  const gw = fields.string('gw') || undefined;
  if (gw !== undefined && !parseIp(gw)) throw fields.bad('gw', 'an IP address');
  return defined({
    dst,
    gw,
    mtu: fields.integer('mtu', big),
    advmss: fields.integer('advmss', big),
    priority: fields.integer('priority', big),
    table: fields.integer('table', big),
    scope: fields.integer('scope', { min: 0, max: 255 }),
  });
}

export function parseDns(fields: Fields): CniDns {
  return defined({
    nameservers: nonEmpty(fields.strings('nameservers')),
    domain: fields.string('domain') || undefined,
    search: nonEmpty(fields.strings('search')),
    options: nonEmpty(fields.strings('options')),
  });
}

/** The JSON object that a runtime of that version expects. Pure. */
export function toVersion(result: CniResult, version: SpecVersion): JsonObject {
  const { interfaces = [], ips = [], routes = [], dns = {} } = result;
  const newest = version === '1.1.0';
  const old = version === '0.3.1' || version === '0.4.0';
  return {
    cniVersion: version,
    ...prune({
      interfaces: interfaces.map((one) =>
        newest ? one : defined({ name: one.name, mac: one.mac, sandbox: one.sandbox }),
      ),
      ips: ips.map((ip) => (old ? { version: ip.address.includes(':') ? '6' : '4', ...ip } : ip)),
      routes: routes.map((route) => (newest ? route : defined({ dst: route.dst, gw: route.gw }))),
      dns,
    }),
  };
}

const nonEmpty = <T>(items: T[]): T[] | undefined => (items.length > 0 ? items : undefined);

/** Without the keys whose value is undefined, so that JSON and comparisons see only what is there. */
export function defined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept: Record<string, unknown> = {};
  for (const key of Object.keys(object)) {
    const value = (object as Record<string, unknown>)[key];
    if (value !== undefined) kept[key] = value;
  }
  return kept as never;
}

/** Without empty lists and objects. */
function prune<T extends object>(object: T): T {
  const kept: Record<string, unknown> = {};
  for (const key of Object.keys(object)) {
    const value = (object as Record<string, unknown>)[key];
    if (value !== undefined && Object.keys(value as object).length > 0) kept[key] = value;
  }
  return kept as T;
}
