// exec and attach over a WebSocket as kubectl ≥ 1.31 speaks it: the first byte of a message is its channel.
// Assumes subprotocols v5.channel.k8s.io (255 closes a channel) or v4. One message a chunk.
// Source: k8s.io/apimachinery/pkg/util/remotecommand, KEP-4006.
import type { RawData, WebSocket } from 'ws';
import type { Carrier, SessionClient, SessionListener } from './session.ts';

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export const carrierOf = (socket: WebSocket): Carrier => ({
  get waiting() {
    return socket.bufferedAmount;
  },
  pause: () => socket.pause(),
  resume: () => socket.resume(),
  get isPaused() {
    return socket.isPaused;
  },
});

export class SocketClient implements SessionClient {
  readonly carrier: Carrier;
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    this.carrier = carrierOf(socket);
  }

  listen(listener: SessionListener): void {
    const socket = this.#socket;
    socket.on('message', (data: RawData) => tell(listener, bytesOf(data)));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => listener.gone());
  }

  send(to: 'stdout' | 'stderr' | 'error', chunk: Buffer, sent?: () => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#socket.send(Buffer.concat([Buffer.of(channel[to]), chunk]), () => sent?.());
  }

  close(): void {
    this.#socket.close(1000);
  }
}

function tell(listener: SessionListener, message: Buffer): void {
  const payload = message.subarray(1);
  if (message[0] === channel.stdin) listener.input(payload);
  else if (message[0] === channel.resize) listener.resize(payload);
  else if (message[0] === channel.close && payload[0] === channel.stdin) listener.inputEnd();
}

export const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);
