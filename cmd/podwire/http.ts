// Requests to podwired over its unix socket that are no plain object calls: streams (logs, progress), text, dry runs.
// Assumes Kubernetes' Status object in every refusal. One connection a request; a body is streamed, never kept.
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { createInterface } from 'node:readline';
import { ApiError, type FailureStatus } from '../../lib/api/errors.ts';
import { PodwireError } from '../../lib/exec/errors.ts';

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal | undefined;
}

/** `path?a=1&b=2`, undefined values left out. Pure. */
export function withQuery(path: string, query: RequestOptions['query'] = {}): string {
  const pairs = Object.entries(query).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, String(value)]],
  );
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs)}`;
}

/** The answer's head with its body still to be read. @throws ApiError for a refusal, the socket's error otherwise */
export async function open(
  socket: string,
  path: string,
  options: RequestOptions = {},
): Promise<IncomingMessage> {
  const response = await send(socket, path, options);
  const status = response.statusCode ?? 0;
  if (status < 400) return response;
  throw toError(await readAll(response), { status, path });
}

export async function readText(socket: string, path: string, options: RequestOptions = {}): Promise<string> {
  return readAll(await open(socket, path, options));
}

export async function readJson<T>(socket: string, path: string, options: RequestOptions = {}): Promise<T> {
  return JSON.parse(await readText(socket, path, options)) as T;
}

/** The objects of an answer that is one JSON object a line. */
export async function* readLines<T>(
  socket: string,
  path: string,
  options: RequestOptions = {},
): AsyncIterable<T> {
  const response = await open(socket, path, options);
  for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY }))
    if (line !== '') yield JSON.parse(line) as T;
}

function send(socket: string, path: string, options: RequestOptions): Promise<IncomingMessage> {
  const payload = options.body === undefined ? undefined : JSON.stringify(options.body);
  const type = options.contentType ?? 'application/json';
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      socketPath: socket,
      path: withQuery(path, options.query),
      method: options.method ?? 'GET',
      agent: false,
      ...(options.signal ? { signal: options.signal } : {}),
      headers:
        payload === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(payload) },
    });
    request.on('response', resolve);
    request.on('error', reject);
    request.end(payload);
  });
}

async function readAll(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function toError(text: string, answer: { status: number; path: string }): Error {
  try {
    const status = JSON.parse(text) as FailureStatus;
    if (status.kind === 'Status') return ApiError.fromStatus(status);
  } catch {
    // No JSON: what came is shown as it is.
  }
  return new PodwireError(
    'HTTP',
    `${answer.path}: HTTP ${answer.status}: ${text.trim().slice(0, 500) || 'no message'}`,
  );
}
