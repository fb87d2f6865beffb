// Changes of links, addresses and routes as data, and the interface `Net` that carries them out.
// Assumes nothing of how: `ipNet` hands them to `ip -batch` as text, one process a list of changes; netlink/net.ts says
// them to the kernel itself (`openNet` picks), and passes the same tests. One namespace a list.
import { KernelError } from './errors.ts';
import { IpBatchError, type IpTool, ipBatch, ipJson, ipWord, type KernelOptions } from './ip.ts';
import { deleteLink, linkIsHere } from './link.ts';

/** One change. Addresses are `ip/prefix length`, MACs `aa:bb:cc:dd:ee:ff`, netns a name or an absolute path. */
export type NetOp =
  | {
      readonly op: 'addBridge';
      readonly name: string;
      readonly mac?: string;
      readonly mtu?: number;
      readonly vlanFiltering?: 'on';
    }
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
  /** Links on top of a parent. With `netns` (a name or a path) they are made there, and go with it. */
  | {
      readonly op: 'addMacvlan';
      readonly name: string;
      readonly parent: string;
      readonly mode: 'bridge' | 'private' | 'vepa' | 'passthru';
      readonly mac?: string;
      readonly mtu?: number;
      /** Broadcasts that may wait; the kernel's default is 1000. */
      readonly queue?: number;
      readonly netns?: string;
    }
  | {
      readonly op: 'addVlan';
      readonly name: string;
      readonly parent: string;
      readonly id: number;
      readonly mtu?: number;
      readonly netns?: string;
    }
  /** A VTEP that learns nothing: whom it reaches stands in the FDB alone. */
  | {
      readonly op: 'addVxlan';
      readonly name: string;
      readonly id: number;
      readonly port: number;
      readonly local: string;
      readonly dev: string;
      readonly mac: string;
      readonly mtu: number;
    }
  /** Its keys and peers are the business of `wg`. */
  | { readonly op: 'addWireguard'; readonly name: string; readonly mtu: number }
  /** IPv4 in IPv4; whom it reaches stands in the gateways of its routes. */
  | { readonly op: 'addIpip'; readonly name: string; readonly local: string; readonly mtu: number }
  | { readonly op: 'renameLink'; readonly name: string; readonly to: string }
  | { readonly op: 'setBridge'; readonly name: string; readonly vlanFiltering: 'on' }
  /** VLANs of a bridge port, `5` or `5-9`. pvid: what comes untagged belongs to it, and it leaves untagged. */
  | { readonly op: 'addPortVlan'; readonly name: string; readonly vid: string; readonly pvid?: 'untagged' }
  | { readonly op: 'deletePortVlan'; readonly name: string; readonly vid: string }
  /** Permanent entries: nothing is asked on the wire, nothing ages. */
  | { readonly op: 'putNeighbour'; readonly dev: string; readonly ip: string; readonly mac: string }
  | { readonly op: 'deleteNeighbour'; readonly dev: string; readonly ip: string }
  /** Of a VTEP: frames for this MAC go to that machine. */
  | { readonly op: 'putFdb' | 'deleteFdb'; readonly dev: string; readonly mac: string; readonly to: string }
  /**
   * 'add' fails where the address is there, 'put' does not. dad 'skip': usable at once (IPv6 only).
   * prefixRoute 'none': no route to its net comes with it.
   */
  | {
      readonly op: 'addAddress' | 'putAddress';
      readonly dev: string;
      readonly address: string;
      readonly dad?: 'skip';
      readonly prefixRoute?: 'none';
    }
  | { readonly op: 'deleteAddress'; readonly dev: string; readonly address: string }
  | {
      /** 'put' replaces what is there for the same destination. */
      readonly op: 'addRoute' | 'putRoute';
      readonly dev: string;
      readonly dst: string;
      readonly via?: string;
      /** 'onlink': the gateway is taken to be on the link, whatever the addresses say. */
      readonly gateway?: 'onlink';
      /** Preferred source address. */
      readonly src?: string;
      readonly mtu?: number;
      readonly advmss?: number;
      readonly metric?: number;
      readonly table?: number;
      /** rt_protocol, which says who made it; 3 ('boot') unless told. */
      readonly protocol?: number;
      /** rt_scope: 0 universe, 253 link, 254 host. */
      readonly scope?: number;
    }
  | {
      readonly op: 'deleteRoute';
      readonly dev: string;
      readonly dst: string;
      /** Only one that was made so. */
      readonly protocol?: number;
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

/** The program whose `-batch` takes the text of a change. Pure. */
export const toolOf = ({ op }: NetOp): IpTool =>
  op === 'putFdb' || op === 'deleteFdb' || op === 'addPortVlan' || op === 'deletePortVlan' ? 'bridge' : 'ip';

/** The text of one change for `ip -batch` (or `bridge -batch`: toolOf). Pure. */
export function ipLine(op: NetOp): string {
  switch (op.op) {
    case 'addBridge':
      return words(
        'link add name',
        op.name,
        opt('address', op.mac),
        opt('mtu', op.mtu),
        'type bridge',
        op.vlanFiltering ? 'vlan_filtering 1' : '',
      );
    case 'addMacvlan':
    case 'addVlan':
    case 'addVxlan':
      return upperLine(op);
    case 'addWireguard':
      return words('link add name', op.name, opt('mtu', op.mtu), 'type wireguard');
    case 'addIpip':
      return words('link add name', op.name, opt('mtu', op.mtu), 'type ipip', opt('local', op.local));
    case 'renameLink':
      return words('link set dev', op.name, opt('name', op.to));
    case 'setBridge':
      return words('link set dev', op.name, 'type bridge vlan_filtering 1');
    case 'addPortVlan':
      return words('vlan add dev', op.name, opt('vid', op.vid), op.pvid ? 'pvid untagged' : '');
    case 'deletePortVlan':
      return words('vlan del dev', op.name, opt('vid', op.vid));
    case 'putNeighbour':
      return words('neigh replace', op.ip, opt('lladdr', op.mac), opt('dev', op.dev), 'nud permanent');
    case 'deleteNeighbour':
      return words('neigh del', op.ip, opt('dev', op.dev));
    case 'putFdb':
      return words('fdb replace', op.mac, opt('dev', op.dev), opt('dst', op.to), 'self permanent');
    case 'deleteFdb':
      return words('fdb del', op.mac, opt('dev', op.dev), opt('dst', op.to), 'self');
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
        op.prefixRoute === 'none' ? 'noprefixroute' : '',
      );
    }
    case 'deleteAddress':
      return words('addr del', op.address, 'dev', op.dev);
    case 'addRoute':
    case 'putRoute':
      return words(
        op.op === 'addRoute' ? 'route add' : 'route replace',
        op.dst,
        opt('via', op.via),
        'dev',
        op.dev,
        op.gateway ?? '',
        opt('src', op.src),
        opt('mtu', op.mtu),
        opt('advmss', op.advmss),
        opt('metric', op.metric),
        opt('table', op.table),
        opt('proto', op.protocol),
        opt('scope', op.scope),
      );
    case 'deleteRoute':
      return words('route del', op.dst, 'dev', op.dev, opt('proto', op.protocol));
    case 'deleteLink':
      return words('link del dev', op.name);
    case 'look':
      return words('addr show dev', op.name);
  }
}

