// Lets an HTTP server listen on a Unix socket that nobody but its owner could ever open.
// Assumes bind happens in the very call of listen (so Node does for paths); a stale socket of a killed daemon is
// replaced, a living one is not. Once a start.
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { PodwireError } from '../exec/errors.ts';

export type SocketErrorCode = 'SOCKET_IN_USE' | 'SOCKET_FAILED';

/** @throws PodwireError SOCKET_IN_USE when another daemon answers there, SOCKET_FAILED otherwise. */
export async function listenUnix(server: Server, path: string): Promise<void> {
  // sun_path of unix(7) holds 108 bytes with the closing NUL; Node would cut a longer one silently.
  if (Buffer.byteLength(path) > 107)
    throw new PodwireError(
      'SOCKET_FAILED',
      `${path}: a Unix socket's path may have 107 bytes; choose a shorter --root`,
    );
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (await answers(path))
    throw new PodwireError('SOCKET_IN_USE', `${path}: another podwired is listening there`);
  rmSync(path, { force: true });
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new PodwireError('SOCKET_FAILED', `${path}: cannot listen: ${(cause as Error).message}`, { cause });
  }
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false; // not there, or nobody behind it
  } finally {
    socket.destroy();
  }
}
