// Where the Pods of other nodes stream from: their node's TLS port, reached with this server's certificate.
// Assumes each Node tells its address and port in its status. One set of kept-alive connections a node.
import type { Client } from '../../lib/api/client.ts';
import { ApiError, isReason } from '../../lib/api/errors.ts';
import type { Node } from '../../lib/api/types.ts';
import { addressOf } from '../../lib/apiserver/access/join.ts';
import { askJson, type LocateNode, type RemoteNode } from '../../lib/apiserver/proxy.ts';
import type { Credentials } from '../../lib/pki/certificate.ts';
import { AgentKeeper, theNode } from '../../lib/pki/peer.ts';

export interface NodeDialer {
  readonly locate: LocateNode;
  /** A JSON answer of a node's own endpoints. @throws ApiError */
  ask<T>(nodeName: string, path: string): Promise<T>;
  close(): void;
}

/** `credentials`: this server's; undefined while it is on its own. */
export function nodeDialer(input: {
  readonly client: Client;
  readonly nodeName: string;
  readonly credentials: () => Credentials | undefined;
}): NodeDialer {
  const { client, nodeName, credentials } = input;
  const agents = new Map<string, AgentKeeper>();
  const mine = (): Credentials => {
    const own = credentials();
    if (!own)
      throw new ApiError('ServiceUnavailable', 'this machine is on its own: it reaches no other node');
    return own;
  };
  const reach = async (name: string): Promise<RemoteNode> => {
    const node = await find(client, name);
    const host = node && addressOf(node);
    const port = node?.status?.daemonEndpoints?.kubeletEndpoint?.Port;
    if (!host || !port)
      throw new ApiError(
        'ServiceUnavailable',
        `node "${name}" ${node ? 'has told no address yet' : 'is not there'}`,
      );
    const keeper = agents.get(name) ?? new AgentKeeper(mine, theNode(name));
    agents.set(name, keeper);
    return {
      what: `node "${name}" (${host}:${port})`,
      connection: { host, port, protocol: 'https:', agent: keeper.get() },
    };
  };
  return {
    locate: async ({ spec }) =>
      spec.nodeName && spec.nodeName !== nodeName ? reach(spec.nodeName) : undefined,
    ask: async (name, path) => askJson(await reach(name), path),
    close: () => {
      for (const agent of agents.values()) agent.close();
    },
  };
}

async function find(client: Client, name: string): Promise<Node | undefined> {
  try {
    return await client.get('nodes', { name });
  } catch (error) {
    if (isReason(error, 'NotFound')) return undefined;
    throw error;
  }
}
