// A bad network in front of an etcd: answers that are lost, requests that come late. One TCP proxy, all its connections alike.
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface BadNetwork {
  readonly endpoint: string;
  /** What etcd answers from now on is lost. */
  loseAnswers(): void;
  /** What is sent from now on waits in the network; what comes after `forMs` is lost. */
  holdRequests(forMs: number): void;
  /** What was held arrives. The connections are as dead as before. */
  deliver(): void;
  /** New connections work again; the ones so far are cut. */
  heal(): void;
  close(): Promise<void>;
}

export async function startProxy(target: string): Promise<BadNetwork> {
  const [host, port] = target.split(':') as [string, string];
  let mode: 'well' | 'lose' | 'hold' = 'well';
  let holdUntil = 0;
  const held: Array<{ to: Socket; bytes: Buffer }> = [];
  const pairs = new Set<{ client: Socket; etcd: Socket }>();
  const server = createServer((client) => {
    const etcd = connect(Number(port), host);
    const pair = { client, etcd };
    pairs.add(pair);
    client.on('data', (bytes: Buffer) => {
      if (mode !== 'hold') etcd.write(bytes);
      else if (Date.now() < holdUntil) held.push({ to: etcd, bytes });
    });
    etcd.on('data', (bytes: Buffer) => {
      if (mode === 'well') client.write(bytes);
    });
    // A client that gives up is not heard of by etcd: the network is broken.
    client.on('close', () => {
      if (mode === 'well') etcd.destroy();
    });
    etcd.on('close', () => client.destroy());
    for (const socket of [client, etcd]) socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => {
    for (const { client, etcd } of pairs) {
      client.destroy();
      etcd.destroy();
    }
    pairs.clear();
  };
  return {
    endpoint: `127.0.0.1:${(server.address() as { port: number }).port}`,
    loseAnswers: () => {
      mode = 'lose';
    },
    holdRequests: (forMs) => {
      mode = 'hold';
      holdUntil = Date.now() + forMs;
    },
    deliver: () => {
      for (const { to, bytes } of held.splice(0)) to.write(bytes);
    },
    heal: () => {
      mode = 'well';
      cut();
    },
    close: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
