// What of a Pod is spoken over a WebSocket: exec, attach (session-socket.ts) and portforward (port-socket.ts); here they are
// told apart, allowed, and passed on when the Pod is another node's.
// Assumes subprotocols v5.channel.k8s.io or v4.channel.k8s.io. O(connections).
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';
import { ApiError } from '../api/errors.ts';
import type { Pod } from '../api/types.ts';
import { toApiError } from './content.ts';
import { attachOptions, execOptions, forwardedPorts, type Query } from './queries.ts';
import { mustBeSomebody } from './access.ts';
import { isMaster, type User, userOf } from './authn.ts';
import { relayUpgrade } from './proxy.ts';
import { servePorts } from './port-socket.ts';
import type { PodSource } from './routes-pods.ts';
import { serveSession } from './session-socket.ts';

export const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
const path = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/(exec|attach|portforward)$/;

export class PodSockets {
  readonly #source: PodSource;
  readonly #isAllowed: (user: User) => boolean;
  #server: WebSocketServer | undefined;

  constructor(source: PodSource, isAllowed: (user: User) => boolean = isMaster) {
    this.#source = source;
    this.#isAllowed = isAllowed;
  }

  /** For the HTTP server's `upgrade` event; answers with a Status when there is nothing to upgrade to. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    try {
      const { pod, verb, query } = await this.#read(request);
      const remote = await this.#source.locate(pod);
      if (remote) return await relayUpgrade({ request, socket, head }, remote);
      const serve = this.#service(pod, verb, query);
      const server = await this.#webSocketServer();
      server.handleUpgrade(request, socket, head, serve);
    } catch (error) {
      refuseUpgrade(socket, toApiError(error));
    }
  }

  /** What to do with the connection. @throws ApiError for what was asked wrong */
  #service(pod: Pod, verb: string, query: Query): (client: WebSocket) => void {
    const { streams } = this.#source;
    if (verb === 'portforward') {
      const ports = forwardedPorts(pod, query);
      return (client) => servePorts(client, ports, (port) => streams.portForward(pod, port));
    }
    if (verb === 'attach') {
      const options = attachOptions(pod, query);
      return (client) => void serveSession(client, () => streams.attach(pod, options), options);
    }
    const options = execOptions(pod, query);
    return (client) => void serveSession(client, () => streams.exec(pod, options), options);
  }

  close(): void {
    for (const client of this.#server?.clients ?? []) client.terminate();
    this.#server?.close();
  }

  async #read(request: IncomingMessage) {
    const user = mustBeSomebody(userOf(request.socket));
    if (!this.#isAllowed(user))
      throw new ApiError('Forbidden', `"${user.name}" may not reach into Pods here: ask on a server`);
    const url = new URL(request.url ?? '/', 'http://podwire');
    const [, namespace, name, verb] = path.exec(url.pathname) ?? [];
    if (!namespace || !name || !verb)
      throw new ApiError(
        'NotFound',
        `${url.pathname}: nothing here speaks WebSocket; exec, attach and portforward of a Pod do`,
      );
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      throw new ApiError(
        'BadRequest',
        `${verb} speaks WebSocket, not ${request.headers.upgrade}: use kubectl 1.31 or later`,
      );
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
    if (!protocols.some((one) => offered.includes(one)))
      throw new ApiError(
        'BadRequest',
        `${verb} speaks the subprotocols ${protocols.join(' and ')}, not ${JSON.stringify(offered.join(', '))}`,
      );
    const pod = await this.#source.find({ namespace: decode(namespace), name: decode(name) });
    return { pod, verb, query: queryOf(url) };
  }

  /** Loaded with the first exec: many daemons never see one. */
  async #webSocketServer(): Promise<WebSocketServer> {
    if (!this.#server) {
      const { WebSocketServer } = await import('ws');
      this.#server ??= new WebSocketServer({
        noServer: true,
        perMessageDeflate: false,
        maxPayload: 4 * 1024 * 1024,
        handleProtocols: (offered) => protocols.find((one) => offered.has(one)) ?? false,
      });
    }
    return this.#server;
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ApiError('BadRequest', `${JSON.stringify(part)} is not a well-formed part of an address`);
  }
}

function queryOf(url: URL): Query {
  const names = [...new Set(url.searchParams.keys())];
  return Object.fromEntries(names.map((name) => [name, url.searchParams.getAll(name)]));
}

function refuseUpgrade(socket: Duplex, error: ApiError): void {
  const body = JSON.stringify(error.status);
  const head = [
    `HTTP/1.1 ${error.status.code} ${error.status.reason}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  // No time limit of the HTTP server's holds for it any more: who does not close his side must not keep ours open.
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
