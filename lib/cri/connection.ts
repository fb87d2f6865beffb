// One connection to a container runtime's CRI socket, kept open as a kubelet keeps it; it comes back by itself after the
// runtime was restarted. gRPC is loaded only here, when a connection opens. A call costs about 0.5 ms of this process.
import type { Client, ClientReadableStream, ServiceError } from '@grpc/grpc-js';
import { statSync } from 'node:fs';
import { PodwireError } from '../exec/errors.ts';
import type { Calls } from './messages.ts';
import { protocol } from './protocol.ts';

export type CriErrorCode =
  /** What was given as --runtime-endpoint is none. */
  | 'BAD_RUNTIME_ENDPOINT'
  /** Nobody answers there. */
  | 'RUNTIME_UNAVAILABLE'
  /** It answers, but does not speak runtime.v1. */
  | 'RUNTIME_TOO_OLD'
  /** There is no such sandbox, container or image. */
  | 'RUNTIME_NOT_FOUND'
  | 'RUNTIME_TIMEOUT'
  | 'RUNTIME_CANCELLED'
  /** It refused, or failed. */
  | 'RUNTIME_FAILED';

/** What a container runtime answered, or that it did not. */
export class CriError extends PodwireError {
  declare readonly code: CriErrorCode;
  constructor(code: CriErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}

// Source: gRPC's status codes.
const codes: Readonly<Record<number, CriErrorCode>> = {
  1: 'RUNTIME_CANCELLED',
  4: 'RUNTIME_TIMEOUT',
  5: 'RUNTIME_NOT_FOUND',
  12: 'RUNTIME_TOO_OLD',
  14: 'RUNTIME_UNAVAILABLE',
};

export interface CallOptions {
  /** Absent: two minutes, as a kubelet waits. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

type Unary = (
  request: object,
  options: { deadline: number },
  done: (error: ServiceError | null, reply: never) => void,
) => { cancel(): void };

const defaultTimeoutMs = 120_000;
/** What a kubelet takes: an answer with all that a command wrote may be long. */
const maxMessageBytes = 16 * 1024 * 1024;

/** The socket of `unix:///run/containerd/containerd.sock`, or of a plain path. @throws CriError BAD_RUNTIME_ENDPOINT */
export function socketOf(endpoint: string): string {
  const path = /^(?:unix:\/\/)?(\/.+)$/.exec(endpoint)?.[1];
  if (path !== undefined && !path.includes('\0')) return path;
  throw new CriError(
    'BAD_RUNTIME_ENDPOINT',
    `--runtime-endpoint ${endpoint}: expected a unix socket, e.g. unix:///run/containerd/containerd.sock`,
  );
}

export class CriConnection {
  readonly socket: string;
  readonly #client: Client;

  private constructor(socket: string, client: Client) {
    this.socket = socket;
    this.#client = client;
  }

  /** @throws CriError BAD_RUNTIME_ENDPOINT */
  static async open(endpoint: string): Promise<CriConnection> {
    const socket = socketOf(endpoint);
    const [grpc, { fromJSON }] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')]);
    const loaded = grpc.loadPackageDefinition(
      fromJSON(protocol as unknown as Parameters<typeof fromJSON>[0], {
        longs: String,
        enums: String,
        defaults: true,
      }),
    ) as unknown as { runtime: { v1: Record<'RuntimeService' | 'ImageService', { service: object }> } };
    const { RuntimeService, ImageService } = loaded.runtime.v1;
    const Cri = grpc.makeGenericClientConstructor(
      { ...RuntimeService.service, ...ImageService.service } as Parameters<
        typeof grpc.makeGenericClientConstructor
      >[0],
      'cri',
    );
    const client = new Cri(`unix://${socket}`, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': maxMessageBytes,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.enable_http_proxy': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
    return new CriConnection(socket, client);
  }

  /** @throws CriError */
  call<M extends keyof Calls>(
    method: M,
    request: Calls[M]['request'],
    options: CallOptions = {},
  ): Promise<Calls[M]['response']> {
    const { timeoutMs = defaultTimeoutMs, signal } = options;
    return new Promise((resolve, reject) => {
      const perform = (this.#client as unknown as Record<string, Unary>)[method] as Unary;
      const call = perform.call(
        this.#client,
        request,
        { deadline: Date.now() + timeoutMs },
        (error, reply) => {
          signal?.removeEventListener('abort', cancel);
          if (error) reject(this.#errorOf(method, error));
          else resolve(reply);
        },
      );
      const cancel = (): void => call.cancel();
      if (signal?.aborted) cancel();
      signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** Container events, where the runtime has them (containerd 1.7 and later); `ended` tells why there are no more. */
  containerEvents(onEvent: (containerId: string) => void, ended: (error: CriError) => void): () => void {
    const open = (
      this.#client as unknown as Record<string, (request: object) => ClientReadableStream<unknown>>
    ).GetContainerEvents!;
    const stream = open.call(this.#client, {});
    stream.on('data', (event: { containerId: string }) => onEvent(event.containerId));
    let told = false;
    const end = (error: CriError): void => {
      if (!told) ended(error);
      told = true;
    };
    stream.on('error', (error: ServiceError) => end(this.#errorOf('GetContainerEvents', error)));
    stream.on('end', () =>
      end(new CriError('RUNTIME_UNAVAILABLE', 'the stream of container events has ended')),
    );
    return () => stream.cancel();
  }

  close(): void {
    this.#client.close();
  }

  #errorOf(method: string, error: ServiceError): CriError {
    const code = codes[error.code] ?? 'RUNTIME_FAILED';
    if (code === 'RUNTIME_UNAVAILABLE')
      return new CriError(code, `no container runtime answers at ${this.socket}: ${this.#why(error)}`, {
        cause: error,
      });
    if (code === 'RUNTIME_TOO_OLD')
      return new CriError(
        code,
        `the runtime at ${this.socket} does not know ${method} of CRI v1: is its CRI plugin disabled (disabled_plugins in /etc/containerd/config.toml), or is it older than containerd 1.6?`,
        { cause: error },
      );
    return new CriError(code, error.details || error.message, { cause: error });
  }

  #why(error: ServiceError): string {
    try {
      if (!statSync(this.socket).isSocket()) return 'this is no socket';
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT')
        return 'there is no such socket; is the runtime running (systemctl status containerd)?';
    }
    return error.details.replace(/ Resolution note: $/, '');
  }
}
