// The other machines of an overlay, as the configuration or a file names them. Assumes that all machines may get the same
// list: the entry with our own node's name is left out. Pure but for reading the file; n log n in subnets.
import { readFileSync } from 'node:fs';
import {
  type Cidr,
  contains,
  formatCidr,
  formatIp,
  type Ip,
  networkOf,
  overlap,
  parseCidr,
  parseIp,
  sameIp,
} from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, Fields, isObject } from '../../lib/cni/json.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { vtepMac } from '../../lib/kernel/overlay.ts';
import { checkMac } from '../lib/attachment.ts';

export interface Peer {
  readonly node: string;
  /** Where its VTEP is reached: an address of the underlay. */
  readonly publicIP: Ip;
  /** What its Pods' addresses are taken from; host bits zero. */
  readonly subnets: readonly Cidr[];
  readonly mac: string;
}

export const nodeName = /^[A-Za-z0-9][\w.-]{0,252}$/;

/** @throws CniError 7 that names the entry */
export function parsePeers(items: readonly Fields[], own: string): Peer[] {
  const peers = items.map(parsePeer).filter(({ node }) => node !== own);
  checkTogether(peers, items[0]?.path('').replace(/\[0\]\.$/, '') ?? 'peers');
  return peers;
}

/** @throws CniError 7 where two peers cannot both be */
export function checkTogether(peers: readonly Peer[], where: string): void {
  const nodes = peers.map(({ node }) => node);
  const twice =
    nodes.length === new Set(nodes).size ? undefined : nodes.find((one, at) => nodes.indexOf(one) < at);
  if (twice !== undefined) throw badValue(where, twice, 'each node once');
  const families = new Set(peers.map(({ publicIP }) => publicIP.family));
  if (families.size > 1) throw badValue(where, 'IPv4 and IPv6', 'publicIP of one address family');
  const shared = overlapping(peers.flatMap(({ subnets }) => subnets));
  if (shared) throw badValue(where, shared.map(formatCidr).join(' and '), 'subnets that are apart');
}

function parsePeer(fields: Fields): Peer {
  const node = fields.string('node') ?? '';
  if (!nodeName.test(node)) throw fields.bad('node', "a node's name: letters, digits, '.', '_', '-'");
  const publicIP = parseIp(fields.string('publicIP') ?? '');
  if (!publicIP) throw fields.bad('publicIP', 'an IP address');
  const mac = fields.string('vtepMac');
  return {
    node,
    publicIP,
    subnets: parseSubnets(fields),
    mac: mac ? checkMac(fields.path('vtepMac'), mac) : vtepMac(node),
  };
}

function parseSubnets(fields: Fields): Cidr[] {
  const single = fields.string('subnet');
  const texts = [...(single === undefined ? [] : [single]), ...fields.strings('subnets')];
  if (texts.length === 0)
    throw fields.bad('subnet', 'a network such as 10.244.1.0/24 (or several as subnets)');
  return texts.map((text) => {
    const cidr = parseCidr(text);
    if (cidr && cidr.length > 0 && sameIp(cidr.ip, networkOf(cidr))) return cidr;
    throw badValue(fields.path(single === text ? 'subnet' : 'subnets'), text, 'a network without host bits');
  });
}

/** Two that overlap, if any: among sorted nets those stand side by side. */
function overlapping(nets: readonly Cidr[]): [Cidr, Cidr] | undefined {
  const order = (a: Cidr, b: Cidr): number =>
    a.ip.family - b.ip.family || Number(a.ip.value > b.ip.value) - Number(a.ip.value < b.ip.value);
  const sorted = [...nets].sort(order);
  for (const [at, net] of sorted.entries()) {
    const next = sorted[at + 1];
    if (next && overlap(net, next)) return [net, next];
  }
  return undefined;
}

/**
 * The peers of a file: `[…]` or `{"peers": […]}`.
 * @throws CniError 11 (not there yet), 5 (cannot be read), 6 (no JSON), 7 (a wrong entry)
 */
export function readPeersFile(file: string, own: string): Peer[] {
  const text = readText(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw cniError('CNI_DECODING_FAILURE', `peersFile ${file}: not JSON: ${messageOf(cause)}`, { cause });
  }
  const list = isObject(value) ? value.peers : value;
  if (!Array.isArray(list)) throw badValue(`peersFile ${file}`, value, 'a list of peers, or {"peers": […]}');
  return parsePeers(
    list.map((item, at) => new Fields(item, `peersFile ${file}: peers[${at}]`)),
    own,
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT')
      throw cniError('CNI_TRY_AGAIN', `peersFile: ${file} is not there (yet)`, { cause });
    throw cniError('CNI_IO_FAILURE', `peersFile: ${messageOf(cause)}`, { cause });
  }
}

/** What may not be, now that this machine's own address and subnets are known. @throws CniError 7 */
export function checkAgainstOwn(peers: readonly Peer[], own: { local: Ip; nets: readonly Cidr[] }): void {
  for (const { node, publicIP, subnets } of peers) {
    if (sameIp(publicIP, own.local))
      throw badValue(
        `peers: publicIP of ${node}`,
        formatIp(publicIP),
        `another machine's address (this one's entry is known by the key "node")`,
      );
    const clash = subnets.find((net) => own.nets.some((mine) => overlap(net, mine)));
    if (clash)
      throw badValue(`peers: subnet of ${node}`, formatCidr(clash), "no overlap with this machine's own");
    if (subnets.some((net) => contains(net, own.local)))
      throw badValue(
        `peers: subnet of ${node}`,
        formatIp(own.local),
        'a subnet without the underlay address',
      );
  }
}
