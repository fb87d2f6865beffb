// The little of SPDY/3.1 that a CRI streaming server speaks: streams opened by us, data both ways, half-close, pings.
// Assumes one connection a session and a peer without flow control (all CRI servers share one such library). Header
// blocks of ours are compressed without the preset dictionary, which zlib lets us; those of the peer are not read.
// Source: SPDY protocol draft 3.1. A frame costs one copy.
import type { Duplex } from 'node:stream';
import { constants, createDeflate } from 'node:zlib';

const synStream = 1;
const synReply = 2;
const rstStream = 3;
const ping = 6;
const goAway = 7;
const version = 3;
const fin = 0x01;
const headSize = 8;

export interface SpdyStream {
  write(chunk: Buffer): void;
  /** Nothing more comes from us. */
  end(): void;
  onData: (chunk: Buffer) => void;
  /** The peer has ended its side, or the connection is gone. */
  onEnd: () => void;
}

interface Half extends SpdyStream {
  /** By the peer. */
  ended: boolean;
  /** By us. */
  closed: boolean;
}

/** Frames of a SPDY connection that has been upgraded to. */
export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #deflate = createDeflate();
  readonly #streams = new Map<number, Half>();
  #nextId = 1;
  #rest: Buffer = Buffer.alloc(0);
  /** SYN_STREAMs go out in the order of their ids: one compressor serves them all. */
  #opening: Promise<unknown> = Promise.resolve();
  onClose: () => void = () => {};

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => socket.destroy()); // 'close' tells
    socket.on('close', () => this.#closed());
    if (head.length > 0) this.#take(head);
  }

  /** Resolves when its opening has been sent. Names of headers are sent in lower case. */
  open(headers: Readonly<Record<string, string>>): Promise<SpdyStream> {
    const id = this.#nextId;
    this.#nextId += 2; // odd ones are the client's
    const stream: Half = {
      ended: false,
      closed: false,
      write: (chunk) => this.#data(id, 0, chunk),
      end: () => {
        if (!stream.closed) this.#data(id, fin, Buffer.alloc(0));
        stream.closed = true;
      },
      onData: () => {},
      onEnd: () => {},
    };
    this.#streams.set(id, stream);
    const sent = this.#opening.then(async () => {
      const block = await this.#compress(headerBlock(headers));
      const ids = Buffer.alloc(10); // stream, associated stream, priority and slot
      ids.writeUInt32BE(id, 0);
      this.#control(synStream, 0, Buffer.concat([ids, block]));
      return stream;
    });
    this.#opening = sent.catch(() => {});
    return sent;
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Reads no more until resume(): the peer waits when the connection is full. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #compress(block: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const parts: Buffer[] = [];
      const collect = (part: Buffer): unknown => parts.push(part);
      this.#deflate.on('data', collect);
      this.#deflate.write(block, (error) => error && reject(error));
      this.#deflate.flush(constants.Z_SYNC_FLUSH, () => {
        this.#deflate.off('data', collect);
        resolve(Buffer.concat(parts));
      });
    });
  }

  #control(type: number, flags: number, body: Buffer): void {
    const head = Buffer.alloc(headSize);
    head.writeUInt16BE(0x8000 | version, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt32BE(body.length, 4);
    head.writeUInt8(flags, 4);
    this.#send(Buffer.concat([head, body]));
  }

  #data(id: number, flags: number, body: Buffer): void {
    const head = Buffer.alloc(headSize);
    head.writeUInt32BE(id, 0);
    head.writeUInt32BE(body.length, 4);
    head.writeUInt8(flags, 4);
    this.#send(Buffer.concat([head, body]));
  }

  #send(frame: Buffer): void {
    if (this.#socket.writable) this.#socket.write(frame);
  }

  #take(chunk: Buffer): void {
    let all = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    while (all.length >= headSize) {
      const size = headSize + all.readUIntBE(5, 3);
      if (all.length < size) break;
      this.#frame(all.subarray(0, size));
      all = all.subarray(size);
    }
    this.#rest = all;
  }

  #frame(frame: Buffer): void {
    const body = frame.subarray(headSize);
    const flags = frame.readUInt8(4);
    if ((frame.readUInt8(0) & 0x80) === 0) {
      const stream = this.#streams.get(frame.readUInt32BE(0));
      if (body.length > 0) stream?.onData(body);
      if (flags & fin) this.#end(stream);
      return;
    }
    const type = frame.readUInt16BE(2);
    if (type === ping && body.length >= 4 && body.readUInt32BE(0) % 2 === 0) this.#control(ping, 0, body);
    if (type === goAway) this.#socket.end();
    if (type !== rstStream && !(type === synReply && flags & fin)) return;
    this.#end(this.#streams.get(body.readUInt32BE(0) & 0x7fffffff));
  }

  #end(stream: Half | undefined): void {
    if (!stream || stream.ended) return;
    stream.ended = true;
    stream.onEnd();
  }

  #closed(): void {
    this.#deflate.close();
    for (const stream of this.#streams.values()) this.#end(stream);
    this.onClose();
  }
}

/** Count, then each name and value with its length. Pure. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(bytes.length);
    return Buffer.concat([size, bytes]);
  };
  const entries = Object.entries(headers);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(entries.length);
  return Buffer.concat([
    count,
    ...entries.flatMap(([name, value]) => [text(name.toLowerCase()), text(value)]),
  ]);
}
