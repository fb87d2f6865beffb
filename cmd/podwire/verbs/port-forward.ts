// `podwire port-forward`: listens here, and carries each connection to a port of a Pod's localhost.
// Assumes the API's portforward; a WebSocket a connection. Ends by Ctrl-C, or when the Pod cannot be reached at the start.
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { messageOf, PodwireError } from '../../../lib/exec/errors.ts';
import { UsageError } from '../errors.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { podName } from '../resources.ts';

export interface ForwardedPort {
  /** 0: any. */
  readonly local: number;
  readonly remote: number;
}

/** `8080:80`, `80` or `:80`. @throws UsageError. Pure. */
export function parsePort(text: string): ForwardedPort {
  const [, local, colon, remote] = /^([0-9]*)(:?)([0-9]*)$/.exec(text) ?? [];
  const to = Number(colon ? remote : local);
  const from = local === '' ? 0 : Number(local);
  if (!Number.isInteger(to) || to < 1 || to > 65535 || from > 65535)
    throw new UsageError(
      `port ${JSON.stringify(text)}: expected LOCAL:REMOTE, PORT or :REMOTE, numbers from 1 to 65535`,
    );
  return { local: from, remote: to };
}

export async function runPortForward(
  context: Context,
  pod: string,
  ports: readonly string[],
  options: { address?: string },
): Promise<void> {
  const forwarded = ports.map(parsePort);
  const name = podName(pod);
  const client = await context.client();
  const key = { namespace: context.namespace, name };
  const { status } = await client.get('pods', key);
  if (status?.phase !== 'Running')
    throw new PodwireError(
      'NOT_RUNNING',
      `unable to forward port because pod is not running. Current status=${status?.phase ?? 'Unknown'}`,
    );
  const addresses = options.address?.split(',') ?? ['127.0.0.1', '::1'];
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  const signal = untilInterrupted();
  for (const { local, remote } of forwarded) {
    const use = (socket: Socket, at: number): void => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      context.out(`Handling connection for ${at}\n`);
      const failed = (error: unknown) => context.err(`error: port ${remote}: ${messageOf(error)}\n`);
      void carry(socket, () => client.portForward(key, remote), failed);
    };
    let port = local; // one number for all addresses
    for (const address of addresses) {
      const server = await listen(address === 'localhost' ? '127.0.0.1' : address, port, use).catch(
        (error: unknown) => {
          // A machine without IPv6 listens on what it has.
          if (address === '::1' && options.address === undefined) return undefined;
          throw new PodwireError(
            'CANNOT_LISTEN',
            `cannot listen on ${address} port ${port}: ${messageOf(error)}`,
          );
        },
      );
      if (!server) continue;
      servers.push(server);
      port = (server.address() as AddressInfo).port;
      const shown = address.includes(':') ? `[${address}]` : address;
      context.out(`Forwarding from ${shown}:${port} -> ${remote}\n`);
    }
  }
  await new Promise((resolve) => signal.addEventListener('abort', resolve));
  for (const server of servers) server.close();
  for (const socket of sockets) socket.destroy();
}

async function listen(
  host: string,
  port: number,
  use: (socket: Socket, port: number) => void,
): Promise<Server> {
  // A client may say all it has to say, and then wait for the answer.
  const server = createServer({ allowHalfOpen: true });
  server.on('connection', (socket) => use(socket, (server.address() as AddressInfo).port));
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}

async function carry(
  socket: Socket,
  connect: () => Promise<NodeJS.ReadWriteStream>,
  onError: (error: unknown) => void,
): Promise<void> {
  socket.on('error', () => socket.destroy());
  try {
    const remote = await connect();
    remote.on('error', (error) => {
      onError(error);
      socket.destroy();
    });
    pipeline(socket, remote, () => {});
    pipeline(remote, socket, () => {});
  } catch (error) {
    onError(error);
    socket.destroy();
  }
}
