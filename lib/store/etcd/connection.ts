// The members of one etcd cluster: a call goes to the current one, and to the next when that one does not answer.
// Assumes any member can serve any call (etcd forwards to its leader). gRPC is loaded only here, when a connection opens.
// One HTTP/2 connection a member in use; a call costs about 0.3 ms of this process.
import type { ChannelCredentials, Client, ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkServerIdentity } from 'node:tls';
import { PodwireError } from '../../exec/errors.ts';
import { CallError, isRefusal, status } from './errors.ts';
import { type Calls, protocol, type WatchResponse } from './rpc.ts';

export interface TlsFiles {
  readonly ca?: Buffer | undefined;
  readonly cert?: Buffer | undefined;
  readonly key?: Buffer | undefined;
}

export interface ConnectionOptions {
  /** `host:port` each. */
  readonly endpoints: readonly string[];
  /** Absent: plain text. */
  readonly tls?: TlsFiles | undefined;
  /**
   * How long one member may take to answer. An election takes one to two seconds; what a member had passed on to a leader that
   * died is never answered.
   */
  readonly attemptMs: number;
  /** How long a call may take with all its attempts. */
  readonly callMs: number;
}

type Method = keyof Calls;
export type WatchCall = ClientDuplexStream<object, WatchResponse>;
type Unary = (
  request: object,
  options: { deadline: number },
  done: (error: ServiceError | null, reply: never) => void,
) => void;
interface Member {
  readonly endpoint: string;
  readonly client: Client;
  readonly streams: Set<WatchCall>;
}

const channelOptions = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 500,
  'grpc.dns_min_time_between_resolutions_ms': 1000,
  // etcd refuses pings that come more often than every 5 s.
  'grpc.keepalive_time_ms': 6000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
};

export class Connection {
  readonly #members: readonly Member[];
  readonly #options: ConnectionOptions;
  readonly #hasLeader: object;
  #current = 0;
  #closed = false;

  private constructor(members: readonly Member[], options: ConnectionOptions, hasLeader: object) {
    this.#members = members;
    this.#options = options;
    this.#hasLeader = hasLeader;
  }

  /** Connects to nobody yet. @throws PodwireError DATASTORE_TLS when certificate and key cannot be used. */
  static async open(options: ConnectionOptions): Promise<Connection> {
    const [grpc, { fromJSON }] = await Promise.all([import('@grpc/grpc-js'), import('@grpc/proto-loader')]);
    const loaded = grpc.loadPackageDefinition(
      fromJSON(protocol as unknown as Parameters<typeof fromJSON>[0], {
        longs: String,
        enums: String,
        defaults: true,
      }),
    ) as unknown as { etcdserverpb: Record<'KV' | 'Watch' | 'Lease', { service: object }> };
    const { KV, Watch, Lease } = loaded.etcdserverpb;
    const Etcd = grpc.makeGenericClientConstructor(
      { ...KV.service, ...Watch.service, ...Lease.service },
      'etcd',
    );
    const members = options.endpoints.map((endpoint) => {
      const { tls } = options;
      const credentials = tls ? secure(grpc.credentials, tls, endpoint) : grpc.credentials.createInsecure();
      const name = tls && isAddress(endpoint) ? { 'grpc.ssl_target_name_override': unnamed } : {};
      const client = new Etcd(`dns:${endpoint}`, credentials, { ...channelOptions, ...name });
      return { endpoint, client, streams: new Set<WatchCall>() };
    });
    // A member that has lost its cluster then ends its watches instead of being silent.
    const hasLeader = new grpc.Metadata();
    hasLeader.set('hasleader', 'true');
    return new Connection(members, options, hasLeader);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get callMs(): number {
    return this.#options.callMs;
  }

  /** What may be done twice: asks one member after another until one answers. @throws CallError of the last one */
  async call<M extends Method>(method: M, request: Calls[M]['request']): Promise<Calls[M]['response']> {
    const until = Date.now() + this.#options.callMs;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.attempt(method, request);
      } catch (error) {
        if (isRefusal(error) || this.#closed || Date.now() >= until) throw error;
        await this.pause(attempt);
      }
    }
  }

  /** Asks the current member once; if it did not answer, the next call goes to the next. @throws CallError */
  attempt<M extends Method>(method: M, request: Calls[M]['request']): Promise<Calls[M]['response']> {
    return this.#ask(this.#members[this.#current]!, method, request);
  }

  /** After a round in which nobody answered, longer and longer, so that an outage is no storm. */
  async pause(attempts: number): Promise<void> {
    const rounds = Math.floor(attempts / this.#members.length);
    if (attempts % this.#members.length === 0) await sleep(Math.min(50 * 2 ** Math.min(rounds, 4), 500));
  }

  /** What each member says to a call, side by side. */
  askAll<M extends Method>(
    method: M,
    request: Calls[M]['request'],
  ): Promise<Array<PromiseSettledResult<Calls[M]['response']>>> {
    return Promise.allSettled(this.#members.map((member) => this.#ask(member, method, request)));
  }

  /** A stream of watches; `leave` says that its member has failed. It is cancelled when a call finds that out. */
  watch(): { stream: WatchCall; leave: () => void } {
    const member = this.#members[this.#current]!;
    const open = (member.client as unknown as Record<'Watch', (metadata: object) => WatchCall>).Watch;
    const stream = open.call(member.client, this.#hasLeader);
    member.streams.add(stream);
    stream.on('close', () => member.streams.delete(stream));
    return { stream, leave: () => this.#leave(member) };
  }

  close(): void {
    this.#closed = true;
    for (const { client } of this.#members) client.close();
  }

  #ask<M extends Method>(
    member: Member,
    method: M,
    request: Calls[M]['request'],
  ): Promise<Calls[M]['response']> {
    const { endpoint, client } = member;
    if (this.#closed)
      return Promise.reject(new CallError(status.cancelled, endpoint, 'the store has been closed'));
    const deadline = Date.now() + this.#options.attemptMs;
    return new Promise((resolve, reject) => {
      const call = (client as unknown as Record<Method, Unary>)[method];
      call.call(client, request, { deadline }, (error, reply) => {
        if (!error) return resolve(reply);
        const failure = new CallError(
          error.code,
          endpoint,
          (error.details || error.message).replace(/ Resolution note: $/, ''),
        );
        if (!isRefusal(failure)) this.#leave(member);
        reject(failure);
      });
    });
  }

  /** Its watches are not waited for either: a member that hangs would keep them for as long as the keepalive takes. */
  #leave(member: Member): void {
    if (this.#members[this.#current] !== member) return;
    this.#current = (this.#current + 1) % this.#members.length;
    for (const stream of member.streams) stream.cancel();
  }
}

const hostOf = (endpoint: string): string => endpoint.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
const isAddress = (endpoint: string): boolean => isIP(hostOf(endpoint)) !== 0;
/** What TLS is told instead of an address, which is no server name (RFC 6066, section 3) and refused by Node. */
const unnamed = 'etcd';

/** The certificate must be that of the endpoint, name or address. */
function secure(
  credentials: typeof import('@grpc/grpc-js').credentials,
  { ca, cert, key }: TlsFiles,
  endpoint: string,
): ChannelCredentials {
  try {
    return credentials.createSsl(ca ?? null, key ?? null, cert ?? null, {
      checkServerIdentity: (_, peer) => checkServerIdentity(hostOf(endpoint), peer as never),
    });
  } catch (cause) {
    throw new PodwireError(
      'DATASTORE_TLS',
      '--datastore-ca, --datastore-cert, --datastore-key: these are not a PEM certificate authority, a certificate and its key',
      { cause },
    );
  }
}
