// Ports of a Pod over a WebSocket: port number i of the address has channel 2i for its bytes and 2i+1 for what went wrong;
// each begins with the port's number (two bytes, the low one first). A WebSocket is one connection a port.
// Assumes v4.channel.k8s.io as Kubernetes' own clients of it speak it; in v5 message (255, channel) ends one side of a
// connection, which TCP can and v4 cannot. Memory: a megabyte a connection each way.
// Source: kubelet's portforward/websocket.go; KEP-4006 for the closing of a channel.
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { messageOf } from '../exec/errors.ts';
import { bytesOf, muchWaiting } from './session-socket.ts';

const closeChannel = 255;

export function servePorts(
  client: WebSocket,
  ports: readonly number[],
  connect: (port: number) => Promise<Duplex>,
): void {
  const links = ports.map((port, at) => new Link(client, port, 2 * at));
  let open = links.length;
  client.on('error', () => client.terminate());
  client.on('message', (data: RawData) => {
    const message = bytesOf(data);
    const payload = message.subarray(1);
    if (message[0] === closeChannel) links.find((link) => link.channel === payload[0])?.endInput();
    else links.find((link) => link.channel === message[0])?.write(payload);
  });
  client.on('close', () => {
    for (const link of links) link.destroy();
  });
  for (const link of links)
    void link.run(connect).finally(() => {
      if (--open === 0) client.close(1000);
    });
}

/** One connection into the Pod. */
class Link {
  readonly channel: number;
  readonly #client: WebSocket;
  readonly #port: number;
  #socket: Duplex | undefined;
  /** What came before the connection stood. */
  #early: Buffer[] = [];
  #inputEnded = false;
  #destroyed = false;

  constructor(client: WebSocket, port: number, channel: number) {
    this.#client = client;
    this.#port = port;
    this.channel = channel;
  }

  /** Resolves when both sides have ended. */
  async run(connect: (port: number) => Promise<Duplex>): Promise<void> {
    const number = Buffer.alloc(2);
    number.writeUInt16LE(this.#port);
    this.#send(this.channel, number);
    this.#send(this.channel + 1, number);
    let socket: Duplex;
    try {
      socket = await connect(this.#port);
    } catch (error) {
      return this.#fail(error);
    }
    if (this.#destroyed) return void socket.destroy();
    this.#socket = socket;
    for (const chunk of this.#early.splice(0)) this.write(chunk);
    if (this.#inputEnded) socket.end();
    await this.#relay(socket);
  }

  write(chunk: Buffer): void {
    const socket = this.#socket;
    if (!socket) this.#early.push(chunk);
    else if (!socket.destroyed && !socket.writableEnded && !socket.write(chunk)) {
      this.#client.pause();
      const resume = (): void => this.#client.resume();
      for (const event of ['drain', 'close']) socket.once(event, resume);
    }
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#socket?.end();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#socket?.destroy();
  }

  #relay(socket: Duplex): Promise<void> {
    const client = this.#client;
    return new Promise((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        this.#send(this.channel, chunk, () => socket.resume());
        if (client.bufferedAmount > muchWaiting) socket.pause();
      });
      socket.on('end', () => {
        if (client.protocol.startsWith('v5')) this.#send(closeChannel, Buffer.of(this.channel));
        else socket.end(); // nothing can tell the client of a half
      });
      socket.on('error', (error) => this.#fail(error));
      socket.on('close', () => resolve());
    });
  }

  #fail(error: unknown): void {
    this.#send(this.channel + 1, Buffer.from(messageOf(error)));
  }

  #send(channel: number, payload: Buffer, sent?: () => void): void {
    if (this.#client.readyState !== this.#client.OPEN) return;
    this.#client.send(Buffer.concat([Buffer.of(channel), payload]), sent);
  }
}
