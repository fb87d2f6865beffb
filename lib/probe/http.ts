// An HTTP probe, and the GET of a lifecycle hook: any certificate will do, redirects stay on the host, no connection is kept.
// Assumes the answer counts by its status; of its body no more than 10 KiB are read. One socket a request.
// Source: kubelet's pkg/probe/http.
import type { ClientRequest, IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { failure, hostPort, networkError, type ProbeResult, ProbeTimeout, userAgent } from './result.ts';

export interface HttpTarget {
  readonly scheme: 'http' | 'https';
  readonly host: string;
  readonly port: number;
  /** May have a query. */
  readonly path: string;
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface HttpAnswer {
  readonly status: number;
  readonly location: string | undefined;
  readonly body: string;
}

const longestBody = 10 * 1024;
const mostRedirects = 10;

/** Never rejects. */
export async function probeHttp(target: HttpTarget): Promise<ProbeResult> {
  const first = urlOf(target);
  if (!first) return failure(`parse ${JSON.stringify(target.path)}: invalid URL`);
  const deadline = Date.now() + target.timeoutMs;
  let url = first;
  for (let redirects = 0; ; redirects += 1) {
    let answer: HttpAnswer;
    try {
      answer = await get(url, { ...target, timeoutMs: Math.max(1, deadline - Date.now()) });
    } catch (error) {
      return failure(`Get "${url.href}": ${reasonOf(error, url)}`);
    }
    const { status, location, body } = answer;
    const next = status >= 300 && status < 400 && location ? URL.parse(location, url) : null;
    if (!next) {
      if (status >= 200 && status < 400) return { outcome: 'success', output: body };
      return failure(`HTTP probe failed with statuscode: ${status}`);
    }
    // Another host says nothing about this container.
    if (next.hostname !== first.hostname || !/^https?:$/.test(next.protocol))
      return { outcome: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
    if (redirects === mostRedirects) return failure(`Get "${next.href}": stopped after 10 redirects`);
    url = next;
  }
}

/** For a hook: any answer is a success. @throws ProbeTimeout, or what the network said */
export async function getHttp(target: HttpTarget): Promise<void> {
  const url = urlOf(target);
  if (!url) throw new TypeError(`${JSON.stringify(target.path)} is no path of a URL`);
  await get(url, target);
}

function urlOf({ scheme, host, port, path }: HttpTarget): URL | null {
  return URL.parse(`${scheme}://${hostPort(host, port)}${path.startsWith('/') ? '' : '/'}${path}`);
}

function reasonOf(error: unknown, url: URL): string {
  if (error instanceof ProbeTimeout) return error.message;
  return networkError(error, hostPort(bareHost(url), portOf(url)));
}

/** Without the brackets of an IPv6 address. */
const bareHost = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '');
const portOf = (url: URL): number => Number(url.port || (url.protocol === 'https:' ? 443 : 80));

async function get(url: URL, target: HttpTarget): Promise<HttpAnswer> {
  const isTls = url.protocol === 'https:';
  const { request } = isTls ? await import('node:https') : await import('node:http');
  const host = bareHost(url);
  const port = portOf(url);
  // Its own connection, without an agent to look after it: that would be half of what a probe costs.
  const way = isTls
    ? { agent: false, rejectUnauthorized: false }
    : { createConnection: () => connect({ host, port }) };
  return new Promise((resolve, reject) => {
    const sent: ClientRequest = request({
      ...way,
      host,
      port,
      path: `${url.pathname}${url.search}`,
      headers: headersOf(target.headers),
      ...(target.signal ? { signal: target.signal } : {}),
    });
    const timer = setTimeout(() => {
      const late = 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';
      sent.destroy(new ProbeTimeout(late));
    }, target.timeoutMs);
    const settle = (done: () => void): void => {
      clearTimeout(timer);
      sent.destroy(); // the connection serves one request
      done();
    };
    sent.on('error', (error) => settle(() => reject(error)));
    sent.on('response', (response) => {
      readBody(response).then(
        (body) =>
          settle(() =>
            resolve({ status: response.statusCode ?? 0, location: response.headers.location, body }),
          ),
        (error) => settle(() => reject(error)),
      );
    });
    sent.end();
  });
}

/** An empty value takes a header of ours away. */
function headersOf(own: HttpTarget['headers']): Record<string, string | string[]> {
  const headers: Record<string, string[]> = {};
  for (const { name, value } of own) {
    const key = name.toLowerCase();
    headers[key] = [...(headers[key] ?? []), value];
  }
  for (const [key, value] of [
    ['user-agent', userAgent],
    ['accept', '*/*'],
  ] as const) {
    if (headers[key] === undefined) headers[key] = [value];
    else if (headers[key].every((one) => one === '')) delete headers[key];
  }
  const single = Object.entries(headers).map(([key, values]) => [
    key,
    values.length === 1 ? values[0] : values,
  ]);
  return { ...Object.fromEntries(single), connection: 'close' };
}

/** The beginning of the body; the rest is left unread. Events, not an iterator: it is half of what a probe costs. */
function readBody(response: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (): void => resolve(Buffer.concat(chunks).toString('utf8', 0, longestBody));
    response.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= longestBody) done();
    });
    response.on('end', done);
    response.on('error', reject);
  });
}
