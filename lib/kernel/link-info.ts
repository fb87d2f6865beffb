// What a link is besides a name: its kind and the kind's own settings (a VTEP's id, a macvlan's mode), as `ip -d` tells;
// and which kinds this kernel has at all. Assumes iproute2's JSON. One process a question.
import { runLazily } from '../exec/run-lazily.ts';
import { isAbsent, isNotSupported, toKernelError } from './errors.ts';
import { ipJson, type KernelOptions } from './ip.ts';

export interface LinkInfo {
  readonly name: string;
  /** bridge, veth, vxlan …; '' for a plain device. */
  readonly kind: string;
  /** The kind's own settings, by iproute2's names. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly alias: string;
  /** `ip/prefix length`, link-local ones left out. */
  readonly addresses?: readonly string[];
}

/** Undefined: no such link. @throws KernelError */
export async function readLinkInfo(name: string, options: KernelOptions = {}): Promise<LinkInfo | undefined> {
  try {
    const [link] = (await ipJson(['addr', 'show', 'dev', name], options)) as [IpLink?];
    return link && infoOf(link);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

interface IpLink {
  ifname: string;
  address?: string;
  mtu: number;
  flags: string[];
  ifalias?: string;
  addr_info?: Array<{ local: string; prefixlen: number; scope: string }>;
  linkinfo?: { info_kind?: string; info_data?: Record<string, unknown> };
}

const infoOf = (link: IpLink): LinkInfo => ({
  name: link.ifname,
  kind: link.linkinfo?.info_kind ?? '',
  data: link.linkinfo?.info_data ?? {},
  mac: link.address ?? '',
  mtu: link.mtu,
  up: link.flags.includes('UP'),
  alias: link.ifalias ?? '',
  addresses: (link.addr_info ?? [])
    .filter(({ scope }) => scope !== 'link')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
});

/** Kinds that a kernel may have been built without: how to ask for one, and the option that brings it. */
const kinds = {
  macvlan: { words: ['macvlan'], what: 'macvlan links', option: 'CONFIG_MACVLAN' },
  vlan: { words: ['vlan', 'id', '1'], what: 'vlan links', option: 'CONFIG_VLAN_8021Q' },
  vxlan: { words: ['vxlan', 'id', '1', 'dstport', '0'], what: 'vxlan links', option: 'CONFIG_VXLAN' },
  wireguard: { words: ['wireguard'], what: 'wireguard links', option: 'CONFIG_WIREGUARD' },
  ipip: {
    words: ['ipip', 'local', '127.0.0.1', 'remote', '127.0.0.2'],
    what: 'ipip tunnels',
    option: 'CONFIG_NET_IPIP',
  },
  'bridge vlans': {
    words: ['bridge', 'vlan_filtering', '1'],
    what: 'VLAN filtering in bridges',
    option: 'CONFIG_BRIDGE_VLAN_FILTERING',
  },
} as const;

export type OptionalKind = keyof typeof kinds;

/** For a person: what is missing, and the name it has in the kernel's configuration. Pure. */
export const lackOf = (kind: OptionalKind): string =>
  `this kernel has no ${kinds[kind].what} (${kinds[kind].option})`;

/**
 * Whether this kernel can make such a link. Asked by trying, in a namespace that dies with the try; a failure for
 * any other reason (no parent, no right to make a namespace) counts as yes: then the real attempt tells.
 */
export async function kernelHas(kind: OptionalKind, options: KernelOptions = {}): Promise<boolean> {
  const { exec = runLazily } = options;
  try {
    await exec({ argv: ['unshare', '-n', 'ip', 'link', 'add', 'name', 'try', 'type', ...kinds[kind].words] });
    return true;
  } catch (error) {
    return !isNotSupported(toKernelError(error, kind));
  }
}
