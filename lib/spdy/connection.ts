// The little of SPDY/3.1 that Kubernetes' streaming speaks: streams with headers, data both ways, half-close, pings. As the
// client of a CRI streaming server, and as the server of kubectl. Assumes a peer without flow control (all of them use one
// Go library, which has none): who is behind is held back by the TCP connection, all its streams together.
// Source: SPDY protocol draft 3.1. Data is passed on as it comes; memory: one control frame.
import type { Duplex } from 'node:stream';
import { PodwireError } from '../exec/errors.ts';
import { BlockStream, headerBlock, type Headers, readHeaderBlock } from './headers.ts';

const type = { synStream: 1, synReply: 2, rstStream: 3, ping: 6, goAway: 7, headers: 8 } as const;
const version = 3;
const fin = 0x01;
const headSize = 8;
/** Ours and kubectl's have some dozen bytes; header blocks are the largest. */
const mostControlBytes = 64 * 1024;
const refusedStream = 3;
/** So long the peer has to close after we have said all. */
const partingMs = 5000;

export interface StreamListener {
  data(chunk: Buffer): void;
  /** The peer has ended its side, or the connection is gone. */
  end(): void;
}

export interface SpdyStream {
  /** `sent` is called when the connection has taken it, or is gone. */
  write(chunk: Buffer, sent?: () => void): void;
  /** Nothing more comes from us. */
  end(): void;
  /** What came before is told at once. */
  listen(listener: StreamListener): void;
}

export interface SpdyOptions {
  /** Who opened the connection opens streams with odd numbers. */
  readonly role: 'client' | 'server';
  /** What was read with the answer or request that upgraded to it. */
  readonly head?: Buffer;
  /** A server's: the peer opened a stream. Throwing resets it. */
  readonly onStream?: (stream: SpdyStream, headers: Headers) => void;
}

/** Frames of a connection that has been upgraded to SPDY. */
export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #options: SpdyOptions;
  readonly #compressor = new BlockStream('compress');
  readonly #expander = new BlockStream('expand');
  readonly #streams = new Map<number, Stream>();
  readonly #frames = new FrameReader();
  #nextId = 1;
  #highestPeerId = 0;
  onClose: () => void = () => {};

  constructor(socket: Duplex, options: SpdyOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => socket.end());
    socket.on('error', () => socket.destroy()); // 'close' tells
    socket.on('close', () => this.#closed());
    if (options.head?.length) this.#take(options.head);
  }

  /** Bytes that the peer has not read yet. */
  get waiting(): number {
    return this.#socket.writableLength;
  }

  /** Resolves when its opening has been sent. Names of headers are sent in lower case. @throws Error when the connection is gone */
  async open(headers: Headers): Promise<SpdyStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = this.#add(id);
    const block = await this.#compressor.run(headerBlock(headers));
    this.#control(type.synStream, Buffer.concat([numbers(id, 0), Buffer.alloc(2), block])); // no parent, no priority
    return stream;
  }

  /** At once; what is under way is lost. */
  close(): void {
    this.#socket.destroy();
  }

  /** Ends every stream and says so; the connection goes when all that was written has arrived. */
  finish(): void {
    for (const stream of this.#streams.values()) stream.end();
    this.#control(type.goAway, numbers(this.#highestPeerId, 0));
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), partingMs).unref();
  }

  /** Reads no more until resume(): the peer waits when the connection is full. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  get isPaused(): boolean {
    return this.#socket.isPaused();
  }

  #add(id: number): Stream {
    const stream = new Stream(
      (chunk, isLast, sent) =>
        this.#send(numbers(id, ((isLast ? fin : 0) << 24) | chunk.length), chunk, sent),
      () => void this.#streams.delete(id),
    );
    this.#streams.set(id, stream);
    return stream;
  }

  #control(kind: number, body: Buffer): void {
    this.#send(numbers(((0x8000 | version) << 16) | kind, body.length), body);
  }

  #send(head: Buffer, body: Buffer, sent?: () => void): void {
    if (this.#socket.writable) this.#socket.write(Buffer.concat([head, body]), () => sent?.());
    else sent?.();
  }

  #take(chunk: Buffer): void {
    try {
      this.#frames.take(chunk, {
        data: (id, part, isLast) => {
          const stream = this.#streams.get(id);
          if (part.length > 0) stream?.receive(part);
          if (isLast) stream?.receiveEnd();
        },
        control: (kind, flags, body) => this.#controlled(kind, flags, body),
      });
    } catch {
      this.#socket.destroy(); // what follows a frame that cannot be read cannot be read either
    }
  }

  #controlled(kind: number, flags: number, body: Buffer): void {
    const id = body.length >= 4 ? body.readUInt32BE(0) & 0x7fffffff : 0;
    const isPeers = id % 2 === (this.#options.role === 'server' ? 1 : 0);
    if (kind === type.ping && isPeers) this.#control(type.ping, body);
    // A client has nothing to wait for then; a server's peer still reads what is on its way.
    else if (kind === type.goAway && this.#options.role === 'client') this.#socket.end();
    else if (kind === type.rstStream || (kind === type.synReply && flags & fin))
      this.#streams.get(id)?.receiveEnd();
    else if (kind === type.synStream) this.#opened(id, flags, body.subarray(10));
    else if (kind === type.headers) this.#expand(body.subarray(4)); // only for what is after it
  }

  /** Data may come before its headers are expanded: the stream is there from now on. */
  #opened(id: number, flags: number, block: Buffer): void {
    const { onStream } = this.#options;
    const headers = this.#expand(block);
    if (!onStream || id % 2 === 0 || id <= this.#highestPeerId)
      throw new PodwireError('SPDY_STREAM', 'not to be opened');
    this.#highestPeerId = id;
    const stream = this.#add(id);
    if (flags & fin) stream.receiveEnd();
    void headers.then(async (given) => {
      const answer = given && (await this.#compressor.run(headerBlock({})).catch(() => undefined));
      if (!answer) return;
      this.#control(type.synReply, Buffer.concat([numbers(id), answer])); // data before it would be passed over
      try {
        onStream(stream, given);
      } catch {
        this.#streams.delete(id);
        this.#control(type.rstStream, numbers(id, refusedStream));
      }
    });
  }

  /** Nothing more is understood after one that is not. */
  #expand(block: Buffer): Promise<Headers | undefined> {
    return this.#expander
      .run(block)
      .then(readHeaderBlock)
      .catch(() => void this.#socket.destroy());
  }

  #closed(): void {
    this.#compressor.close();
    this.#expander.close();
    for (const stream of this.#streams.values()) stream.receiveEnd();
    this.onClose();
  }
}

