// A gRPC probe: one unary call of grpc.health.v1.Health/Check over HTTP/2 without TLS, written out by hand.
// Assumes a server that speaks the standard health protocol; the two messages have one field each. One connection a probe.
// Source: github.com/grpc/grpc, doc/health-checking.md and doc/PROTOCOL-HTTP2.md.
import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2';
import { failure, hostPort, networkError, type ProbeResult, userAgent } from './result.ts';

export interface GrpcTarget {
  readonly host: string;
  readonly port: number;
  /** '' asks for the server as a whole. */
  readonly service: string;
  readonly timeoutMs: number;
}

interface GrpcAnswer {
  /** grpc-status; undefined when what answered is no gRPC server. */
  readonly code: number | undefined;
  readonly message: string;
  readonly body: Buffer;
}

const serving = 1;
const statusNames = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];
const unimplemented = 12;

/** Never rejects. */
export async function probeGrpc(target: GrpcTarget): Promise<ProbeResult> {
  const { host, port, timeoutMs } = target;
  const address = hostPort(host, port);
  const { connect } = await import('node:http2');
  const session = connect(`http://${address}`);
  try {
    const answer = await call(session, target);
    return answer ? judge(answer) : failure(lateText(address, timeoutMs));
  } catch (error) {
    return failure(`error: failed to connect service "${address}": ${networkError(causeOf(error), address)}`);
  } finally {
    session.destroy();
  }
}

/** What cancelled the stream, where the connection did not come about. */
const causeOf = (error: unknown): unknown => (error as Error).cause ?? error;

const lateText = (address: string, timeoutMs: number): string =>
  `timeout: failed to connect service "${address}" within ${timeoutMs / 1000}s: context deadline exceeded`;

/** undefined: no answer in time. */
function call(session: ClientHttp2Session, target: GrpcTarget): Promise<GrpcAnswer | undefined> {
  const { service, timeoutMs, host, port } = target;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), timeoutMs);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      reject(error);
    };
    session.on('error', fail);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      ':authority': hostPort(host, port),
      'content-type': 'application/grpc',
      te: 'trailers',
      'user-agent': userAgent,
      'grpc-timeout': `${timeoutMs}m`,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    let headers: IncomingHttpHeaders = {};
    stream.on('response', (given) => {
      headers = given;
    });
    stream.on('trailers', (given) => {
      headers = { ...headers, ...given };
    });
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= longestAnswer) chunks.push(chunk);
    });
    stream.on('error', fail);
    stream.on('close', () => {
      clearTimeout(timer);
      const status = headers['grpc-status'];
      const message = decodeURIComponentSafely(String(headers['grpc-message'] ?? ''));
      const code = status === undefined ? undefined : Number(status);
      resolve({ code, message, body: Buffer.concat(chunks) });
    });
    stream.end(checkRequest(service));
  });
}

/** The answer has a handful of bytes. */
const longestAnswer = 64 * 1024;

function decodeURIComponentSafely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function judge({ code, message, body }: GrpcAnswer): ProbeResult {
  if (code === undefined) return failure('error: health rpc probe failed: no gRPC server answered');
  if (code === unimplemented)
    return failure(
      `error: this server doesn't implement the grpc health protocol (grpc.health.v1.Health): ${message}`,
    );
  if (code !== 0) return failure(`error: health rpc probe failed: rpc error: code ${code}: ${message}`);
  const status = servingStatus(body);
  if (status === serving) return { outcome: 'success', output: 'service healthy' };
  return failure(`service unhealthy (responded with ${JSON.stringify(statusNames[status] ?? `${status}`)})`);
}

/** A gRPC frame (no compression, length) of HealthCheckRequest { string service = 1 }. For tests too. Pure. */
export function checkRequest(service: string): Buffer {
  const name = Buffer.from(service);
  const message =
    name.length === 0 ? name : Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The one field of HealthCheckResponse { ServingStatus status = 1 } in a frame; a message without it says 0. Pure. */
export function servingStatus(frame: Buffer): number {
  const message = frame.subarray(5);
  for (let at = 0; at < message.length; ) {
    const key = readVarint(message, at);
    const value = readVarint(message, key.next);
    const wireType = key.value & 7;
    if (key.value >> 3 === 1 && wireType === 0) return value.value;
    if (wireType === 0) at = value.next;
    else if (wireType === 2) at = value.next + value.value;
    else return 0; // nothing that this message has
  }
  return 0;
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let left = value; ; left >>>= 7) {
    if (left < 0x80) return [...bytes, left];
    bytes.push((left & 0x7f) | 0x80);
  }
}

function readVarint(bytes: Buffer, from: number): { value: number; next: number } {
  let value = 0;
  for (let at = from, shift = 0; at < bytes.length && shift < 28; at += 1, shift += 7) {
    const byte = bytes[at] as number;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return { value, next: at + 1 };
  }
  return { value, next: bytes.length };
}
