// Requests to podwired that are no plain object calls: text, dry runs, and answers of one JSON object a line.
// Assumes lib/api/http/transport.ts for the connection and for turning refusals into ApiError.
import { linesOf } from '../../lib/api/http/client.ts';
import { HttpTransport, readText as readBody } from '../../lib/api/http/transport.ts';

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

/** @throws ApiError for a refusal, and when nobody answers */
export async function readText(
  socketPath: string,
  path: string,
  options: RequestOptions = {},
): Promise<string> {
  return readBody(await send(socketPath, path, options));
}

export async function readJson<T>(
  socketPath: string,
  path: string,
  options: RequestOptions = {},
): Promise<T> {
  return JSON.parse(await readText(socketPath, path, options)) as T;
}

/** The objects of an answer that is one JSON object a line. */
export async function* readLines<T>(
  socketPath: string,
  path: string,
  options: RequestOptions = {},
): AsyncIterable<T> {
  for await (const line of linesOf(await send(socketPath, path, options))) yield JSON.parse(line) as T;
}

function send(socketPath: string, path: string, options: RequestOptions) {
  const { method = 'GET', query, ...rest } = options;
  return new HttpTransport({ socketPath }).open({ method, path: withQuery(path, query), ...rest });
}
