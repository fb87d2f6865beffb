// A WebSocket to the API, wherever it is: a Unix socket, a URL, or mutual TLS. Loaded only when one is opened.
// Assumes a server that speaks v5.channel.k8s.io. One connection each.
import type { Agent } from 'node:http';
import { connect } from 'node:net';
import WebSocket from 'ws';
import { failureOf, type HttpTransport, readText } from './transport.ts';

/** `use` is called before the first message can come; resolves with what it gave when the socket is open. @throws ApiError */
export async function openSocket<T>(
  transport: HttpTransport,
  path: string,
  use: (socket: WebSocket) => T,
): Promise<T> {
  const { host, port, socketPath, protocol, agent } = await transport.connection();
  const name = host?.includes(':') ? `[${host}]` : host;
  const scheme = protocol === 'https:' ? 'wss' : 'ws';
  const socket = new WebSocket(`${scheme}://${name}${port ? `:${port}` : ''}${path}`, ['v5.channel.k8s.io'], {
    perMessageDeflate: false,
    ...(socketPath ? { createConnection: () => connect(socketPath) } : { agent: agent as Agent }),
  });
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => reject(transport.failure(error)));
    socket.once('unexpected-response', (_request, response) => {
      readText(response).then((text) => reject(failureOf(response.statusCode ?? 0, text)), reject);
    });
    const used = use(socket);
    socket.once('open', () => resolve(used));
  });
}
