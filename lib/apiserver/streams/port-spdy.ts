// Ports of a Pod over SPDY, as kubectl's port-forward speaks it, through a WebSocket or without: a connection is a pair of
// streams of one requestID, the first for what went wrong, the second for its bytes. As many as the client opens.
// Assumes the protocol portforward.k8s.io. Source: kubelet's portforward/httpstream.go, KEP-4006. O(1) a connection.
import { ApiError } from '../../api/errors.ts';
import type { SpdyConnection, SpdyStream } from '../../spdy/connection.ts';
import type { Headers } from '../../spdy/headers.ts';
import { type Connect, type PortClient, PortLink } from './port-link.ts';

export const portsProtocol = 'portforward.k8s.io';

export function serveSpdyPorts(
  open: (onStream: (stream: SpdyStream, headers: Headers) => void) => SpdyConnection,
  connect: Connect,
): void {
  /** Error streams whose bytes' stream is still to come. */
  const halves = new Map<string, SpdyStream>();
  const links = new Set<PortLink>();
  const connection = open((stream, headers) => {
    const port = portOf(headers);
    const id = headers.requestid ?? `${port}`;
    if (headers.streamtype === 'error') {
      stream.listen({ data: () => {}, end: () => {} });
      return void halves.set(id, stream);
    }
    const errors = halves.get(id);
    if (headers.streamtype !== 'data' || !errors)
      throw new ApiError(
        'BadRequest',
        `stream ${headers.streamtype} of request ${id}: error first, then data`,
      );
    halves.delete(id);
    const pair = new Pair(connection, stream, errors);
    const link = new PortLink(pair);
    links.add(link);
    stream.listen({ data: (chunk) => link.write(chunk), end: () => link.endInput() });
    void link.run(connect(port)).finally(() => {
      links.delete(link);
      pair.end();
    });
  });
  connection.onClose = () => {
    for (const link of links) link.destroy();
  };
}

/** @throws ApiError BadRequest */
function portOf(headers: Headers): number {
  const port = Number(headers.port);
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new ApiError(
      'BadRequest',
      `port: Invalid value: ${JSON.stringify(headers.port)}: must be a number from 1 to 65535`,
    );
  return port;
}

class Pair implements PortClient {
  readonly carrier: SpdyConnection;
  readonly #data: SpdyStream;
  readonly #errors: SpdyStream;

  constructor(connection: SpdyConnection, data: SpdyStream, errors: SpdyStream) {
    this.carrier = connection;
    this.#data = data;
    this.#errors = errors;
  }

  send(chunk: Buffer, sent: () => void): void {
    this.#data.write(chunk, sent);
  }

  fail(message: string): void {
    this.#errors.write(Buffer.from(message));
  }

  /** The errors' end, too: kubectl before 1.31 waits for it before it closes its own side. */
  endOutput(): boolean {
    this.end();
    return true;
  }

  end(): void {
    this.#data.end();
    this.#errors.end();
  }
}
