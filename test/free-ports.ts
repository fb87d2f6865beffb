// Ports of the loopback for servers that cannot choose one themselves.
// Assumes the server starts soon: nothing holds them for it. They lie below those that the kernel gives to outgoing
// connections, so that none is given away before that, or while the server is down.
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

/** So many different ones at which nobody listens. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = randomInt(12_000, 29_000);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    ports.add(port);
    await new Promise((done) => server.close(done));
  }
  return [...ports];
}
