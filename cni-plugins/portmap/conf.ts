// The configuration of portmap, narrowed. Assumes the keys and defaults of the reference plugin of that name; what only
// its iptables form has is refused by name. Pure.
import { formatIp, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, type Fields } from '../../lib/cni/json.ts';
import { parseConditions } from './conditions.ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

export interface Mapping {
  readonly protocol: Protocol;
  readonly hostPort: number;
  readonly containerPort: number;
  /** One address of the machine; absent: all of them. */
  readonly hostIp?: string;
  /** Families it is for. */
  readonly families: ReadonlyArray<4 | 6>;
}

export interface PortmapConf {
  readonly mappings: readonly Mapping[];
  /** Connections that would come back past the machine go out under its address: from itself, from the same bridge. */
  readonly snat: boolean;
  /** Every connection to a host port does. */
  readonly masqAll: boolean;
  /** Packets with this bit in their mark do, too; undefined: no such rule. */
  readonly markMasqBit: number | undefined;
  /** nft's words that a packet must match beside; '' for none. */
  readonly conditions: { readonly 4: string; readonly 6: string };
}

/** @throws CniError 7 (a wrong value), 2 (a key not served); both name the key */
export function parseConf(conf: Fields): PortmapConf {
  const backend = conf.string('backend') ?? '';
  if (backend !== '' && backend !== 'nftables')
    throw cniError('CNI_UNSUPPORTED_FIELD', `backend: ${JSON.stringify(backend)}: only nftables is served`);
  if ((conf.string('externalSetMarkChain') ?? '') !== '')
    throw cniError(
      'CNI_UNSUPPORTED_FIELD',
      'externalSetMarkChain: names a chain of iptables; see markMasqBit',
    );
  return {
    mappings: parseMappings(conf.fields('runtimeConfig')),
    snat: conf.boolean('snat') ?? true,
    masqAll: conf.boolean('masqAll') ?? false,
    markMasqBit: conf.integer('markMasqBit', { min: 0, max: 31 }),
    conditions: { 4: parseConditions(conf, 'conditionsV4'), 6: parseConditions(conf, 'conditionsV6') },
  };
}

const port = { min: 1, max: 65535 };

function parseMappings(runtime: Fields): Mapping[] {
  const seen = new Map<string, Mapping>();
  for (const fields of runtime.objects('portMappings')) {
    const mapping = parseMapping(fields);
    const key = `${mapping.protocol} ${mapping.hostPort} ${mapping.hostIp ?? ''} ${mapping.families}`;
    const other = seen.get(key);
    if (other && other.containerPort !== mapping.containerPort)
      throw badValue(
        fields.path('hostPort'),
        mapping.hostPort,
        `one container port for ${mapping.hostPort}/${mapping.protocol}, not ${other.containerPort} and ${mapping.containerPort}`,
      );
    seen.set(key, mapping);
  }
  return [...seen.values()];
}

function parseMapping(fields: Fields): Mapping {
  const [hostPort, containerPort] = [fields.integer('hostPort', port), fields.integer('containerPort', port)];
  if (hostPort === undefined) throw fields.bad('hostPort', 'a port');
  if (containerPort === undefined) throw fields.bad('containerPort', 'a port');
  const protocol = (fields.string('protocol') || 'tcp').toLowerCase();
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp')
    throw fields.bad('protocol', 'tcp, udp or sctp');
  const text = fields.string('hostIP') ?? '';
  if (text === '') return { protocol, hostPort, containerPort, families: [4, 6] };
  const ip = parseIp(text);
  if (!ip) throw fields.bad('hostIP', 'an IP address');
  const mapping = { protocol, hostPort, containerPort, families: [ip.family] } as const;
  return ip.value === 0n ? mapping : { ...mapping, hostIp: formatIp(ip) };
}
