// One HTTP request to podwired: over its Unix socket, a URL, or mutual TLS to whichever server answers.
// Assumes node:http with keep-alive; nothing else is loaded for a socket, for the CLI's start-up time counts.
// One connection a request under way. Failures become ApiErrors that say what to do.
import {
  Agent,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
  request as startRequest,
} from 'node:http';
import type { Credentials } from '../../pki/certificate.ts';
import type { AgentKeeper } from '../../pki/peer.ts';
import { splitServer } from '../../pki/server-address.ts';
import { ApiError, type FailureStatus } from '../errors.ts';

/** Servers of one cluster, reached by mutual TLS. Both are asked anew for each request, for they may change. */
export interface ServersTarget {
  /** HOST:PORT each. */
  readonly servers: () => readonly string[];
  readonly credentials: () => Credentials;
  /** So long may a watch say nothing; 150 s unless told. */
  readonly watchSilenceMs?: number;
}

export type Target = { readonly socketPath: string } | { readonly url: string } | ServersTarget;

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

/** What node:http must be told to get there. */
export type Connection = Pick<RequestOptions, 'host' | 'port' | 'socketPath' | 'protocol' | 'agent'>;

/** Nothing was sent, so another server may be asked whatever the request is. */
const unreachable: readonly string[] = [
  ...['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'EADDRNOTAVAIL', 'ENOTFOUND'],
];
/** Whether no server has seen the request: a connection that stood may break with the same codes. Pure. */
export const wasNotSent = ({ code, syscall }: NodeJS.ErrnoException): boolean =>
  unreachable.includes(code ?? '') && syscall !== 'read' && syscall !== 'write';
const connectMs = 3000;
const answerMs = 20_000;
/** A server tells each watch its progress once a minute. */
const watchSilenceMs = 150_000;

export class HttpTransport {
  readonly #target: Target;
  readonly #agent = new Agent({ keepAlive: true });
  #tls: AgentKeeper | undefined;
  /** The one that is asked; another when it did not do. */
  #current: string | undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  /** The server that is asked, of several; undefined before the first request. */
  get server(): string | undefined {
    return this.#current;
  }

  /** Resolves with the answer's head when it is a success. @throws ApiError for any other, and when nobody answers. */
  async open(request: HttpRequest): Promise<IncomingMessage> {
    const response = await this.#sendToAny(request);
    const code = response.statusCode ?? 0;
    if (code >= 200 && code < 300) return response;
    throw failureOf(code, await readText(response));
  }

  /** As open; a server that hangs, and would leave a watch waiting for ever, is turned away from. */
  async openWatch(request: HttpRequest): Promise<IncomingMessage> {
    const target = this.#target;
    const response = await this.open(request);
    if (!('servers' in target)) return response;
    const ms = target.watchSilenceMs ?? watchSilenceMs;
    response.setTimeout(ms, () => {
      this.turnAway();
      response.destroy(Object.assign(new Error(`nothing told for ${ms / 1000} s`), { code: 'ESILENT' }));
    });
    return response;
  }

  async text(request: HttpRequest): Promise<string> {
    return readText(await this.open(request));
  }

  async json<T>(request: HttpRequest): Promise<T> {
    return JSON.parse(await this.text(request)) as T;
  }

  close(): void {
    this.#agent.destroy();
    this.#tls?.close();
  }

  /** Where node:http and ws must connect to. */
  async connection(): Promise<Connection> {
    if ('socketPath' in this.#target)
      return { host: 'podwire', socketPath: this.#target.socketPath, agent: this.#agent };
    if ('servers' in this.#target) {
      const { AgentKeeper, aServer } = await import('../../pki/peer.ts'); // the CLI has no use for it
      this.#tls ??= new AgentKeeper(this.#target.credentials, aServer);
      return { ...splitServer(this.#server(this.#target)), protocol: 'https:', agent: this.#tls.get() };
    }
    const { hostname, port } = new URL(this.#target.url);
    return { host: hostname, port: Number(port || 80), agent: this.#agent };
  }

  /** Tells that the connection given last did not do: the next request goes to another server. */
  turnAway(): void {
    if (!('servers' in this.#target)) return;
    const servers = this.#target.servers();
    this.#current = servers[(servers.indexOf(this.#server(this.#target)) + 1) % servers.length];
  }

  /** The list may change while it is asked: who serves well is kept. */
  #server(target: ServersTarget): string {
    const servers = target.servers();
    if (this.#current === undefined || !servers.includes(this.#current)) this.#current = servers[0];
    if (this.#current !== undefined) return this.#current;
    throw new ApiError('ServiceUnavailable', 'no server of the cluster is known');
  }

  async #sendToAny(request: HttpRequest): Promise<IncomingMessage> {
    const others = 'servers' in this.#target ? this.#target.servers().length : 0;
    for (let tried = 0; ; tried++) {
      const asked = this.#current;
      try {
        return await this.#send(request, await this.connection());
      } catch (cause) {
        if (cause instanceof ApiError) throw cause;
        const error = cause as NodeJS.ErrnoException;
        const failure = this.failure(error);
        if (others === 0 || request.signal?.aborted) throw failure;
        if (asked === undefined || this.#current === asked) this.turnAway();
        // What may have been done already is not asked for twice.
        const harmless = request.method === 'GET' || wasNotSent(error);
        if (!harmless || tried >= others) throw failure;
      }
    }
  }

  #send(request: HttpRequest, connection: Connection): Promise<IncomingMessage> {
    const body = encodeBody(request.body);
    const { signal } = request;
    const options: RequestOptions = {
      ...connection,
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
      if (connection.protocol === 'https:') limitWait(call);
      call.on('error', reject);
      call.end(body);
    });
  }

  /** What a broken connection means to a person. */
  failure(error: NodeJS.ErrnoException): ApiError {
    const options = { cause: error };
    if ('servers' in this.#target)
      return new ApiError(
        'ServiceUnavailable',
        `the server ${this.#server(this.#target)} does not answer: ${error.message}`,
        undefined,
        options,
      );
    const where = 'socketPath' in this.#target ? this.#target.socketPath : this.#target.url;
    if (error.code === 'EACCES' || error.code === 'EPERM')
      return new ApiError(
        'Forbidden',
        `${where}: permission denied; podwired's socket is root's: use sudo`,
        undefined,
        options,
      );
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED')
      return new ApiError(
        'ServiceUnavailable',
        `podwired does not answer at ${where} (${error.code}); start it with: podwire up`,
        undefined,
        options,
      );
    return new ApiError(
      'ServiceUnavailable',
      `the connection to podwired at ${where} broke: ${error.message}`,
      undefined,
      options,
    );
  }
}

/** A machine that is gone says nothing at all: neither a connection nor the head of an answer is waited for long. */
export function limitWait(call: ClientRequest): void {
  const giveUp = (what: string, code: string) => (): void => {
    call.destroy(Object.assign(new Error(what), { code }));
  };
  let timer = setTimeout(giveUp(`no connection after ${connectMs / 1000} s`, 'ETIMEDOUT'), connectMs);
  const answer = (): void => {
    clearTimeout(timer);
    timer = setTimeout(giveUp(`no answer after ${answerMs / 1000} s`, 'ESILENT'), answerMs);
  };
  call.once('socket', (socket) => {
    if (socket.connecting) socket.once('secureConnect', answer);
    else answer();
  });
  for (const end of ['response', 'upgrade', 'close'] as const) call.once(end, () => clearTimeout(timer));
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
