// What the node network's parts hand to each other: this node, its peers, and what a backend is. Types, and the names of
// annotations. Assumes lib/kernel/overlay.ts' entries: every backend's peers come down to routes, neighbours, FDB and keys.
import type { Cidr } from '../cni/address.ts';
import type { Entries } from '../kernel/overlay.ts';

export type Family = 4 | 6;

export type BackendConfig =
  | {
      readonly name: 'vxlan';
      readonly vni?: number;
      readonly port?: number;
      /** 'off': checksums of outer packets are computed before the underlay's device sees them. */
      readonly txOffload?: 'on' | 'off';
    }
  | { readonly name: 'host-gw' }
  | { readonly name: 'wireguard'; readonly port?: number }
  | { readonly name: 'ipip' };
export type BackendName = BackendConfig['name'];
export const backendNames = ['vxlan', 'host-gw', 'wireguard', 'ipip'] as const satisfies BackendName[];

/** Annotations of a Node by which its network tells the others what they need. */
export const annotation = {
  /** The backend with its numbers, e.g. `vxlan vni=1 port=8472`. */
  backend: 'network.podwire.io/backend',
  /** The node's addresses on its underlay with a comma between: those that its InternalIPs leave out. */
  addresses: 'network.podwire.io/addresses',
  publicKey: 'network.podwire.io/wireguard-public-key',
} as const;

/** Another node, as its Node object tells. */
export interface Peer {
  readonly name: string;
  /** The first InternalIP of each family, and where there is none what it published. */
  readonly addresses: Readonly<Partial<Record<Family, string>>>;
  /** Of its tunnels: that of its first InternalIP; undefined while it has only published addresses. */
  readonly family?: Family | undefined;
  readonly podCidrs: readonly Cidr[];
  /** Of its VTEP. */
  readonly mac: string;
  /** What it said with the annotation `backend`; undefined before it did. */
  readonly backend?: string | undefined;
  readonly publicKey?: string | undefined;
}

/** Why a node is no peer, or not with all its subnets. */
export type PeerReason =
  | 'NoPodCIDR'
  | 'BadPodCIDR'
  | 'NoAddress'
  | 'BackendDiffers'
  | 'SubnetTaken'
  | 'AddressTaken'
  | 'NoPublicKey'
  | 'NotOnLink'
  | 'FamilyNotCarried'
  | 'FamilyDiffers'
  | 'KernelRefused';

export interface PeerProblem {
  readonly reason: PeerReason;
  /** For a person. */
  readonly message: string;
}

/** The link that the other nodes are reached by. */
export interface Underlay {
  readonly device: string;
  /** Bytes; undefined on loopback, where a machine without any other address lives alone. */
  readonly mtu: number | undefined;
  /** Ours, the node's address among them. */
  readonly addresses: Readonly<Partial<Record<Family, string>>>;
  /** Of tunnels' outer packets: that of the node's (first) address. */
  readonly family: Family;
  /** Networks that are on this link. */
  readonly nets: readonly Cidr[];
}

export interface LocalNode {
  readonly name: string;
  readonly podCidrs: readonly Cidr[];
  readonly underlay: Underlay;
}

/** What is programmed for one peer, or for all. */
export interface NodeEntries extends Entries {
  /** WireGuard's peers: public key → `endpoint allowed-ip,allowed-ip`. */
  readonly tunnels?: ReadonlyMap<string, string>;
}

export interface PeerPlan {
  readonly entries: NodeEntries;
  /** What of the peer cannot be reached, and why. */
  readonly problem?: PeerProblem | undefined;
}

export interface Backend {
  readonly name: BackendName;
  /** Name, and the numbers that both ends must agree on. */
  readonly announcement: string;
  /** Its own link; undefined: routes go by the underlay's device. */
  readonly link: string | undefined;
  /** What a firewall between nodes must let pass, in words. */
  readonly carrier: string;
  /** Bytes that it adds to a packet. */
  overhead(family: Family): number;
  /** Whether this machine can do it at all. @throws PodwireError BACKEND_NOT_AVAILABLE */
  check(): Promise<void>;
  /** What other nodes must know, beside the announcement. */
  annotations(): Promise<Readonly<Record<string, string>>>;
  /** Pure. */
  plan(local: LocalNode, peer: Peer): PeerPlan;
  /** Makes the link, or sets it right; gives what was wrong, in words. `remade`: all entries went with the old one. */
  ensureLink(local: LocalNode): Promise<readonly string[]>;
  /** What the kernel has of ours. */
  read(local: LocalNode): Promise<NodeEntries>;
  /** Carries a change out; gives those that the kernel refused. */
  apply(local: LocalNode, change: Change): Promise<readonly Refusal[]>;
  /** Takes away everything it made. Repeatable. */
  remove(): Promise<void>;
}

export interface Change {
  readonly wanted: NodeEntries;
  readonly seen: NodeEntries;
}

export interface Refusal {
  /** Of the entry: the key of its map. */
  readonly key: string;
  readonly message: string;
}

export interface NodeNetworkLog {
  info(message: string): void;
  warn(message: string): void;
}
