// The API on an agent's own socket: each request is passed on to a server with the node's identity.
// Assumes the server refuses what a node may not do. Lists of Pods are narrowed to this node's, for it may see no others;
// while no server answers, reading these is answered from what the kubelet knows.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isReason } from '../../lib/api/errors.ts';
import { HttpTransport, type ServersTarget } from '../../lib/api/http/transport.ts';
import { parseSelectors } from '../../lib/api/selectors.ts';
import { tableOf } from '../../lib/api/table.ts';
import type { Pod } from '../../lib/api/types.ts';
import { wantsTable } from '../../lib/apiserver/content.ts';
import { relay } from '../../lib/apiserver/proxy.ts';
import { joinServer } from '../../lib/pki/server-address.ts';

export interface Forward {
  relay(request: IncomingMessage, response: ServerResponse): Promise<void>;
  close(): void;
}

export interface OwnNode {
  readonly nodeName: string;
  /** As the kubelet knows them. */
  readonly pods: () => readonly Pod[];
}

export function forwardToServer(target: ServersTarget, own: OwnNode): Forward {
  const transport = new HttpTransport(target);
  return {
    relay: async (request, response) => {
      const path = narrowed(request, own.nodeName);
      // Only what has no body can be asked for again: the first try has read it.
      const tries = request.method === 'GET' ? target.servers().length : 1;
      for (let tried = 1; ; tried++) {
        const connection = await transport.connection();
        const what = `the server ${joinServer(connection.host ?? '', Number(connection.port))}`;
        try {
          return await relay(request, response, { what, connection, path });
        } catch (error) {
          transport.turnAway();
          if (response.headersSent || !isReason(error, 'ServiceUnavailable')) throw error;
          if (tried < tries) continue;
          const answer = ownPods(request, own.pods());
          if (!answer) throw error;
          const warning = `299 - "${what} does not answer: this is what node ${own.nodeName} knows"`;
          const headers = { 'content-type': 'application/json', warning };
          return void response.writeHead(200, headers).end(JSON.stringify(answer));
        }
      }
    },
    close: () => transport.close(),
  };
}

type Asked = Pick<IncomingMessage, 'method' | 'url'>;
const podsPath = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?pods(?:\/([^/]+))?\/?$/;

/** The path with a selector of this node's Pods, where all are asked for. Pure. */
export function narrowed({ method, url = '/' }: Asked, nodeName: string): string {
  const [path = '/', query = ''] = url.split('?', 2);
  const [all, , name] = podsPath.exec(path) ?? [];
  if (method !== 'GET' || all === undefined || name !== undefined) return url;
  const params = new URLSearchParams(query);
  const given = (params.get('fieldSelector') ?? '').split(',').filter((one) => one !== '');
  if (given.some((one) => one.startsWith('spec.nodeName='))) return url;
  params.set('fieldSelector', [...given, `spec.nodeName=${nodeName}`].join(','));
  return `${path}?${params}`;
}

/** The answer to reading Pods, of these; undefined for any other request, and for a Pod that is not among them. Pure. */
export function ownPods(
  { method, url = '/', headers }: Asked & Pick<IncomingMessage, 'headers'>,
  pods: readonly Pod[],
): object | undefined {
  const { pathname, searchParams: query } = new URL(url, 'http://podwire');
  const [all, namespace, name] = podsPath.exec(pathname) ?? [];
  if (method !== 'GET' || all === undefined || query.has('watch')) return undefined;
  const matches = parseSelectors('pods', {
    labelSelector: query.get('labelSelector') ?? undefined,
    fieldSelector: query.get('fieldSelector') ?? undefined,
  });
  const found = pods.filter(
    (pod) =>
      (namespace === undefined || pod.metadata.namespace === namespace) &&
      (name === undefined || pod.metadata.name === name) &&
      (!matches || matches(pod)),
  );
  if (name !== undefined && found.length === 0) return undefined;
  if (wantsTable(headers.accept))
    return tableOf('pods', found, { resourceVersion: '', now: Date.now(), includeObject: 'Metadata' });
  if (name !== undefined) return found[0];
  return { kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '' }, items: found };
}
