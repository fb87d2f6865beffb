// What of a Pod is spoken over an upgraded connection, a WebSocket or SPDY: exec, attach and portforward; here they are told
// apart, allowed, and passed on when the Pod is another node's. Assumes WebSocket subprotocols v5.channel.k8s.io or v4, for
// ports SPDY in a WebSocket too, which is kubectl's way; over SPDY the protocols of upgrades below. O(connections).
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';
import { ApiError } from '../../api/errors.ts';
import type { Pod } from '../../api/types.ts';
import { toApiError } from '../content.ts';
import { attachOptions, execOptions, flag, forwardedPorts, mustLive, type Query } from '../queries.ts';
import { mustBeSomebody } from '../access/access.ts';
import { isMaster, type User, userOf } from '../access/authn.ts';
import type { ExecSession } from '../../container/cri.ts';
import { SpdyConnection, type SpdyStream } from '../../spdy/connection.ts';
import type { Headers } from '../../spdy/headers.ts';
import { relayUpgrade } from '../proxy.ts';
import type { Connect } from './port-link.ts';
import { servePorts } from './port-socket.ts';
import { portsProtocol, serveSpdyPorts } from './port-spdy.ts';
import type { PodSource } from '../routes-pods.ts';
import { serveSession } from './session.ts';
import { SocketClient } from './session-socket.ts';
import { sessionProtocol, SpdyClient, type Streams } from './session-spdy.ts';

const channels = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
/** SPDY in the messages of a WebSocket (KEP-4006). */
const tunnel = `SPDY/3.1+${portsProtocol}`;
/** What each WebSocket's request is answered with. */
const chosen = new WeakMap<IncomingMessage, string>();
const path = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/(exec|attach|portforward)$/;

export class PodSockets {
  readonly #source: PodSource;
  readonly #isAllowed: (user: User) => boolean;
  #server: WebSocketServer | undefined;
  readonly #sockets = new Set<Duplex>();

  constructor(source: PodSource, isAllowed: (user: User) => boolean = isMaster) {
    this.#source = source;
    this.#isAllowed = isAllowed;
  }

  /** For the HTTP server's `upgrade` event; answers with a Status when there is nothing to upgrade to. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy());
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    try {
      const { pod, verb, query, upgrade } = await this.#read(request);
      const remote = await this.#source.locate(pod);
      if (remote) return await relayUpgrade({ request, socket, head }, remote);
      const service = this.#service(pod, { verb, query, protocol: upgrade.protocol });
      if (upgrade.to === 'spdy') return await serveSpdy(service, openSpdy(socket, head, upgrade.protocol));
      const server = await this.#webSocketServer();
      delete request.headers['sec-websocket-protocol']; // chosen already; `ws` would refuse the tunnel's name for its slash
      chosen.set(request, upgrade.protocol);
      server.handleUpgrade(request, socket, head, (client) =>
        serveWebSocket(service, client, upgrade.protocol),
      );
    } catch (error) {
      refuseUpgrade(socket, toApiError(error));
    }
  }

  /** What to do with the connection. @throws ApiError for what was asked wrong */
  #service(pod: Pod, { verb, query, protocol }: { verb: string; query: Query; protocol: string }): Service {
    const { streams } = this.#source;
    if (verb === 'portforward') {
      mustLive(pod, 'forward a port of');
      const isByStream = protocol === tunnel || protocol === portsProtocol; // each names its port
      return {
        ports: isByStream ? [] : forwardedPorts(query),
        connect: (port) => streams.portForward(pod, port),
      };
    }
    const outputs = { stdout: flag(query, 'stdout'), stderr: flag(query, 'stderr') };
    if (verb === 'attach') {
      const options = attachOptions(pod, query);
      return { start: () => streams.attach(pod, options), options: { ...outputs, ...options } };
    }
    const options = execOptions(pod, query);
    return { start: () => streams.exec(pod, options), options: { ...outputs, ...options } };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
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
        `${url.pathname}: nothing here to upgrade to; exec, attach and portforward of a Pod have it`,
      );
    const upgrade = upgradeOf(request, verb);
    const pod = await this.#source.find({ namespace: decode(namespace), name: decode(name) });
    return { pod, verb, query: queryOf(url), upgrade };
  }

  /** Loaded with the first exec: many daemons never see one. */
  async #webSocketServer(): Promise<WebSocketServer> {
    if (!this.#server) {
      const { WebSocketServer } = await import('ws');
      this.#server ??= new WebSocketServer({
        noServer: true,
        perMessageDeflate: false,
        maxPayload: 4 * 1024 * 1024,
      });
      this.#server.on('headers', (lines, request) => {
        lines.push(`Sec-WebSocket-Protocol: ${chosen.get(request)}`);
      });
    }
    return this.#server;
  }
}

type Service =
  | { readonly ports: readonly number[]; readonly connect: Connect }
  | { readonly start: () => Promise<ExecSession>; readonly options: Streams };
type Open = (onStream: (stream: SpdyStream, headers: Headers) => void) => SpdyConnection;

function serveWebSocket(service: Service, client: WebSocket, protocol: string): void {
  if ('start' in service) void serveSession(new SocketClient(client), service.start, service.options);
  else if (protocol !== tunnel) servePorts(client, { ...service, canHalve: protocol === channels[0] });
  else void serveTunnel(service.connect, client);
}

async function serveTunnel(connect: Connect, client: WebSocket): Promise<void> {
  const { createWebSocketStream } = await import('ws');
  const socket = createWebSocketStream(client);
  serveSpdyPorts((onStream) => new SpdyConnection(socket, { role: 'server', onStream }), connect);
}

async function serveSpdy(service: Service, open: Open): Promise<void> {
  if ('connect' in service) return serveSpdyPorts(open, service.connect);
  const client = new SpdyClient(open, service.options);
  if (await client.opened()) await serveSession(client, service.start, service.options);
}

/** Answers that the connection is SPDY's now, and makes it so. */
const openSpdy =
  (socket: Duplex, head: Buffer, protocol: string): Open =>
  (onStream) => {
    const lines = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', `X-Stream-Protocol-Version: ${protocol}`];
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
    return new SpdyConnection(socket, { role: 'server', head, onStream });
  };

/** What the client wants to speak. @throws ApiError BadRequest when it is nothing of ours */
function upgradeOf(request: IncomingMessage, verb: string): { to: 'websocket' | 'spdy'; protocol: string } {
  const { headers } = request;
  const to = headers.upgrade?.toLowerCase();
  const isSpdy = to === 'spdy/3.1';
  if (to !== 'websocket' && !isSpdy)
    throw new ApiError('BadRequest', `${verb} speaks WebSocket and SPDY/3.1, not ${headers.upgrade}`);
  // Repeated headers come as one, with commas.
  const given = headers[isSpdy ? 'x-stream-protocol-version' : 'sec-websocket-protocol'] ?? '';
  const offered = String(given)
    .split(',')
    .map((one) => one.trim());
  const isPorts = verb === 'portforward';
  const spoken = isSpdy
    ? [isPorts ? portsProtocol : sessionProtocol]
    : [...(isPorts ? [tunnel] : []), ...channels];
  const protocol = spoken.find((one) => offered.includes(one));
  if (protocol === undefined)
    throw new ApiError(
      'BadRequest',
      `${verb} speaks the subprotocols ${spoken.join(' and ')}, not ${JSON.stringify(offered.join(', '))}`,
    );
  return { to: isSpdy ? 'spdy' : 'websocket', protocol };
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
