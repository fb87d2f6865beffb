// Ports of a Pod over a WebSocket: port number i of the address has channel 2i for its bytes and 2i+1 for what went wrong;
// each begins with the port's number (two bytes, the low one first). A WebSocket is one connection a port.
// Assumes v4.channel.k8s.io as Kubernetes' own clients of it speak it; in v5 message (255, channel) ends one side of a
// connection, which TCP can and v4 cannot. Source: kubelet's portforward/websocket.go; KEP-4006 for the closing of a channel.
import type { RawData, WebSocket } from 'ws';
import { type Connect, type PortClient, PortLink } from './port-link.ts';
import type { Carrier } from './session.ts';
import { bytesOf, carrierOf } from './session-socket.ts';

const closeChannel = 255;

export function servePorts(
  socket: WebSocket,
  asked: { readonly ports: readonly number[]; readonly connect: Connect; readonly canHalve: boolean },
): void {
  const { ports, connect, canHalve } = asked;
  const channels = ports.map((port, at) => new Channels(socket, { port, data: 2 * at, canHalve }));
  const links = new Map(channels.map((one) => [one.data, new PortLink(one)]));
  let open = links.size;
  socket.on('error', () => socket.terminate());
  socket.on('message', (data: RawData) => {
    const message = bytesOf(data);
    const payload = message.subarray(1);
    if (message[0] === closeChannel) links.get(payload[0]!)?.endInput();
    else links.get(message[0]!)?.write(payload);
  });
  socket.on('close', () => {
    for (const link of links.values()) link.destroy();
  });
  for (const { data, port } of channels)
    void links
      .get(data)!
      .run(connect(port))
      .finally(() => {
        if (--open === 0) socket.close(1000);
      });
}

class Channels implements PortClient {
  readonly port: number;
  readonly data: number;
  readonly carrier: Carrier;
  readonly #canHalve: boolean;
  readonly #socket: WebSocket;

  constructor(
    socket: WebSocket,
    { port, data, canHalve }: { port: number; data: number; canHalve: boolean },
  ) {
    this.#socket = socket;
    this.carrier = carrierOf(socket);
    this.#canHalve = canHalve;
    this.port = port;
    this.data = data;
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    for (const channel of [data, data + 1]) this.#send(channel, number);
  }

  send(chunk: Buffer, sent: () => void): void {
    this.#send(this.data, chunk, sent);
  }

  fail(message: string): void {
    this.#send(this.data + 1, Buffer.from(message));
  }

  endOutput(): boolean {
    if (this.#canHalve) this.#send(closeChannel, Buffer.of(this.data));
    return this.#canHalve;
  }

  #send(channel: number, payload: Buffer, sent?: () => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(Buffer.concat([Buffer.of(channel), payload]), () => sent?.());
  }
}
