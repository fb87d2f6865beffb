// Changes of links, addresses and routes as data, and the interface `Net` that carries them out.
// Assumes nothing of how: `ipNet` hands them to `ip -batch` as text; a netlink encoder can stand behind the same
// face, and passes the same tests. One process a list of changes, one namespace a list.
import { networkInterfaces } from 'node:os';
import { KernelError } from './errors.ts';
import { IpBatchError, ipBatch, ipJson, ipWord, type KernelOptions } from './ip.ts';
import { deleteLink, linkIsHere } from './link.ts';

/** One change. Addresses are `ip/prefix length`, MACs `aa:bb:cc:dd:ee:ff`, netns a name or an absolute path. */
export type NetOp =
  | { readonly op: 'addBridge'; readonly name: string; readonly mac?: string; readonly mtu?: number }
  | {
      readonly op: 'addVeth';
      readonly name: string;
      readonly mac?: string;
      readonly mtu?: number;
      readonly peer: { readonly name: string; readonly mac?: string; readonly netns?: string };
    }
  | {
      readonly op: 'setLink';
      readonly name: string;
      readonly state?: 'up' | 'down';
      readonly mac?: string;
      readonly mtu?: number;
      readonly master?: string;
      readonly alias?: string;
      readonly promisc?: 'on' | 'off';
      /** 'none': the kernel makes no fe80:: address by itself (and so sends no DAD for it). */
      readonly linkLocal?: 'none';
    }
  | {
      readonly op: 'setBridgePort';
      readonly name: string;
      readonly hairpin?: 'on' | 'off';
      readonly isolated?: 'on' | 'off';
    }
  /** 'add' fails where the address is there, 'put' does not. dad 'skip': usable at once (IPv6 only). */
  | {
      readonly op: 'addAddress' | 'putAddress';
      readonly dev: string;
      readonly address: string;
      readonly dad?: 'skip';
    }
  | { readonly op: 'deleteAddress'; readonly dev: string; readonly address: string }
  | {
      readonly op: 'addRoute';
      readonly dev: string;
      readonly dst: string;
      readonly via?: string;
      readonly mtu?: number;
      readonly advmss?: number;
      readonly metric?: number;
      readonly table?: number;
      /** rt_scope: 0 universe, 253 link, 254 host. */
      readonly scope?: number;
    }
  | { readonly op: 'deleteLink'; readonly name: string }
  /** Changes nothing: what the link is at that point, given back by `apply`. */
  | { readonly op: 'look'; readonly name: string };

/** What is known of a link; fields that the cheap way of looking does not give are absent. */
export interface LinkFacts {
  readonly name: string;
  readonly mac: string;
  readonly mtu?: number;
  readonly up: boolean;
  /** bridge, veth …; absent: not looked at. */
  readonly kind?: string;
  readonly alias?: string;
  readonly master?: string;
  /** `ip/prefix length`. */
  readonly addresses: readonly string[];
}

export interface Net {
  /** Carries the changes out in order and stops at the first failure (IpBatchError.line counts the op). Gives what `look` saw. */
  apply(ops: readonly NetOp[], netns?: string): Promise<LinkFacts[]>;
  /** In this process' own namespace and without a process: undefined: no such link; 'unknown': it takes a `look` to tell. */
  glance(name: string): LinkFacts | 'unknown' | undefined;
  /** The same with every field, at the cost of a process. */
  inspect(name: string, netns?: string): Promise<LinkFacts | undefined>;
  /** Returns once the link is gone for everyone, not when the kernel has freed it. False: there was none. */
  deleteLink(name: string, netns?: string): Promise<boolean>;
}

