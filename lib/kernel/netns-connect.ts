// A TCP connection from inside a network namespace: a socket belongs for good to the namespace it was opened in, so this
// thread is there for socket(2) only, and the connection is Node's own from then on.
// Assumes node:ffi (see libc.ts). Three system calls a connection.
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { PodwireError } from '../exec/errors.ts';
import { loadLibc } from './libc.ts';
import { openNetns, withinNetns } from './netlink/socket.ts';

// Source: socket(2), ip(7), ipv6(7).
const families = { '127.0.0.1': 2, '::1': 10 } as const;
const streamNonBlockCloexec = 1 | 0o4000 | 0o2000000;

/**
 * To that port of the namespace's localhost, IPv4 first. `netns`: its name or path.
 * @throws PodwireError PORT_REFUSED when nobody listens, NO_FFI
 */
export async function connectInNetns(netns: string, port: number): Promise<Socket> {
  let refusal: unknown;
  for (const host of ['127.0.0.1', '::1'] as const)
    try {
      return await connected(socketIn(netns, families[host]), { host, port });
    } catch (error) {
      if (error instanceof PodwireError) throw error;
      refusal ??= error;
    }
  throw new PodwireError('PORT_REFUSED', `failed to connect to localhost:${port} inside the Pod`, {
    cause: refusal,
  });
}

/** The same on the machine's own localhost. */
export function connectToSelf(port: number): Promise<Socket> {
  return connected(new Socket(), { host: 'localhost', port }).catch((error: unknown) => {
    throw new PodwireError('PORT_REFUSED', `failed to connect to localhost:${port} of the node`, {
      cause: error,
    });
  });
}

function socketIn(netns: string, family: number): Socket {
  const libc = loadLibc();
  if (!libc)
    throw new PodwireError('NO_FFI', 'ports of a Pod are reached by node:ffi, which this Node lacks');
  const namespace = openNetns(libc, netns);
  let fd: number;
  try {
    fd = withinNetns(libc, namespace, () => libc.socket(family, streamNonBlockCloexec, 0));
  } finally {
    libc.close(namespace);
  }
  if (fd < 0) throw new Error(`socket: errno ${-fd}`);
  try {
    // Nothing to read before it is connected.
    return new Socket({ fd, manualStart: true } as { fd: number });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function connected(socket: Socket, to: { host: string; port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.once('error', failed);
    socket.connect(to, () => {
      socket.off('error', failed);
      resolve(socket);
    });
  });
}