class Stream implements SpdyStream {
  readonly #send: (chunk: Buffer, isLast: boolean, sent?: () => void) => void;
  readonly #over: () => void;
  #listener: StreamListener | undefined;
  #early: Buffer[] = [];
  #isEnded = false;
  #isClosed = false;

  constructor(send: (chunk: Buffer, isLast: boolean, sent?: () => void) => void, over: () => void) {
    this.#send = send;
    this.#over = over;
  }

  write(chunk: Buffer, sent?: () => void): void {
    if (this.#isClosed) sent?.();
    else this.#send(chunk, false, sent);
  }

  end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#send(Buffer.alloc(0), true);
    if (this.#isEnded) this.#over();
  }

  listen(listener: StreamListener): void {
    this.#listener = listener;
    for (const chunk of this.#early.splice(0)) listener.data(chunk);
    if (this.#isEnded) listener.end();
  }

  receive(chunk: Buffer): void {
    if (this.#isEnded) return;
    if (this.#listener) this.#listener.data(chunk);
    else this.#early.push(Buffer.from(chunk)); // must not hold the whole read
  }

  receiveEnd(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#listener?.end();
    if (this.#isClosed) this.#over();
  }
}

interface FrameListener {
  data(stream: number, part: Buffer, isLast: boolean): void;
  control(kind: number, flags: number, body: Buffer): void;
}

/** Parts a stream of bytes into frames, however it is cut. A data frame is told in the parts that it comes in. */
class FrameReader {
  #rest: Buffer = Buffer.alloc(0);
  /** Of the data frame under way: its stream, what of it is still to come, whether the stream ends with it. */
  #data: { readonly stream: number; left: number; readonly isLast: boolean } | undefined;

  /** @throws PodwireError SPDY_FRAME for a control frame that is too large or of another version */
  take(chunk: Buffer, to: FrameListener): void {
    let all = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    for (;;) {
      const size = this.#data ? this.#dataPart(this.#data, all, to) : this.#start(all, to);
      if (size === undefined) break;
      all = all.subarray(size);
    }
    this.#rest = all.length > 0 ? Buffer.from(all) : all;
  }

  /** Gives how much was used; undefined: more is needed. */
  #start(all: Buffer, to: FrameListener): number | undefined {
    if (all.length < headSize) return undefined;
    const word = all.readUInt32BE(0);
    const flags = all.readUInt8(4);
    const length = all.readUIntBE(5, 3);
    if (word < 0x80000000) {
      this.#data = { stream: word, left: length, isLast: (flags & fin) !== 0 };
      return headSize;
    }
    if (length > mostControlBytes || ((word >>> 16) & 0x7fff) !== version)
      throw new PodwireError('SPDY_FRAME', 'a control frame that is no SPDY/3.1');
    if (all.length < headSize + length) return undefined;
    to.control(word & 0xffff, flags, all.subarray(headSize, headSize + length));
    return headSize + length;
  }

  #dataPart(
    data: { readonly stream: number; left: number; readonly isLast: boolean },
    all: Buffer,
    to: FrameListener,
  ): number | undefined {
    if (all.length === 0 && data.left > 0) return undefined;
    const part = all.subarray(0, data.left);
    data.left -= part.length;
    if (data.left === 0) this.#data = undefined;
    to.data(data.stream, part, data.left === 0 && data.isLast);
    return part.length;
  }
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * at);
  return bytes;
}
