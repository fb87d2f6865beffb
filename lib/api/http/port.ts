// A connection to a port of a Pod from the client's side: a WebSocket of its own, given as a stream of bytes.
// Assumes lib/apiserver/streams/port-socket.ts on the other side: channel 0 bytes, 1 errors, (255, 0) the end of one side, and the
// port's number first on both channels. Each side waits for the other: memory is bounded.
import { Duplex } from 'node:stream';
import WebSocket from 'ws';
import { ApiError } from '../errors.ts';
import { openSocket } from './socket.ts';
import type { HttpTransport } from './transport.ts';

const numberBytes = 2;

/** What goes wrong in the Pod (nobody listens) ends the stream with an error. @throws ApiError */
export function openPort(transport: HttpTransport, path: string): Promise<Duplex> {
  return openSocket(transport, path, streamOver);
}

function streamOver(socket: WebSocket): Duplex {
  const send = (channel: number, payload: Buffer, done: (error?: Error | null) => void): void => {
    if (socket.readyState !== WebSocket.OPEN) done();
    else socket.send(Buffer.concat([Buffer.of(channel), payload]), (error) => done(error));
  };
  const stream = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => send(0, chunk, done),
    final: (done) => send(255, Buffer.of(0), done),
    destroy: (error, done) => {
      if (socket.readyState !== WebSocket.CONNECTING) socket.close();
      done(error);
    },
  });
  let begun = false;
  let refused = '';
  socket.on('message', (data: Buffer) => {
    const payload = data.subarray(1);
    if (data[0] === 255) stream.push(null);
    else if (data[0] === 1) {
      if (payload.length > numberBytes) refused = payload.toString();
    } else if (!begun) begun = true;
    else if (data[0] === 0 && !stream.push(payload)) socket.pause();
  });
  socket.on('error', () => socket.terminate());
  socket.on('close', () => {
    if (refused) stream.destroy(new ApiError('InternalError', refused));
    else if (!stream.readableEnded) stream.push(null);
    stream.end();
  });
  return stream;
}
