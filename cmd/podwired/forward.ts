// The API on an agent's own socket: each request is passed on to a server with the node's identity.
// Assumes the server refuses what a node may not do. Lists of Pods are narrowed to this node's, for it may see no others.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpTransport, type ServersTarget } from '../../lib/api/http-transport.ts';
import { relay } from '../../lib/apiserver/proxy.ts';

export interface Forward {
  relay(request: IncomingMessage, response: ServerResponse): Promise<void>;
  close(): void;
}

export function forwardToServer(target: ServersTarget, nodeName: string): Forward {
  const transport = new HttpTransport(target);
  return {
    relay: async (request, response) => {
      const connection = await transport.connection();
      const what = `the server ${connection.host}:${connection.port}`;
      try {
        await relay(request, response, { what, connection, path: narrowed(request, nodeName) });
      } catch (error) {
        transport.turnAway();
        throw error;
      }
    },
    close: () => transport.close(),
  };
}

/** The path with a selector of this node's Pods, where all are asked for. Pure. */
export function narrowed(
  { method, url = '/' }: Pick<IncomingMessage, 'method' | 'url'>,
  nodeName: string,
): string {
  const [path = '/', query = ''] = url.split('?', 2);
  if (method !== 'GET' || !/^\/api\/v1\/(namespaces\/[^/]+\/)?pods\/?$/.test(path)) return url;
  const params = new URLSearchParams(query);
  const given = (params.get('fieldSelector') ?? '').split(',').filter((one) => one !== '');
  if (given.some((one) => one.startsWith('spec.nodeName='))) return url;
  params.set('fieldSelector', [...given, `spec.nodeName=${nodeName}`].join(','));
  return `${path}?${params}`;
}
