// exec over a WebSocket as kubectl ≥ 1.31 speaks it: the first byte of a message is its channel.
// Assumes subprotocols v5.channel.k8s.io (255 closes a channel) or v4. A client that does not read is cut off.
// Source: k8s.io/apimachinery/pkg/util/remotecommand, KEP-4006.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket, WebSocketServer } from 'ws';
import { ApiError } from '../api/errors.ts';
import type { ExecSession } from '../container/cri.ts';
import { toApiError } from './content.ts';
import { execOptions, type Query } from './queries.ts';
import type { ExecOptions } from '../api/streams.ts';
import { mustBeSomebody } from './access.ts';
import { isMaster, type User, userOf } from './authn.ts';
import { relayUpgrade } from './proxy.ts';
import type { PodSource } from './routes-pods.ts';

export const protocols = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;
const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;
/** ExecSession cannot be paused, so this much may wait for a slow client, then the session ends. */
const maxBuffered = 64 * 1024 * 1024;
const path = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/exec$/;

export class ExecEndpoint {
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
      const { pod, query } = await this.#read(request);
      const remote = await this.#source.locate(pod);
      if (remote) return await relayUpgrade({ request, socket, head }, remote);
      const options = execOptions(pod, query);
      const server = await this.#webSocketServer();
      server.handleUpgrade(
        request,
        socket,
        head,
        (client) => void serve(client, () => this.#source.streams.exec(pod, options), options),
      );
    } catch (error) {
      refuseUpgrade(socket, toApiError(error));
    }
  }

  close(): void {
    for (const client of this.#server?.clients ?? []) client.terminate();
    this.#server?.close();
  }

  async #read(request: IncomingMessage) {
    const user = mustBeSomebody(userOf(request.socket));
    if (!this.#isAllowed(user))
      throw new ApiError('Forbidden', `"${user.name}" may not exec: ask on a server`);
    const url = new URL(request.url ?? '/', 'http://podwire');
    const [, namespace, name] = path.exec(url.pathname) ?? [];
    if (!namespace || !name)
      throw new ApiError('NotFound', `${url.pathname}: nothing here speaks WebSocket; pods/NAME/exec does`);
    if (request.headers.upgrade?.toLowerCase() !== 'websocket')
      throw new ApiError(
        'BadRequest',
        `exec speaks WebSocket, not ${request.headers.upgrade}: use kubectl 1.31 or later`,
      );
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((one) => one.trim());
    if (!protocols.some((one) => offered.includes(one)))
      throw new ApiError(
        'BadRequest',
        `exec speaks the subprotocols ${protocols.join(' and ')}, not ${JSON.stringify(offered.join(', '))}`,
      );
    const pod = await this.#source.find({ namespace: decode(namespace), name: decode(name) });
    return { pod, query: queryOf(url) };
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

async function serve(
  client: WebSocket,
  start: () => Promise<ExecSession>,
  options: ExecOptions,
): Promise<void> {
  // What the client sends before the session stands waits here.
  let session: ExecSession | undefined;
  const early: RawData[] = [];
  client.on('message', (data: RawData) => {
    if (session) receive(session, bytesOf(data), options);
    else early.push(data);
  });
  let isGone = false;
  client.on('error', () => client.terminate());
  client.on('close', () => {
    isGone = true;
    session?.kill();
  });
  try {
    const started = await start();
    if (isGone) return started.kill();
    forward(client, started);
    session = started;
    for (const data of early) receive(started, bytesOf(data), options);
    sendStatus(client, exitStatus(await started.exit));
  } catch (error) {
    sendStatus(client, toApiError(error).status);
  }
  client.close(1000);
}

function forward(client: WebSocket, session: ExecSession): void {
  const send = (to: number) => (chunk: Buffer) => {
    if (client.readyState !== client.OPEN) return;
    client.send(Buffer.concat([Buffer.of(to), chunk]));
    if (client.bufferedAmount > maxBuffered) client.terminate();
  };
  session.onStdout(send(channel.stdout));
  session.onStderr(send(channel.stderr));
}

function receive(session: ExecSession, message: Buffer, options: ExecOptions): void {
  const payload = message.subarray(1);
  switch (message[0]) {
    case channel.stdin:
      if (options.stdin && payload.length > 0) session.writeStdin(payload);
      break;
    case channel.resize: {
      const size = sizeOf(payload);
      if (options.tty && size) session.resize(size.columns, size.rows);
      break;
    }
    case channel.close:
      if (payload[0] === channel.stdin) session.closeStdin();
      break;
  }
}

function sizeOf(payload: Buffer): { columns: number; rows: number } | undefined {
  try {
    const { Width, Height } = JSON.parse(payload.toString()) as { Width: unknown; Height: unknown };
    const isSize = (value: unknown): value is number =>
      Number.isInteger(value) && (value as number) > 0 && (value as number) < 65536;
    return isSize(Width) && isSize(Height) ? { columns: Width, rows: Height } : undefined;
  } catch {
    return undefined; // a malformed size changes nothing
  }
}

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);

function sendStatus(client: WebSocket, status: object): void {
  if (client.readyState === client.OPEN)
    client.send(Buffer.concat([Buffer.of(channel.error), Buffer.from(JSON.stringify(status))]));
}

/** As the kubelet tells it: kubectl takes its own exit code from the cause. */
function exitStatus(code: number): object {
  if (code === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}
