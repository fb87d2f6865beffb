// Nodes as peers: what of a Node object the network needs, and why a node is none (yet). Which of two nodes that claim
// one subnet or address has it: the one that is known already; the other follows when it lets go.
// Assumes Kubernetes' Node: spec.podCIDRs, status.addresses. No kernel, no clock; a change is O(1).
import {
  type Cidr,
  formatCidr,
  formatIp,
  networkOf,
  overlap,
  parseCidr,
  parseIp,
  sameIp,
} from '../cni/address.ts';
import type { Node } from '../api/types.ts';
import { vtepMac } from '../kernel/overlay.ts';
import { annotation, type Family, type Peer, type PeerProblem } from './types.ts';

export type PeerView = { readonly peer: Peer } | { readonly problem: PeerProblem };

/** What one Node object says. Pure. */
export function peerOf(node: Node): PeerView {
  const { name, annotations = {} } = node.metadata;
  const problem = (reason: PeerProblem['reason'], message: string): PeerView => ({
    problem: { reason, message },
  });
  const texts = podCidrsOf(node);
  if (texts.length === 0) return problem('NoPodCIDR', `${name} has no Pod subnet yet (spec.podCIDRs)`);
  const podCidrs = texts.map(parseCidr);
  const bad = texts.find((_, at) => !isNet(podCidrs[at]));
  if (bad !== undefined)
    return problem('BadPodCIDR', `spec.podCIDRs of ${name}: ${JSON.stringify(bad)} is no network`);
  const addresses = addressesOf(node);
  if (Object.keys(addresses).length === 0)
    return problem('NoAddress', `${name} has no InternalIP yet (status.addresses)`);
  return {
    peer: {
      name,
      addresses,
      family: parseIp(internalIps(node)[0] ?? '')?.family,
      podCidrs: podCidrs as Cidr[],
      mac: vtepMac(name),
      backend: annotations[annotation.backend],
      publicKey: annotations[annotation.publicKey],
    },
  };
}

export const podCidrsOf = ({ spec }: Node): readonly string[] =>
  spec?.podCIDRs && spec.podCIDRs.length > 0 ? spec.podCIDRs : spec?.podCIDR ? [spec.podCIDR] : [];

const isNet = (cidr: Cidr | undefined): boolean =>
  cidr !== undefined && cidr.length > 0 && sameIp(cidr.ip, networkOf(cidr));

const internalIps = ({ status }: Node): string[] =>
  (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);

function addressesOf(node: Node): Peer['addresses'] {
  const published = node.metadata.annotations?.[annotation.addresses]?.split(',') ?? [];
  const addresses: Partial<Record<Family, string>> = {};
  for (const address of [...internalIps(node), ...published]) {
    const ip = parseIp(address);
    if (ip) addresses[ip.family] ??= formatIp(ip);
  }
  return addresses;
}

/** This node, as the table must know it to keep others out of what is its own. */
export interface Own {
  readonly name: string;
  /** The backend's announcement. */
  readonly backend: string;
  readonly podCidrs: readonly Cidr[];
  readonly addresses: Peer['addresses'];
}

/** All other nodes. */
export class PeerTable {
  readonly #own: Own;
  readonly #peers = new Map<string, Peer>();
  readonly #problems = new Map<string, PeerProblem>();
  /** Nodes that stand back behind another one. */
  readonly #waiting = new Map<string, Peer>();
  /** Subnet or address → the node that has it. */
  readonly #claims = new Map<string, string>();

  constructor(own: Own) {
    this.#own = own;
  }

  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  get problems(): ReadonlyMap<string, PeerProblem> {
    return this.#problems;
  }

  /** Takes a Node up; gives the names of the peers that are new, changed or gone by it. */
  put(node: Node): string[] {
    const { name } = node.metadata;
    if (name === this.#own.name) return [];
    const view = peerOf(node);
    if ('peer' in view) return this.#claim(view.peer);
    const changed = this.#drop(name);
    this.#problems.set(name, view.problem);
    return changed;
  }

  /** Forgets a node. */
  delete(name: string): string[] {
    const changed = this.#drop(name);
    this.#problems.delete(name);
    return changed;
  }

  #claim(peer: Peer): string[] {
    const known = this.#peers.get(peer.name);
    if (known && same(known, peer)) return [];
    const problem = this.#against(peer);
    if (problem) {
      const changed = this.#drop(peer.name);
      this.#problems.set(peer.name, problem);
      if (problem.reason === 'SubnetTaken' || problem.reason === 'AddressTaken')
        this.#waiting.set(peer.name, peer);
      return changed;
    }
    if (known) this.#release(known);
    this.#waiting.delete(peer.name);
    this.#problems.delete(peer.name);
    this.#peers.set(peer.name, peer);
    for (const key of claimsOf(peer)) this.#claims.set(key, peer.name);
    return [peer.name, ...this.#retry()];
  }

  #drop(name: string): string[] {
    this.#waiting.delete(name);
    const known = this.#peers.get(name);
    if (!known) return [];
    this.#peers.delete(name);
    this.#release(known);
    return [name, ...this.#retry()];
  }

  #release(peer: Peer): void {
    for (const key of claimsOf(peer)) if (this.#claims.get(key) === peer.name) this.#claims.delete(key);
  }

  /** Those that stood back, as somebody let go of something. */
  #retry(): string[] {
    return [...this.#waiting.values()].flatMap((peer) => (this.#against(peer) ? [] : this.#claim(peer)));
  }

  #against(peer: Peer): PeerProblem | undefined {
    const { name, backend, podCidrs, addresses } = peer;
    const own = this.#own;
    if (backend !== undefined && backend !== own.backend)
      return {
        reason: 'BackendDiffers',
        message: `${name} has the backend "${backend}", this node "${own.backend}"`,
      };
    const clash = podCidrs.find((net) => own.podCidrs.some((mine) => overlap(net, mine)));
    if (clash)
      return {
        reason: 'SubnetTaken',
        message: `subnet ${formatCidr(clash)} of ${name} overlaps this node's own`,
      };
    const ours = Object.values(addresses).find((address) => Object.values(own.addresses).includes(address));
    if (ours !== undefined)
      return { reason: 'AddressTaken', message: `${name} has this node's address ${ours}` };
    for (const key of claimsOf(peer)) {
      const holder = this.#claims.get(key);
      if (holder !== undefined && holder !== name)
        return {
          reason: key.includes('/') ? 'SubnetTaken' : 'AddressTaken',
          message: `${key} of ${name} belongs to ${holder}`,
        };
    }
    return undefined;
  }
}

const claimsOf = ({ podCidrs, addresses }: Peer): string[] => [
  ...podCidrs.map(formatCidr),
  ...Object.values(addresses),
];

const same = (a: Peer, b: Peer): boolean =>
  a.backend === b.backend &&
  a.publicKey === b.publicKey &&
  a.family === b.family &&
  claimsOf(a).join() === claimsOf(b).join();
