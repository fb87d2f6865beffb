// One connection into a Pod for somebody far away: bytes both ways, what went wrong, the end of each side.
// Assumes the far side is a channel of a WebSocket (port-socket.ts) or a pair of SPDY streams (port-spdy.ts). Who does not
// read makes the other wait. Memory: a megabyte a connection each way.
import type { Duplex } from 'node:stream';
import { messageOf } from '../../exec/errors.ts';
import { type Carrier, muchWaiting } from './session.ts';

/** The far side of one connection. */
export interface PortClient {
  readonly carrier: Carrier;
  /** `sent` is called when it has been taken, or nobody is there any more. */
  send(chunk: Buffer, sent: () => void): void;
  fail(message: string): void;
  /** The Pod says no more. False: the far side cannot be told of a half, and the whole connection ends. */
  endOutput(): boolean;
}

export type Connect = (port: number) => Promise<Duplex>;

export class PortLink {
  readonly #client: PortClient;
  #socket: Duplex | undefined;
  /** What came before the connection stood. */
  #early: Buffer[] = [];
  #inputEnded = false;
  #destroyed = false;

  constructor(client: PortClient) {
    this.#client = client;
  }

  /** Resolves when both sides have ended. */
  async run(connecting: Promise<Duplex>): Promise<void> {
    let socket: Duplex;
    try {
      socket = await connecting;
    } catch (error) {
      return this.#client.fail(messageOf(error));
    }
    if (this.#destroyed) return void socket.destroy();
    this.#socket = socket;
    for (const chunk of this.#early.splice(0)) this.write(chunk);
    if (this.#inputEnded) socket.end();
    await this.#relay(socket);
  }

  write(chunk: Buffer): void {
    const socket = this.#socket;
    if (!socket) this.#early.push(Buffer.from(chunk));
    else if (!socket.destroyed && !socket.writableEnded && !socket.write(chunk)) {
      this.#client.carrier.pause();
      const resume = (): void => this.#client.carrier.resume();
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
        client.send(chunk, () => socket.resume());
        if (client.carrier.waiting > muchWaiting) socket.pause();
      });
      socket.on('end', () => {
        if (!client.endOutput()) socket.end();
      });
      socket.on('error', (error) => client.fail(messageOf(error)));
      socket.on('close', () => resolve());
    });
  }
}
