// The configuration of vxlan, narrowed; the keys of the bridge for this machine's Pods go on to bridge as they are.
// Assumes nothing of the machine: device, address and MTU that are not given are found later. Pure but for the host's name.
import { readFileSync } from 'node:fs';
import { type Ip, parseIp } from '../../lib/cni/address.ts';
import { Fields } from '../../lib/cni/json.ts';
import type { JsonObject } from '../../lib/cni/types.ts';
import { isLinkName } from '../../lib/kernel/link.ts';
import { checkTogether, nodeName, type Peer, parsePeers, readPeersFile } from './peers.ts';

// The port that IANA gave to VXLAN (RFC 7348, section 8), which firewalls and tcpdump know. The kernel's own default is
// 8472, older than that; machines that talk to such neighbours say so.
const ianaPort = 4789;

export interface VxlanConf {
  /** VNI. */
  readonly id: number;
  readonly port: number;
  /** Name of the VTEP's link. */
  readonly vtep: string;
  readonly node: string;
  /** '': found by the route to the peers. */
  readonly device: string;
  readonly local: Ip | undefined;
  /** undefined: what the underlay leaves. */
  readonly mtu: number | undefined;
  readonly bridge: string;
  readonly ipMasq: boolean;
  readonly peersFile: string;
  /** Written in the configuration. */
  readonly inline: readonly Peer[];
}

/** @throws CniError 7 that names the key */
export function parseConf(conf: Fields): VxlanConf {
  const id = conf.integer('id', { min: 1, max: 2 ** 24 - 1 }) ?? 1;
  const node = conf.string('node') || hostName();
  if (!nodeName.test(node)) throw conf.bad('node', "a node's name: letters, digits, '.', '_', '-'");
  const localText = conf.string('local') || undefined;
  const local = localText === undefined ? undefined : parseIp(localText);
  if (localText !== undefined && !local) throw conf.bad('local', 'an IP address of this machine');
  const peersFile = conf.string('peersFile') ?? '';
  if (peersFile !== '' && !peersFile.startsWith('/')) throw conf.bad('peersFile', 'an absolute path');
  return {
    id,
    port: conf.integer('port', { min: 1, max: 65535 }) ?? ianaPort,
    vtep: linkName(conf, 'vtep', `vxlan${id}`),
    node,
    device: linkName(conf, 'device', ''),
    local,
    mtu: conf.integer('mtu', { min: 0, max: 65535 }) || undefined,
    bridge: linkName(conf, 'bridge', `vxbr${id}`),
    ipMasq: conf.boolean('ipMasq') ?? false,
    peersFile,
    inline: parsePeers(conf.objects('peers'), node),
  };
}

function linkName(conf: Fields, key: string, fallback: string): string {
  const name = conf.string(key) || fallback;
  if (name !== '' && (!isLinkName(name) || /["\\]/.test(name)))
    throw conf.bad(key, "a link name of 1 to 15 characters without '/' and ':'");
  return name;
}

const hostName = (): string => readFileSync('/proc/sys/kernel/hostname', 'utf8').trim();

/** All peers, as they are at this moment: those of the file are read again. @throws CniError 11, 5, 6, 7 */
export function peersNow({ inline, peersFile, node }: VxlanConf): Peer[] {
  if (peersFile === '') return [...inline];
  const file = readPeersFile(peersFile, node);
  const inFile = new Set(file.map((peer) => peer.node));
  // The file is the newer word of the two.
  const all = [...inline.filter((peer) => !inFile.has(peer.node)), ...file];
  if (inline.length > 0) checkTogether(all, `peers and peersFile ${peersFile}`);
  return all;
}

/** What bridge is told: it masquerades nothing, as it does not know which other subnets belong to the overlay. */
export function bridgeConf(conf: Fields, own: { bridge: string; mtu: number | undefined }): Fields {
  const { mtu, bridge } = own;
  const object: JsonObject = { ...conf.object, type: 'bridge', bridge, isGateway: true, ipMasq: false };
  delete object.mtu;
  return new Fields(mtu === undefined ? object : { ...object, mtu }, '');
}