type UpperOp = Extract<NetOp, { op: 'addMacvlan' | 'addVlan' | 'addVxlan' }>;

function upperLine(op: UpperOp): string {
  if (op.op === 'addVxlan') {
    const { name, mac, mtu, id, port, local, dev } = op;
    const vtep = [opt('id', id), opt('dstport', port), opt('local', local), opt('dev', dev), 'nolearning'];
    return words('link add name', name, opt('address', mac), opt('mtu', mtu), 'type vxlan', ...vtep);
  }
  const mac = op.op === 'addMacvlan' ? opt('address', op.mac) : '';
  const kind =
    op.op === 'addMacvlan'
      ? words('type macvlan mode', op.mode, opt('bcqueuelen', op.queue))
      : words('type vlan', opt('id', op.id));
  const place = [
    opt('link', op.parent),
    opt('name', op.name),
    mac,
    opt('mtu', op.mtu),
    opt('netns', op.netns),
  ];
  return words('link add', ...place, kind);
}

const opt = (key: string, value: string | number | undefined): string =>
  value === undefined ? '' : `${key} ${ipWord(String(value))}`;
const words = (...parts: string[]): string => parts.filter((part) => part !== '').join(' ');

/** `Net` by the programs `ip` and the files of /proc. */
export function ipNet(options: Omit<KernelOptions, 'netns'> = {}): Net {
  return {
    apply: (ops, netns) => apply(ops, { ...options, netns }),
    glance(name) {
      if (!linkIsHere(name)) return undefined;
      // getifaddrs(3): no process, and of the namespace this process is in, whatever /sys shows. It leaves out
      // links without carrier and without addresses.
      const seen = process.getBuiltinModule('node:os').networkInterfaces()[name]; // loaded late: 0.4 ms
      if (!seen?.[0]) return 'unknown';
      return { name, mac: seen[0].mac, up: true, addresses: seen.flatMap((one) => one.cidr ?? []) };
    },
    inspect: (name, netns) => inspect(name, { ...options, netns }),
    deleteLink: (name, netns) => deleteLink(name, { ...options, netns }),
  };
}

/** One process a run of changes that one program takes; nearly always one in all. */
async function apply(ops: readonly NetOp[], options: KernelOptions): Promise<LinkFacts[]> {
  const seen: LinkFacts[] = [];
  for (let at = 0; at < ops.length; ) {
    const tool = toolOf(ops[at] as NetOp);
    const other = ops.findIndex((op, index) => index > at && toolOf(op) !== tool);
    const end = other < 0 ? ops.length : other;
    try {
      const lines = ops.slice(at, end).map(ipLine);
      seen.push(...((await ipBatch(lines, { ...options, tool })) as IpLink[]).map(factsOf));
    } catch (error) {
      if (at === 0 || !(error instanceof IpBatchError)) throw error;
      const { code, what, message, line, cause } = error;
      throw new IpBatchError(code, what, message, { line: at + line, cause });
    }
    at = end;
  }
  return seen;
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
