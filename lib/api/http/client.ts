// The Client over HTTP: what the CLI, tests and agents use; the same behaviour as the registry in process.
// Assumes podwired's socket or URL. Watches stream and resume by themselves when the server ends them in peace.
// One connection a call or watch; loads `ws` only for exec.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type {
  Client,
  DeleteOptions,
  ListOptions,
  ObjectKey,
  PatchOptions,
  WatchEvent,
  WatchOptions,
} from '../client.ts';
import { initialEventsEnd } from '../client.ts';
import { ApiError, type FailureStatus } from '../errors.ts';
import type { RemoteAttachOptions, RemoteExec, RemoteExecOptions } from './exec.ts';
import { type HttpRequest, HttpTransport, type Target } from './transport.ts';
import { groupPath, resources } from '../resources.ts';
import type { ApiObject, Kinds, Resource } from '../types.ts';

export interface LogQuery {
  container?: string | undefined;
  follow?: boolean | undefined;
  previous?: boolean | undefined;
  timestamps?: boolean | undefined;
  tailLines?: number | undefined;
  sinceSeconds?: number | undefined;
  /** RFC 3339. */
  sinceTime?: string | undefined;
  limitBytes?: number | undefined;
}

const patchContent = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
} as const;

const isInitialEnd = (event: WatchEvent<ApiObject>): boolean =>
  event.type === 'BOOKMARK' && event.object.metadata.annotations?.[initialEventsEnd] === 'true';

export class HttpClient implements Client {
  readonly #transport: HttpTransport;

  constructor(target: Target) {
    this.#transport = new HttpTransport(target);
  }

  /** Of several servers the one that is asked now. */
  get server(): string | undefined {
    return this.#transport.server;
  }

  get<R extends Resource>(resource: R, key: ObjectKey): Promise<Kinds[R]> {
    return this.request('GET', objectPath(resource, key));
  }

  async list<R extends Resource>(
    resource: R,
    options: ListOptions = {},
  ): Promise<{ items: Kinds[R][]; resourceVersion: string }> {
    const { items, metadata } = await this.request<{
      items: Kinds[R][];
      metadata: { resourceVersion: string };
    }>('GET', collectionPath(resource, options.namespace) + queryText(selectorsOf(options)));
    return { items, resourceVersion: metadata.resourceVersion };
  }

