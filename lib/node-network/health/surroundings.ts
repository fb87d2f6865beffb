// What a node's health is judged by: its addresses, its peers', and what is known to be missing. Pure.
// Assumes that a node answers at the first address of its subnet, which goes to no Pod (own-link.ts, host-gw.ts).
import { type Cidr, formatIp, networkOf } from '../../cni/address.ts';
import type { LocalNode, Peer, PeerProblem } from '../types.ts';

export interface HealthPeer {
  readonly name: string;
  /** Of the node itself. */
  readonly address: string;
  /** Where the peer answers through the overlay. */
  readonly overlayAddress: string;
}

export interface Surroundings {
  readonly address: string;
  readonly overlayAddress: string;
  /** Bytes of a whole packet in the overlay. */
  readonly mtu: number;
  readonly carrier: string;
  readonly peers: readonly HealthPeer[];
  /** What this node's kernel lacks to reach a peer, in words. */
  lacks(peer: string): readonly string[];
}

const defaultMtu = 1500;

/** Probes go in one family of Pods, the first that both ends have. */
export function surroundingsOf(
  here: { readonly local: LocalNode; readonly mtu: number | undefined; readonly carrier: string },
  peers: readonly Peer[],
  problems: Readonly<Record<string, PeerProblem>>,
): Surroundings | undefined {
  const { local, mtu = defaultMtu, carrier } = here;
  const { underlay, podCidrs } = local;
  const address = underlay.addresses[underlay.family];
  const [own] = podCidrs;
  if (address === undefined || own === undefined) return undefined;
  return {
    address,
    overlayAddress: firstAddress(own),
    mtu,
    carrier,
    peers: peers.flatMap((peer) => {
      const net = peer.podCidrs.find(({ ip }) => ip.family === own.ip.family);
      const at = peer.addresses[underlay.family];
      return net && at !== undefined
        ? [{ name: peer.name, address: at, overlayAddress: firstAddress(net) }]
        : [];
    }),
    lacks: (name) => (problems[name] ? [problems[name].message] : []),
  };
}

const firstAddress = (net: Cidr): string => formatIp(networkOf(net));
