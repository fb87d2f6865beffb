// Node subnets: every Node gets one subnet a family of the cluster's ranges, in spec.podCIDRs, while it is being created.
// Assumes any number of servers do so at once. One ConfigMap is the record of who has what; it is written only over
// the revision it was read at, so of two servers that choose the same subnet one must look again. O(nodes) an allocation.
//
// What holds, whoever dies when:
// 1. No two entries of the record overlap: each write is judged against the whole record that it replaces.
// 2. A Node is written with subnets that its own entry (name and uid) has: admission reserves first.
// 3. An entry is dropped only when the Node of its uid was seen to be deleted, or when no Node of that name has been
//    seen for longer than a request can take (node-ipam-loop.ts).
import type { Admit } from '../api/admission.ts';
import type { Client } from '../api/client.ts';
import { ApiError, isReason } from '../api/errors.ts';
import { dnsSubdomainFault } from '../api/names.ts';
import type { ConfigMap, Node } from '../api/types.ts';
import { type Cidr, contains, formatCidr, parseCidr, parseIp } from '../cni/address.ts';
import { messageOf } from '../exec/errors.ts';
import { parsePodCidr } from '../node-network/conflist.ts';
import { type NodeRange, refuseServiceRange } from './cluster-ranges.ts';
import {
  type FullRange,
  holderOf,
  type Reservation,
  type Reservations,
  readReservations,
  subnetsFor,
  writeReservations,
} from './node-subnets.ts';

/** Where the record lies. */
export const subnetRecord = { namespace: 'kube-system', name: 'podwire-node-subnets' };

/** Each other server may come between once in each of them; a full join storm settles long before. */
const attempts = 100;

interface Decision<T> {
  /** What the record shall say; undefined: it is right as it is. */
  readonly next: Reservations | undefined;
  readonly answer: T;
}

export interface NodeId {
  readonly name: string;
  readonly uid: string;
}

export class NodeIpam {
  readonly #client: Client;
  readonly #ranges: readonly NodeRange[];
  #tail: Promise<unknown> = Promise.resolve();

  constructor(client: Client, ranges: readonly NodeRange[]) {
    this.#client = client;
    this.#ranges = ranges;
  }

  /** Subnets for this Node: what it has already, else the smallest free ones; or the range that is full. */
  allocate(node: NodeId): Promise<readonly string[] | FullRange> {
    return this.#change((reservations): Decision<readonly string[] | FullRange> => {
      const held = reservations.get(node.name)?.subnets;
      const subnets = held ?? subnetsFor(node.name, this.#ranges, reservations);
      if ('full' in subnets) return { next: undefined, answer: subnets };
      return { next: withEntry(reservations, node, subnets), answer: subnets };
    });
  }

  /** Subnets given by hand, or found on a Node. @throws ApiError Conflict when another node has them */
  occupy(node: NodeId, subnets: readonly string[]): Promise<void> {
    return this.#change((reservations): Decision<void> => {
      const holder = holderOf(node.name, subnets, reservations);
      if (holder)
        throw new ApiError(
          'Conflict',
          `node ${JSON.stringify(node.name)}: subnet ${holder.wanted} overlaps ${holder.subnet} of node ${JSON.stringify(holder.node)}: give another with --pod-cidr, or remove that node (podwire node remove ${holder.node})`,
        );
      return { next: withEntry(reservations, node, subnets), answer: undefined };
    });
  }

  /** Gives the subnets of a Node of this uid back; nothing when the entry is another Node's. */
  release(node: NodeId): Promise<void> {
    return this.#change((reservations): Decision<void> => {
      if (reservations.get(node.name)?.uid !== node.uid) return { next: undefined, answer: undefined };
      const next = new Map(reservations);
      next.delete(node.name);
      return { next, answer: undefined };
    });
  }

  async reservations(): Promise<Reservations> {
    return readReservations((await this.#read()).data);
  }

  /** One after the other in this server, so that only servers compete. */
  #change<T>(decide: (reservations: Reservations) => Decision<T>): Promise<T> {
    const done = this.#tail.then(() => this.#changeNow(decide));
    this.#tail = done.catch(() => {});
    return done;
  }

  async #changeNow<T>(decide: (reservations: Reservations) => Decision<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const record = await this.#read();
      const { next, answer } = decide(readReservations(record.data));
      if (next === undefined) return answer;
      try {
        // The revision read is in the metadata: a write over any other is refused.
        await this.#client.update('configmaps', { ...record, data: writeReservations(next) });
        return answer;
      } catch (error) {
        const again = isReason(error, 'Conflict') || isReason(error, 'NotFound');
        if (!again || attempt === attempts) throw error;
      }
    }
  }

  /** The record; a new one begins with what the Nodes have. */
  async #read(): Promise<ConfigMap> {
    for (;;) {
      try {
        return await this.#client.get('configmaps', subnetRecord);
      } catch (error) {
        if (!isReason(error, 'NotFound')) throw error;
      }
      const { items } = await this.#client.list('nodes');
      try {
        return await this.#client.create('configmaps', {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: subnetRecord,
          data: writeReservations(reservationsOf(items)),
        });
      } catch (error) {
        if (!isReason(error, 'AlreadyExists')) throw error;
      }
    }
  }
}

