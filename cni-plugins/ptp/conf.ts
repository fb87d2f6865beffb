// The configuration of ptp, narrowed. Assumes the keys and defaults of the reference plugin of that name. Pure.
import { cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import { parseDns } from '../../lib/cni/result.ts';
import type { CniDns } from '../../lib/cni/types.ts';
import { parseIpam, parseMac } from '../lib/attachment.ts';

export interface PtpConf {
  readonly ipMasq: boolean;
  /** undefined: the kernel's default. */
  readonly mtu: number | undefined;
  /** MAC of the container's interface; undefined: one is made up. */
  readonly mac: string | undefined;
  readonly ipam: string;
  readonly dns: CniDns;
}

/** @throws CniError 7 (a wrong value), 2 (a value not served); both name the key */
export function parseConf(conf: Fields, args: Readonly<Record<string, string>>): PtpConf {
  const backend = conf.string('ipMasqBackend') ?? '';
  if (backend !== '' && backend !== 'nftables')
    throw cniError(
      'CNI_UNSUPPORTED_FIELD',
      `ipMasqBackend: ${JSON.stringify(backend)} is not supported by this ptp plugin (only nftables is)`,
    );
  const ipam = parseIpam(conf);
  if (ipam === '')
    throw conf.bad('ipam', 'an IPAM plugin (ipam.type): without addresses nothing can be routed');
  const mtu = conf.integer('mtu', { min: 0, max: 65535 }) || undefined;
  if (mtu !== undefined && mtu < 68) throw conf.bad('mtu', 'at least 68 (RFC 791)');
  return {
    ipMasq: conf.boolean('ipMasq') ?? false,
    mtu,
    mac: parseMac(conf, args),
    ipam,
    dns: parseDns(conf.fields('dns')),
  };
}