  async *watch<R extends Resource>(resource: R, options: WatchOptions): AsyncGenerator<WatchEvent<Kinds[R]>> {
    const { signal } = options;
    let resourceVersion = options.resourceVersion === '0' ? undefined : options.resourceVersion || undefined;
    while (!signal.aborted) {
      const from =
        resourceVersion === undefined
          ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
          : { resourceVersion };
      const query = queryText({ ...selectorsOf(options), watch: true, allowWatchBookmarks: true, ...from });
      try {
        const response = await this.#transport.openWatch({
          method: 'GET',
          path: collectionPath(resource, options.namespace) + query,
          signal,
        });
        for await (const line of linesOf(response)) {
          const event = JSON.parse(line) as WatchEvent<Kinds[R]> | { type: 'ERROR'; object: FailureStatus };
          if (event.type === 'ERROR') throw ApiError.fromStatus(event.object);
          // Initial events come in no order of revisions: cut off among them, the watch begins anew.
          if (resourceVersion !== undefined || isInitialEnd(event))
            resourceVersion = event.object.metadata.resourceVersion;
          yield event;
          if (signal.aborted) return;
        }
      } catch (error) {
        if (signal.aborted) return;
        throw error instanceof ApiError ? error : this.#transport.failure(error as NodeJS.ErrnoException);
      }
    }
  }

  create<R extends Resource>(
    resource: R,
    object: unknown,
    options: { namespace?: string | undefined } = {},
  ): Promise<Kinds[R]> {
    const own = (object as Partial<ApiObject> | null)?.metadata?.namespace;
    const namespace = options.namespace ?? (typeof own === 'string' && own !== '' ? own : 'default');
    return this.request('POST', collectionPath(resource, namespace), object);
  }

  update<R extends Resource>(resource: R, object: Kinds[R]): Promise<Kinds[R]> {
    return this.request('PUT', objectPath(resource, object.metadata), object);
  }

  updateStatus<R extends Resource>(resource: R, object: Kinds[R]): Promise<Kinds[R]> {
    return this.request('PUT', `${objectPath(resource, object.metadata)}/status`, object);
  }

  patch<R extends Resource>(
    resource: R,
    key: ObjectKey,
    patch: object,
    options: PatchOptions = {},
  ): Promise<Kinds[R]> {
    const path = objectPath(resource, key) + (options.subresource ? `/${options.subresource}` : '');
    const contentType = patchContent[options.type ?? 'merge'];
    return this.#transport.json({ method: 'PATCH', path, body: patch, contentType });
  }

  delete<R extends Resource>(resource: R, key: ObjectKey, options: DeleteOptions = {}): Promise<Kinds[R]> {
    return this.request('DELETE', objectPath(resource, key), options);
  }

  /** A Pod's log as it comes; a following one ends when the container does, or the signal aborts. */
  async *logs(pod: ObjectKey, query: LogQuery = {}, signal?: AbortSignal): AsyncGenerator<Buffer> {
    const path = `${objectPath('pods', pod)}/log${queryText({ ...query })}`;
    try {
      const response = await this.#transport.open({ method: 'GET', path, accept: 'text/plain, */*', signal });
      for await (const chunk of response) yield chunk as Buffer;
    } catch (error) {
      if (signal?.aborted) return;
      throw error instanceof ApiError ? error : this.#transport.failure(error as NodeJS.ErrnoException);
    }
  }

  /** Runs a command in a container. @throws ApiError when it cannot be started. */
  async exec(pod: ObjectKey, options: RemoteExecOptions): Promise<RemoteExec> {
    const { openExec, execQuery } = await import('./exec.ts');
    return openExec(this.#transport, `${objectPath('pods', pod)}/exec?${execQuery(options)}`);
  }

  /** Joins a container's first process. @throws ApiError when there is nothing to join. */
  async attach(pod: ObjectKey, options: RemoteAttachOptions): Promise<RemoteExec> {
    const { openExec, attachQuery } = await import('./exec.ts');
    return openExec(this.#transport, `${objectPath('pods', pod)}/attach?${attachQuery(options)}`);
  }

  /** A connection to a port of the Pod's localhost. @throws ApiError */
  async portForward(pod: ObjectKey, port: number): Promise<Duplex> {
    const { openPort } = await import('./port.ts');
    return openPort(this.#transport, `${objectPath('pods', pod)}/portforward?ports=${port}`);
  }

  /** Any JSON endpoint: podwire's own are under /podwire/v1/. */
  request<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.#transport.json<T>({ method, path, ...(body === undefined ? {} : { body }) });
  }

  /** Any endpoint whose answer is read as it comes. */
  open(request: HttpRequest): Promise<IncomingMessage> {
    return this.#transport.open(request);
  }

  /** Lets go of kept-alive connections, so that a process may end. */
  close(): void {
    this.#transport.close();
  }
}

/** The lines of a streamed answer, each when it is whole. */
export async function* linesOf(response: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of response) {
    rest += decoder.decode(chunk, { stream: true });
    let end = rest.indexOf('\n');
    if (end < 0) continue;
    let start = 0;
    for (; end >= 0; end = rest.indexOf('\n', start)) {
      if (end > start) yield rest.slice(start, end);
      start = end + 1;
    }
    rest = rest.slice(start);
  }
  if (rest !== '') yield rest;
}

/** A name that is no name must stay one step of the path, so that the server can refuse it: ../../etc → ..%2F..%2Fetc. */
function step(name: string): string {
  if (typeof name !== 'string' || name === '' || name === '.' || name === '..')
    throw new ApiError('BadRequest', `${JSON.stringify(name)} is not a name`);
  return encodeURIComponent(name);
}

function collectionPath(resource: Resource, namespace: string | undefined): string {
  const { namespaced, apiVersion } = resources[resource];
  const base = groupPath(apiVersion);
  return namespace && namespaced
    ? `${base}/namespaces/${step(namespace)}/${resource}`
    : `${base}/${resource}`;
}

const objectPath = (resource: Resource, key: ObjectKey): string =>
  `${collectionPath(resource, key.namespace || 'default')}/${step(key.name)}`;

const selectorsOf = ({ labelSelector, fieldSelector }: ListOptions): Record<string, string | undefined> => ({
  labelSelector,
  fieldSelector,
});

function queryText(query: Record<string, string | number | boolean | undefined>): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== false);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