function withEntry(
  reservations: Reservations,
  { name, uid }: NodeId,
  subnets: readonly string[],
): Reservations | undefined {
  const held = reservations.get(name);
  if (held?.uid === uid && held.subnets.join() === subnets.join()) return undefined;
  return new Map(reservations).set(name, { uid, subnets });
}

function reservationsOf(nodes: readonly Node[]): Map<string, Reservation> {
  const having = nodes.filter((node) => node.spec?.podCIDRs?.length);
  return new Map(
    having.map(({ metadata: { name, uid }, spec }) => [name, { uid, subnets: spec?.podCIDRs ?? [] }]),
  );
}

/** What a Node's subnets are judged by. */
export interface SubnetJudge {
  readonly client: Client;
  readonly ipam: NodeIpam;
  readonly services: readonly Cidr[];
}

/**
 * Admission of Nodes: reserves the subnets before the Node is written. When a range is full the Node is created
 * without, and node-ipam-loop.ts gives it one as soon as one is free. `late` gives what needs the registry that asks.
 */
export const admitNodeSubnets =
  (late: () => SubnetJudge): Admit =>
  async ({ operation, resource, object, old, dryRun }) => {
    if (resource !== 'nodes' || dryRun) return;
    const node = object as Node;
    const wanted = node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : []);
    const judge = late();
    const { client, ipam } = judge;
    if (operation === 'UPDATE') {
      const before = (old as Node).spec?.podCIDRs ?? [];
      if (wanted.length === 0 || wanted.join() === before.join()) return;
      await checkByHand(judge, node, wanted);
      await ipam.occupy(node.metadata, wanted);
      return;
    }
    // Nothing is set aside for an object that cannot be created: its entry may be another one's.
    const { name } = node.metadata;
    if (dnsSubdomainFault(name) || (await isThere(client, name))) return;
    if (wanted.length > 0) {
      await checkByHand(judge, node, wanted);
      await ipam.occupy(node.metadata, wanted);
      setSubnets(node, wanted);
      return;
    }
    const subnets = await ipam.allocate(node.metadata);
    if (!('full' in subnets)) setSubnets(node, subnets);
  };

/**
 * All nodes send what is for a subnet to its node: one with the machines' own addresses in it, or Services', would cut them
 * off, or have their traffic. @throws ApiError BadRequest, Conflict
 */
async function checkByHand(
  { client, services }: SubnetJudge,
  node: Node,
  wanted: readonly string[],
): Promise<void> {
  const who = `node ${JSON.stringify(node.metadata.name)}`;
  const subnets = parseByHand(who, wanted, services);
  for (const { metadata, status } of [node, ...(await client.list('nodes')).items])
    for (const { type, address } of status?.addresses ?? []) {
      const ip = type === 'InternalIP' ? parseIp(address) : undefined;
      const subnet = ip && subnets.find((each) => contains(each, ip));
      if (subnet)
        throw new ApiError(
          'Conflict',
          `${who}: subnet ${formatCidr(subnet)} holds the address ${address} of node ${JSON.stringify(metadata.name)}: give one that no machine is in with --pod-cidr`,
        );
    }
}

function parseByHand(who: string, wanted: readonly string[], services: readonly Cidr[]): Cidr[] {
  try {
    const subnets = parsePodCidr(wanted.join()).flatMap((text) => parseCidr(text) ?? []);
    for (const subnet of subnets) refuseServiceRange('--pod-cidr', subnet, services);
    return subnets;
  } catch (error) {
    throw new ApiError('BadRequest', `${who}: ${messageOf(error)}`);
  }
}

async function isThere(client: Client, name: string): Promise<boolean> {
  try {
    await client.get('nodes', { name });
    return true;
  } catch (error) {
    if (isReason(error, 'NotFound')) return false;
    throw error;
  }
}

export const subnetSpec = (subnets: readonly string[]): { podCIDR: string; podCIDRs: string[] } => ({
  podCIDR: subnets[0] ?? '',
  podCIDRs: [...subnets],
});

function setSubnets(node: Node, subnets: readonly string[]): void {
  node.spec = { ...node.spec, ...subnetSpec(subnets) };
}

/** What the event and the condition of a Node without a subnet say. */
export const fullMessage = ({ full }: FullRange): string =>
  `no subnet is free in the cluster's Pod range ${formatCidr(full)}: remove nodes (podwire node remove), or start the servers with a larger --cluster-cidr`;