/** The text of one change for `ip -batch`. Pure. */
export function ipLine(op: NetOp): string {
  switch (op.op) {
    case 'addBridge':
      return words('link add name', op.name, opt('address', op.mac), opt('mtu', op.mtu), 'type bridge');
    case 'addVeth': {
      const { peer } = op;
      const far = [
        'peer name',
        peer.name,
        opt('address', peer.mac),
        opt('mtu', op.mtu),
        opt('netns', peer.netns),
      ];
      return words('link add name', op.name, opt('address', op.mac), opt('mtu', op.mtu), 'type veth', ...far);
    }
    case 'setLink':
      return words(
        'link set dev',
        op.name,
        opt('address', op.mac),
        opt('mtu', op.mtu),
        opt('alias', op.alias),
        opt('master', op.master),
        opt('promisc', op.promisc),
        opt('addrgenmode', op.linkLocal),
        op.state ?? '',
      );
    case 'setBridgePort':
      return words(
        'link set dev',
        op.name,
        'type bridge_slave',
        opt('hairpin', op.hairpin),
        opt('isolated', op.isolated),
      );
    case 'addAddress':
    case 'putAddress': {
      const verb = op.op === 'addAddress' ? 'addr add' : 'addr replace';
      const six = op.address.includes(':');
      return words(
        verb,
        op.address,
        six ? '' : 'brd +',
        'dev',
        op.dev,
        six && op.dad === 'skip' ? 'nodad' : '',
      );
    }
    case 'deleteAddress':
      return words('addr del', op.address, 'dev', op.dev);
    case 'addRoute':
      return words(
        'route add',
        op.dst,
        opt('via', op.via),
        'dev',
        op.dev,
        opt('mtu', op.mtu),
        opt('advmss', op.advmss),
        opt('metric', op.metric),
        opt('table', op.table),
        opt('scope', op.scope),
      );
    case 'deleteLink':
      return words('link del dev', op.name);
    case 'look':
      return words('addr show dev', op.name);
  }
}

const opt = (key: string, value: string | number | undefined): string =>
  value === undefined ? '' : `${key} ${ipWord(String(value))}`;
const words = (...parts: string[]): string => parts.filter((part) => part !== '').join(' ');

/** `Net` by the programs `ip` and the files of /proc. */
export function ipNet(options: Omit<KernelOptions, 'netns'> = {}): Net {
  return {
    apply: async (ops, netns) =>
      ((await ipBatch(ops.map(ipLine), { ...options, netns })) as IpLink[]).map(factsOf),
    glance(name) {
      if (!linkIsHere(name)) return undefined;
      // getifaddrs(3): no process, and of the namespace this process is in, whatever /sys shows. It leaves out
      // links without carrier and without addresses.
      const seen = networkInterfaces()[name];
      if (!seen?.[0]) return 'unknown';
      return { name, mac: seen[0].mac, up: true, addresses: seen.flatMap((one) => one.cidr ?? []) };
    },
    inspect: (name, netns) => inspect(name, { ...options, netns }),
    deleteLink: (name, netns) => deleteLink(name, { ...options, netns }),
  };
}

interface IpLink {
  ifname: string;
  address?: string;
  mtu: number;
  flags: string[];
  ifalias?: string;
  master?: string;
  linkinfo?: { info_kind?: string };
  addr_info?: Array<{ local: string; prefixlen: number }>;
}

async function inspect(name: string, options: KernelOptions): Promise<LinkFacts | undefined> {
  try {
    const [link] = (await ipJson(['addr', 'show', 'dev', name], options)) as [IpLink?];
    return link && factsOf(link);
  } catch (error) {
    if (error instanceof KernelError && error.code === 'ENODEV') return undefined;
    throw error;
  }
}

const factsOf = (link: IpLink): LinkFacts => ({
  name: link.ifname,
  mac: link.address ?? '',
  mtu: link.mtu,
  up: link.flags.includes('UP'),
  kind: link.linkinfo?.info_kind ?? '',
  addresses: (link.addr_info ?? []).map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  ...(link.ifalias === undefined ? {} : { alias: link.ifalias }),
  ...(link.master === undefined ? {} : { master: link.master }),
});

/** The op that failed, for an error of `Net.apply`. */
export const failedOp = (error: unknown, ops: readonly NetOp[]): NetOp | undefined =>
  error instanceof IpBatchError ? ops[error.line] : undefined;
