// Passes a request on to another machine as it is, and its answer back: bodies stream both ways, WebSockets too.
// Assumes the caller has decided that the client may. Memory is bounded by the sockets' buffers.
import {
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request as startRequest,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream';
import { ApiError } from '../api/errors.ts';
import { type Connection, failureOf, limitWait, readText } from '../api/http/transport.ts';
import type { Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { toApiError } from './content.ts';

/** Where the Pod's node serves its logs and exec; undefined: this machine itself. @throws ApiError when it cannot be reached */
export type LocateNode = (pod: Pod) => Promise<RemoteNode | undefined>;

export interface RemoteNode {
  /** For messages: `node two` */
  readonly what: string;
  readonly connection: Connection;
}

/** Of this hop only (RFC 9110, 7.6.1); who the client was is the far side's to learn from our certificate. */
const hopByHop: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer'],
  ...['transfer-encoding', 'upgrade', 'host', 'expect'],
]);

function passedOn(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !hopByHop.has(name)));
}

function open(request: IncomingMessage, to: RemoteNode, more: RequestOptions): ClientRequest {
  const call = startRequest({ ...to.connection, method: request.method, path: request.url, ...more });
  if (to.connection.protocol === 'https:') limitWait(call);
  return call;
}

/** Resolves when the answer has begun. @throws ApiError ServiceUnavailable before that; later the answer is cut off */
export function relay(
  request: IncomingMessage,
  response: ServerResponse,
  to: RemoteNode & { readonly path?: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = open(request, to, {
      headers: passedOn(request.headers),
      ...(to.path === undefined ? {} : { path: to.path }),
    });
    call.on('error', (error) => reject(unavailable(to, error)));
    call.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, passedOn(answer.headers));
      response.flushHeaders();
      pipeline(answer, response, () => {}); // a side that breaks ends the other
      resolve();
    });
    response.on('close', () => call.destroy());
    if (request.method === 'GET' || request.method === 'HEAD') call.end();
    else pipeline(request, call, () => {});
  });
}

/** A small JSON answer. @throws ApiError: the far side's own, or ServiceUnavailable */
export function askJson<T>(to: RemoteNode, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = startRequest({ ...to.connection, method: 'GET', path });
    limitWait(call);
    call.on('error', (error) => reject(unavailable(to, error)));
    call.on('response', (answer) => {
      readText(answer).then((text) => {
        const code = answer.statusCode ?? 0;
        if (code !== 200) reject(failureOf(code, text));
        else resolve(JSON.parse(text) as T);
      }, reject);
    });
    call.end();
  });
}

/** A WebSocket; what the far side refuses is passed back as it is. */
export function relayUpgrade(
  { request, socket, head }: { request: IncomingMessage; socket: Duplex; head: Buffer },
  to: RemoteNode,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { connection: _, upgrade, ...rest } = request.headers;
    const { host: _host, ...headers } = rest;
    const call = open(request, to, {
      headers: { ...headers, connection: 'Upgrade', upgrade: upgrade ?? 'websocket' },
    });
    call.on('error', (error) => reject(unavailable(to, error)));
    call.on('response', (answer) => {
      socket.write(headText(answer, { connection: 'close' }));
      pipeline(answer, socket, () => {});
      resolve();
    });
    call.on('upgrade', (answer, far, farHead) => {
      socket.write(headText(answer, {}));
      if (farHead.length > 0) socket.write(farHead);
      if (head.length > 0) far.write(head);
      join(socket, far);
      resolve();
    });
    socket.on('close', () => call.destroy());
    call.end();
  });
}

/** Each side gets what the other sends, and its end. */
function join(client: Duplex, far: Duplex): void {
  far.on('error', () => client.destroy());
  far.on('close', () => client.end()); // what is on its way to the client still arrives
  client.on('error', () => far.destroy());
  client.on('close', () => far.destroy());
  far.pipe(client);
  client.pipe(far);
}

function headText(answer: IncomingMessage, more: Record<string, string>): string {
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let at = 0; at < answer.rawHeaders.length; at += 2) {
    const name = answer.rawHeaders[at]!;
    // The body comes decoded: what framed it is not true any more.
    if (name.toLowerCase() === 'transfer-encoding' || more[name.toLowerCase()] !== undefined) continue;
    lines.push(`${name}: ${answer.rawHeaders[at + 1]}`);
  }
  for (const [name, value] of Object.entries(more)) lines.push(`${name}: ${value}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function unavailable(to: RemoteNode, error: Error): ApiError {
  return new ApiError('ServiceUnavailable', `${to.what} does not answer: ${messageOf(error)}`, undefined, {
    cause: error,
  });
}

/** Answers with the error unless an answer has begun; then it is cut off. */
export function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const { status } = toApiError(error);
  response.writeHead(status.code, { 'content-type': 'application/json' }).end(JSON.stringify(status));
}
