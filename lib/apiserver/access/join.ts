// A machine joins: its token is checked, its name and address are made its own, its certificate is signed.
// Assumes the Node is the record of who holds a name and an address; it is made here, so that two machines that come
// at once cannot both have them. O(Nodes).
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import type { Client } from '../../api/client.ts';
import { ApiError, isReason } from '../../api/errors.ts';
import { dnsSubdomainFault } from '../../api/names.ts';
import type { Node } from '../../api/types.ts';
import { groups, type KeyPair, nodeUidPrefix, nodeUserPrefix } from '../../pki/certificate.ts';
import { issueCertificate, keyOfRequest } from '../../pki/issue.ts';
import { checkToken } from './tokens.ts';

/** What a machine says when it joins. */
export interface JoinRequest {
  readonly id: string;
  readonly secret: string;
  /** PKCS#10, PEM. */
  readonly request: string;
  readonly name: string;
  readonly address: string;
  /** Made once a machine, not copied with its disk's image. */
  readonly machineId: string;
  /** Its subnets, one a family, where they are given by hand. */
  readonly podCidrs?: readonly string[] | undefined;
}

/**
 * On a Node: the hash of the machine's id, whose name it is. Every node reads it: by the id itself a node that kept its token
 * could join in the name of another.
 */
export const machineAnnotation = 'podwire.dev/machine';
export const machineMark = (machineId: string): string =>
  createHash('sha256').update(machineId).digest('hex');

export interface Joiner {
  readonly client: Client;
  readonly ca: KeyPair;
  /** Of the certificate. */
  readonly lifeMs: number;
}

/** Gives the node's certificate, PEM. @throws ApiError Unauthorized, BadRequest, Conflict */
export async function joinNode({ client, ca, lifeMs }: Joiner, given: unknown): Promise<string> {
  const asked = readJoin(given);
  await checkToken(client, asked);
  const publicKey = await keyOfRequest(asked.request).catch(asBadRequest);
  const { metadata } = await claim(client, asked);
  return nodeCertificate({ ca, lifeMs, publicKey }, metadata);
}

/** The same node's next certificate. @throws ApiError BadRequest */
export async function renewNode(
  { client, ca, lifeMs }: Joiner,
  { name, request }: { name: string; request: unknown },
): Promise<string> {
  const publicKey = await keyOfRequest(request).catch(asBadRequest);
  const { metadata } = await client.get('nodes', { name }); // one that was removed is of the cluster no more
  return nodeCertificate({ ca, lifeMs, publicKey }, metadata);
}

/** Without names of hosts: a node chooses its name and address, and kubectl would take it for a server that has them. */
export function nodeCertificate(
  { ca, lifeMs, publicKey }: { ca: KeyPair; lifeMs: number; publicKey: string },
  { name, uid }: { name: string; uid?: string },
): Promise<string> {
  const own = uid === undefined ? [] : [`${nodeUidPrefix}${uid}`];
  const identity = { name: `${nodeUserPrefix}${name}`, groups: [groups.nodes, ...own] };
  return issueCertificate(ca, { identity, publicKey, lifeMs, hosts: [] });
}

/** Makes name and address that machine's, or refuses. */
async function claim(client: Client, { name, address, machineId, podCidrs }: JoinRequest): Promise<Node> {
  const machine = machineMark(machineId);
  const mine = ({ metadata }: Node): boolean => metadata.annotations?.[machineAnnotation] === machine;
  const holder = (items: readonly Node[]): Node | undefined =>
    items.find((node) => node.metadata.name !== name && addressOf(node) === address);
  const taken = holder((await client.list('nodes')).items);
  if (taken) throw mine(taken) ? nameLeft(taken) : addressTaken(address, taken);
  const metadata = { name, annotations: { [machineAnnotation]: machine } };
  const spec = podCidrs ? { podCIDR: podCidrs[0], podCIDRs: [...podCidrs] } : {};
  let made: Node;
  try {
    made = await client.create('nodes', {
      metadata,
      spec,
      status: { addresses: [{ type: 'InternalIP', address }] },
    });
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
    const found = await client.get('nodes', { name });
    if (mine(found)) return found;
    throw nameTaken(name, found);
  }
  // Of two that came at once with one address at least one sees the other now: the younger gives way, or both do.
  const rival = holder((await client.list('nodes')).items);
  if (!rival || rival.metadata.creationTimestamp > made.metadata.creationTimestamp) return made;
  await client.delete('nodes', { name }, { preconditions: { uid: made.metadata.uid } });
  throw addressTaken(address, rival);
}

const nameTaken = (name: string, node: Node): ApiError =>
  new ApiError(
    'Conflict',
    `the name "${name}" is another machine's (at ${addressOf(node) ?? 'an unknown address'}): give another one with --node-name, or remove that node first (podwire node remove ${name})`,
  );

/** Two Nodes of one machine: the network would go to the one that is not there any more. */
const nameLeft = ({ metadata: { name } }: Node): ApiError =>
  new ApiError(
    'Conflict',
    `this machine is node "${name}" of the cluster: join by that name (--node-name ${name}), or remove that node first (podwire node remove ${name})`,
  );

const addressTaken = (address: string, { metadata: { name } }: Node): ApiError =>
  new ApiError(
    'Conflict',
    `the address ${address} is that of node "${name}", which is another machine: give this machine's own with --node-ip (VMs often share 10.0.2.15 on their first interface), or remove that node first (podwire node remove ${name})`,
  );

export const addressOf = (node: Node): string | undefined =>
  node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;

function readJoin(given: unknown): JoinRequest {
  const { id, secret, request, name, address, machineId, podCidrs } = (given ?? {}) as Record<
    keyof JoinRequest,
    unknown
  >;
  const bad = (field: string, expected: string): ApiError =>
    new ApiError('BadRequest', `${field}: expected ${expected}`);
  if (typeof id !== 'string' || typeof secret !== 'string') throw bad('id, secret', 'those of a token');
  if (typeof request !== 'string') throw bad('request', 'a certificate request');
  if (typeof name !== 'string' || dnsSubdomainFault(name) !== undefined)
    throw bad('name', 'a DNS name in lower case, e.g. node-2');
  if (typeof address !== 'string' || isIP(address) === 0) throw bad('address', 'an IPv4 or IPv6 address');
  if (typeof machineId !== 'string' || !/^[0-9a-f-]{16,64}$/.test(machineId)) throw bad('machineId', 'an id');
  const areCidrs =
    Array.isArray(podCidrs) && podCidrs.length <= 2 && podCidrs.every((one) => typeof one === 'string');
  if (podCidrs !== undefined && !areCidrs) throw bad('podCidrs', 'one range a family');
  return { id, secret, request, name, address, machineId, podCidrs: podCidrs as string[] | undefined };
}

function asBadRequest(error: unknown): never {
  throw new ApiError('BadRequest', (error as Error).message, undefined, { cause: error });
}
