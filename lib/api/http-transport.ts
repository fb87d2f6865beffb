// One HTTP request to podwired, over its Unix socket or a URL; failures become ApiErrors that say what to do.
// Assumes plain node:http with keep-alive; nothing else is loaded, for the CLI's start-up time counts.
// One connection a request under way.
import { Agent, type IncomingMessage, type RequestOptions, request as startRequest } from 'node:http';
import { ApiError, type FailureStatus } from './errors.ts';

export type Target = { readonly socketPath: string } | { readonly url: string };

export interface HttpRequest {
  readonly method: string;
  /** With its query: /api/v1/pods?watch=true */
  readonly path: string;
  /** Sent as JSON unless it is a text or bytes. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
}

export class HttpTransport {
  readonly #target: Target;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(target: Target) {
    this.#target = target;
  }

  /** Resolves with the answer's head when it is a success. @throws ApiError for any other, and when nobody answers. */
  async open(request: HttpRequest): Promise<IncomingMessage> {
    const response = await this.#send(request);
    const code = response.statusCode ?? 0;
    if (code >= 200 && code < 300) return response;
    throw failureOf(code, await readText(response));
  }

  async text(request: HttpRequest): Promise<string> {
    return readText(await this.open(request));
  }

  async json<T>(request: HttpRequest): Promise<T> {
    return JSON.parse(await this.text(request)) as T;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Where node:http and ws must connect to. */
  connection(): { host: string; port?: number; socketPath?: string } {
    if ('socketPath' in this.#target) return { host: 'podwire', socketPath: this.#target.socketPath };
    const { hostname, port } = new URL(this.#target.url);
    return { host: hostname, port: Number(port || 80) };
  }

  #send(request: HttpRequest): Promise<IncomingMessage> {
    const body = encodeBody(request.body);
    const { signal } = request;
    const options: RequestOptions = {
      ...this.connection(),
      agent: this.#agent,
      method: request.method,
      path: request.path,
      headers: {
        accept: request.accept ?? 'application/json',
        ...(body === undefined
          ? {}
          : { 'content-type': request.contentType ?? 'application/json', 'content-length': body.length }),
      },
      ...(signal ? { signal } : {}),
    };
    return new Promise((resolve, reject) => {
      const call = startRequest(options, resolve);
      call.on('error', (error) => reject(this.failure(error)));
      call.end(body);
    });
  }

  /** What a broken connection means to a person. */
  failure(error: NodeJS.ErrnoException): ApiError {
    const where = 'socketPath' in this.#target ? this.#target.socketPath : this.#target.url;
    if (error.code === 'EACCES' || error.code === 'EPERM')
      return new ApiError(
        'Forbidden',
        `${where}: permission denied; podwired's socket is root's: use sudo`,
        undefined,
        { cause: error },
      );
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
      return new ApiError(
        'ServiceUnavailable',
        `podwired does not answer at ${where} (${error.code}); start it with: podwire up`,
        undefined,
        { cause: error },
      );
    return new ApiError(
      'ServiceUnavailable',
      `the connection to podwired at ${where} broke: ${error.message}`,
      undefined,
      { cause: error },
    );
  }
}

function encodeBody(body: unknown): Buffer | undefined {
  if (body === undefined) return undefined;
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

export async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** An ApiError of an answer's text: a Status object, or whatever stood there. */
export function failureOf(code: number, text: string): ApiError {
  try {
    const status = JSON.parse(text) as FailureStatus;
    if (status.kind === 'Status') return ApiError.fromStatus(status);
  } catch {
    // not a Status: shown as it is
  }
  return new ApiError('InternalError', `podwired answered with HTTP ${code}: ${text.slice(0, 200)}`);
}
