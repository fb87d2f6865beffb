// exec and attach over SPDY, as kubectl before 1.31 and many libraries speak it: a stream each for the error, input, outputs
// and sizes. Assumes the protocol v4.channel.k8s.io: the exit status is JSON on the error stream.
// Source: k8s.io/apimachinery/pkg/util/remotecommand. One connection a session.
import { ApiError } from '../../api/errors.ts';
import type { SpdyConnection, SpdyStream } from '../../spdy/connection.ts';
import type { Headers } from '../../spdy/headers.ts';
import type { SessionClient, SessionListener } from './session.ts';

export const sessionProtocol = 'v4.channel.k8s.io';
/** As long as the kubelet waits for the streams. */
const openMs = 30_000;
const kinds = ['error', 'stdin', 'stdout', 'stderr', 'resize'] as const;
type Kind = (typeof kinds)[number];

/** The streams that a client opens, by the request's parameters. */
export interface Streams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export class SpdyClient implements SessionClient {
  readonly carrier: SpdyConnection;
  readonly #streams = new Map<Kind, SpdyStream>();
  readonly #wanted: ReadonlySet<Kind>;
  readonly #opening = Promise.withResolvers<boolean>();

  /** `connect` begins to read. */
  constructor(
    connect: (onStream: (stream: SpdyStream, headers: Headers) => void) => SpdyConnection,
    asked: Streams,
  ) {
    const { stdin, stdout, stderr, tty } = asked;
    const wanted: Record<Kind, boolean> = { error: true, stdin, stdout, stderr: stderr && !tty, resize: tty };
    this.#wanted = new Set(kinds.filter((kind) => wanted[kind]));
    this.carrier = connect((stream, headers) => this.#opened(stream, headers));
    this.carrier.onClose = () => this.#opening.resolve(false);
  }

  /** Resolves when all streams are there; false when they did not come in time, or the client went. */
  opened(): Promise<boolean> {
    const timer = setTimeout(() => this.carrier.close(), openMs);
    return this.#opening.promise.finally(() => clearTimeout(timer));
  }

  listen(listener: SessionListener): void {
    this.carrier.onClose = () => listener.gone();
    const nothing = { data: () => {}, end: () => {} };
    for (const [kind, stream] of this.#streams)
      if (kind === 'stdin')
        stream.listen({ data: (chunk) => listener.input(chunk), end: () => listener.inputEnd() });
      else if (kind === 'resize') stream.listen({ ...nothing, data: (chunk) => listener.resize(chunk) });
      else stream.listen(nothing);
  }

  send(to: 'stdout' | 'stderr' | 'error', chunk: Buffer, sent?: () => void): void {
    const stream = this.#streams.get(to);
    if (stream) stream.write(chunk, sent);
    else sent?.(); // nobody asked for it
  }

  close(): void {
    this.carrier.finish();
  }

  #opened(stream: SpdyStream, headers: Headers): void {
    const kind = kinds.find((one) => one === headers.streamtype);
    if (!kind || !this.#wanted.has(kind) || this.#streams.has(kind))
      throw new ApiError('BadRequest', `no stream ${headers.streamtype} is wanted here`);
    this.#streams.set(kind, stream);
    if (this.#streams.size === this.#wanted.size) this.#opening.resolve(true);
  }
}
