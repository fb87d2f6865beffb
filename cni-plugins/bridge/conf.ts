// The configuration of bridge, narrowed. Assumes the keys and defaults of the reference plugin of that name; a key that
// this plugin does not serve is refused by name where its value asks for something. Pure.
import { cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import { parseDns } from '../../lib/cni/result.ts';
import type { CniDns } from '../../lib/cni/types.ts';
import { isLinkName } from '../../lib/kernel/link.ts';
import { parseIpam, parseMac } from '../lib/attachment.ts';
import { gatewayName, parseVlans, type Vlans } from './vlan.ts';

export interface BridgeConf {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  /** undefined: the kernel's default. */
  readonly mtu: number | undefined;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly portIsolation: boolean;
  /** True: the kernel looks for duplicate IPv6 addresses, which delays their use by 1-2 s. */
  readonly enableDad: boolean;
  /** MAC of the container's interface; undefined: one is made up. */
  readonly mac: string | undefined;
  /** undefined: the bridge's VLANs are left alone. */
  readonly vlans: Vlans | undefined;
  readonly macSpoofCheck: boolean;
  /** With macSpoofCheck: only the addresses of IPAM pass as source, too. Our own key, ipspoofchk. */
  readonly ipSpoofCheck: boolean;
  /** False: the container's interface is left down, without addresses. */
  readonly containerInterface: boolean;
  /** Type of the IPAM plugin; '': no addresses, a plain Ethernet port. */
  readonly ipam: string;
  readonly dns: CniDns;
}

/** Keys of the reference that are not served, and the values of them that ask for nothing. */
const notServed: Readonly<Record<string, readonly unknown[]>> = {
  ipMasqBackend: ['', 'nftables'],
};

/** @throws CniError 7 (a wrong value), 2 (a key not served); both name the key */
export function parseConf(conf: Fields, args: Readonly<Record<string, string>>): BridgeConf {
  refuseNotServed(conf);
  const bridge = conf.string('bridge') || 'cni0';
  if (!isLinkName(bridge) || /["\\]/.test(bridge))
    throw conf.bad('bridge', "a link name of 1 to 15 characters without '/' and ':'");
  const flag = (key: string): boolean => conf.boolean(key) ?? false;
  const parsed: BridgeConf = {
    bridge,
    isGateway: flag('isGateway') || flag('isDefaultGateway'),
    isDefaultGateway: flag('isDefaultGateway'),
    forceAddress: flag('forceAddress'),
    ipMasq: flag('ipMasq'),
    mtu: conf.integer('mtu', { min: 0, max: 65535 }) || undefined,
    hairpinMode: flag('hairpinMode'),
    promiscMode: flag('promiscMode'),
    portIsolation: flag('portIsolation'),
    enableDad: flag('enabledad'),
    mac: parseMac(conf, args),
    vlans: parseVlans(conf),
    macSpoofCheck: flag('macspoofchk'),
    ipSpoofCheck: conf.boolean('ipspoofchk') ?? flag('macspoofchk'),
    containerInterface: !flag('disableContainerInterface'),
    ipam: parseIpam(conf),
    dns: parseDns(conf.fields('dns')),
  };
  if (parsed.mtu !== undefined && parsed.mtu < 68) throw conf.bad('mtu', 'at least 68 (RFC 791)');
  if (parsed.hairpinMode && parsed.promiscMode)
    throw conf.bad('promiscMode', 'false where hairpinMode is true: packets would come twice');
  checkCombined(conf, parsed);
  return parsed;
}

function checkCombined(conf: Fields, parsed: BridgeConf): void {
  const { bridge, vlans, isGateway, containerInterface, ipam } = parsed;
  if (!containerInterface && ipam !== '')
    throw conf.bad('disableContainerInterface', 'no ipam where it is true: there is no interface to address');
  if (parsed.ipSpoofCheck && !parsed.macSpoofCheck)
    throw conf.bad('ipspoofchk', 'macspoofchk where it is true: an address is only as good as its MAC');
  if (isGateway && vlans?.access !== undefined && !isLinkName(gatewayName(bridge, vlans.access)))
    throw conf.bad('bridge', `a name short enough for the gateway of VLAN ${vlans.access}, <bridge>.<vlan>`);
}

function refuseNotServed(conf: Fields): void {
  for (const [key, harmless] of Object.entries(notServed)) {
    const value = conf.object[key];
    const empty = value === undefined || value === null || (Array.isArray(value) && value.length === 0);
    if (empty || harmless.includes(value)) continue;
    throw cniError(
      'CNI_UNSUPPORTED_FIELD',
      `${key}: ${JSON.stringify(value)} is not supported by this bridge plugin`,
    );
  }
}
