// What all Pods of a node stand on: forwarding, masquerade, the conflist; made, and kept against whoever takes it away.
// Assumes one loop a node calls it. A look is a file read and a netlink request, and one process where nftables changed.
import { join } from 'node:path';
import { type Cidr, contains, formatCidr, parseCidr } from '../cni/address.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import { nftGeneration } from '../kernel/netlink/nft-generation.ts';
import { createBackend } from './backends.ts';
import { bridgeName, writeDefaultConflist } from './conflist.ts';
import type { NodeNetworkOptions } from './network.ts';
import { ensureNodeNetwork, forwards, nodeTableIsThere } from './node-network.ts';
import type { BackendName, Peer } from './types.ts';

type Options = Pick<NodeNetworkOptions, 'paths' | 'clusterCidrs' | 'exec' | 'trace' | 'log'>;

export class NodeGround {
  readonly #options: Options;
  readonly #ranges: readonly Cidr[];
  #podCidr: string | undefined;
  /** Subnets of other nodes that lie in none of the cluster's ranges (given by hand, or of former ranges), by node. */
  readonly #outside = new Map<string, readonly string[]>();
  /** Generation of nftables when our table was last seen to be there. */
  #seenAt: number | undefined;

  constructor(options: Options) {
    this.#options = options;
    this.#ranges = options.clusterCidrs.flatMap((text) => parseCidr(text) ?? []);
  }

  /** True once Pods may come. */
  get stands(): boolean {
    return this.#podCidr !== undefined;
  }

  /** `mtu`: of Pods' interfaces. @throws KernelError, PodwireError INVALID_POD_CIDR */
  async make(podCidrs: readonly Cidr[], mtu: number | undefined, backend: BackendName): Promise<void> {
    const { paths } = this.#options;
    const podCidr = podCidrs.map(formatCidr).join();
    await this.#leaveFormerBackend(backend);
    await this.#ensure(podCidr);
    writeDefaultConflist(paths, { podCidr, bridge: bridgeName(paths.tag), mtu });
    this.#podCidr = podCidr;
  }

  /** Takes note of these peers, or of all: between Pods there is no masquerade, wherever their subnets lie. */
  async know(peers: ReadonlyMap<string, Peer>, names?: ReadonlySet<string>): Promise<void> {
    const isOutside = (net: Cidr): boolean =>
      !this.#ranges.some((range) => range.length <= net.length && contains(range, net.ip));
    let changed = false;
    for (const name of names ?? new Set([...peers.keys(), ...this.#outside.keys()])) {
      const nets = (peers.get(name)?.podCidrs ?? []).filter(isOutside).map(formatCidr);
      if ((this.#outside.get(name) ?? []).join() === nets.join()) continue;
      changed = true;
      if (nets.length > 0) this.#outside.set(name, nets);
      else this.#outside.delete(name);
    }
    if (changed && this.#podCidr !== undefined) await this.#ensure(this.#podCidr);
  }

  /** Puts back what somebody took away. */
  async keep(): Promise<void> {
    const podCidr = this.#podCidr;
    if (podCidr === undefined) return;
    const { log } = this.#options;
    if (!(await forwards(podCidr))) {
      log?.warn('forwarding was off; turned on again');
      return this.#ensure(podCidr);
    }
    const generation = nftGeneration();
    if (generation !== undefined && generation === this.#seenAt) return;
    const there = await nodeTableIsThere(this.#options);
    this.#seenAt = generation;
    if (there) return;
    log?.warn("the node's nftables table is gone; made again");
    await this.#ensure(podCidr);
  }

  #ensure(podCidr: string): Promise<void> {
    const { paths, exec, trace } = this.#options;
    const clusterCidrs = [...this.#options.clusterCidrs, ...[...this.#outside.values()].flat()];
    const more = { ...(exec ? { exec } : {}), ...(trace ? { trace } : {}) };
    return ensureNodeNetwork({ podCidr, clusterCidrs, paths, ...more });
  }

  /** What an earlier start made with another backend would lead packets astray. */
  async #leaveFormerBackend(name: BackendName): Promise<void> {
    const { paths, exec, log } = this.#options;
    const file = join(paths.state, 'network-backend');
    const former = readIfThere(file)?.trim() as BackendName | undefined;
    if (former === name) return;
    if (former) {
      log?.info(`network backend ${former} is left for ${name}`);
      await createBackend({ name: former }, paths, exec ? { exec } : {})?.remove();
    }
    replaceFile(file, `${name}\n`);
  }
}
