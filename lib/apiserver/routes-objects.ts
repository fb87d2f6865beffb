// The REST verbs on every resource: one set of handlers, mounted under each resource's paths.
// Assumes bodies were parsed and errors become Status elsewhere (server.ts). O(what is asked).
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { DeleteOptions, ListOptions, WatchEvent } from '../api/client.ts';
import { ApiError } from '../api/errors.ts';
import type { PatchType } from '../api/patch.ts';
import { groupPath, type ResourceInfo, resources } from '../api/resources.ts';
import { checkSchema } from '../api/schema.ts';
import { tableOf } from '../api/table.ts';
import type { ApiObject, Kinds } from '../api/types.ts';
import { requestUser, type Subresource, type Verb } from './access/access.ts';
import { checkPreconditions } from './registry/bodies.ts';
import { includeObject, sendJson, toApiError, wantsTable } from './content.ts';
import { fieldErrorsToApiError } from '../api/field-errors.ts';
import { goneSignal, writeChunk } from './http-stream.ts';
import { count, flag, type Query, text } from './queries.ts';
import { unknownFieldsOf } from './registry/field-validation.ts';
import { refuseSystemNamespace } from './registry/namespaces.ts';
import type { How } from './registry/drafts.ts';
import type { Registry } from './registry/registry.ts';

interface Route {
  Params: { namespace?: string; name: string };
  Querystring: Query;
}
type Request = FastifyRequest<Route>;
type Handler = (request: Request, reply: FastifyReply) => Promise<FastifyReply | undefined>;

export function addObjectRoutes(app: FastifyInstance, registry: Registry): void {
  for (const info of Object.values(resources)) {
    const handlers = new ObjectHandlers(registry, info);
    const base = groupPath(info.apiVersion);
    const all = `${base}/${info.resource}`;
    const collection = info.namespaced ? `${base}/namespaces/:namespace/${info.resource}` : all;
    const one = `${collection}/:name`;
    const on = (method: Method, url: string, handler: Handler, subresource?: Subresource): void => {
      const verb = url.endsWith(info.resource) ? collectionVerbs[method] : objectVerbs[method];
      const access = { verb, resource: info.resource, ...(subresource ? { subresource } : {}) };
      app.route<Route>({ method, url, handler, config: { access } });
    };
    if (info.namespaced) on('GET', all, handlers.list);
    on('GET', collection, handlers.list);
    on('POST', collection, handlers.create);
    on('DELETE', collection, handlers.deleteCollection);
    on('GET', one, handlers.get);
    on('PUT', one, handlers.update);
    on('PATCH', one, handlers.patch);
    on('DELETE', one, handlers.delete);
    if (info.resource === 'pods') {
      for (const part of ['resize', 'ephemeralcontainers'] as const) {
        on('GET', `${one}/${part}`, handlers.get, part);
        on('PUT', `${one}/${part}`, handlers.updatePart(part), part);
        on('PATCH', `${one}/${part}`, handlers.patchPart(part), part);
      }
    }
    if (!info.hasStatus) continue;
    on('GET', `${one}/status`, handlers.get, 'status');
    on('PUT', `${one}/status`, handlers.updateStatus, 'status');
    on('PATCH', `${one}/status`, handlers.patchStatus, 'status');
  }
}

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
const objectVerbs: Readonly<Record<Method, Verb>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};
const collectionVerbs: Readonly<Record<Method, Verb>> = {
  ...objectVerbs,
  GET: 'list',
  DELETE: 'deletecollection',
};

const patchTypes: Readonly<Record<string, PatchType>> = {
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
  'application/json-patch+json': 'json',
};

class ObjectHandlers {
  readonly #registry: Registry;
  readonly #info: ResourceInfo;

  constructor(registry: Registry, info: ResourceInfo) {
    this.#registry = registry;
    this.#info = info;
  }

  readonly get: Handler = async (request, reply) =>
    this.#send(request, reply, await this.#registry.get(this.#info.resource, request.params));

  readonly list: Handler = async (request, reply) => {
    const options = listOptions(request);
    if (flag(request.query, 'watch')) return this.#watch(request, reply, options);
    const { items, resourceVersion } = await this.#registry.list(this.#info.resource, options);
    if (wantsTable(request.headers.accept))
      return sendJson(reply, 200, this.#table(request, items, resourceVersion));
    const metadata = { resourceVersion };
    return sendJson(reply, 200, this.#listOf(items, metadata));
  };

  readonly create: Handler = async (request, reply) => {
    const options = { namespace: request.params.namespace, ...how(request, reply) };
    return this.#send(
      request,
      reply,
      await this.#registry.create(this.#info.resource, request.body, options),
      201,
    );
  };

  readonly update: Handler = async (request, reply) =>
    this.#send(
      request,
      reply,
      await this.#registry.update(this.#info.resource, this.#namedBody(request), how(request, reply)),
    );

  readonly updateStatus: Handler = async (request, reply) =>
    this.#send(
      request,
      reply,
      await this.#registry.updateStatus(this.#info.resource, this.#namedBody(request), how(request, reply)),
    );

  readonly patch: Handler = async (request, reply) => this.#patch(request, reply, undefined);
  readonly patchStatus: Handler = async (request, reply) => this.#patch(request, reply, 'status');
  readonly patchPart =
    (subresource: 'resize' | 'ephemeralcontainers'): Handler =>
    async (request, reply) =>
      this.#patch(request, reply, subresource);

  readonly updatePart =
    (subresource: 'resize' | 'ephemeralcontainers'): Handler =>
    async (request, reply) =>
      this.#send(
        request,
        reply,
        await this.#registry.update(this.#info.resource, this.#namedBody(request), {
          ...how(request, reply),
          subresource,
        }),
      );

  readonly delete: Handler = async (request, reply) => {
    const { resource } = this.#info;
    const { dryRun, ...options } = deleteOptions(request);
    if (!dryRun)
      return this.#send(request, reply, await this.#registry.delete(resource, request.params, options));
    const object = await this.#registry.get(resource, request.params);
    checkPreconditions(resource, object, options.preconditions ?? {});
    if (resource === 'namespaces') refuseSystemNamespace(object.metadata.name);
    return this.#send(request, reply, object);
  };

  readonly deleteCollection: Handler = async (request, reply) => {
    const { dryRun, ...options } = deleteOptions(request);
    // A dry run that is not one would be worse than a refusal.
    if (dryRun)
      throw new ApiError('BadRequest', 'dryRun: not supported for deleting a collection by podwire 0.1 yet');
    const items = await this.#registry.deleteCollection(this.#info.resource, listOptions(request), options);
    return sendJson(reply, 200, this.#listOf(items, {}));
  };

  #listOf(items: readonly ApiObject[], metadata: object): object {
    const { kind, apiVersion } = this.#info;
    return { kind: `${kind}List`, apiVersion, metadata, items };
  }

  async #patch(
    request: Request,
    reply: FastifyReply,
    subresource: Subresource | undefined,
  ): Promise<FastifyReply> {
    const type = patchTypes[request.headers['content-type']?.split(';')[0]?.trim() ?? ''];
    if (!type)
      throw new ApiError(
        'UnsupportedMediaType',
        `a patch must be one of ${Object.keys(patchTypes).join(', ')}`,
      );
    const options = { type, ...how(request, reply), ...(subresource ? { subresource } : {}) };
    return this.#send(
      request,
      reply,
      await this.#registry.patch(
        this.#info.resource,
        request.params,
        (request.body ?? {}) as object,
        options,
      ),
    );
  }

  /** The body of a PUT names the object that the address names. */
  #namedBody(request: Request): Kinds[keyof Kinds] {
    const body = request.body as ApiObject | undefined;
    const { name, namespace } = request.params;
    if (
      typeof body !== 'object' ||
      body === null ||
      typeof body.metadata !== 'object' ||
      body.metadata === null
    )
      throw new ApiError('BadRequest', `the body must be one ${this.#info.kind} object with metadata`);
    if (body.metadata.name !== name)
      throw new ApiError(
        'BadRequest',
        `the name of the object (${body.metadata.name}) does not match the name on the URL (${name})`,
      );
    if (namespace && (body.metadata.namespace ?? namespace) !== namespace)
      throw new ApiError(
        'BadRequest',
        `the namespace of the object (${body.metadata.namespace}) does not match the namespace on the URL (${namespace})`,
      );
    return {
      ...body,
      metadata: { ...body.metadata, ...(namespace ? { namespace } : {}) },
    } as Kinds[keyof Kinds];
  }

  #send(request: Request, reply: FastifyReply, object: Kinds[keyof Kinds], code = 200): FastifyReply {
    if (!wantsTable(request.headers.accept)) return sendJson(reply, code, object);
    return sendJson(reply, code, this.#table(request, [object], object.metadata.resourceVersion));
  }

  #table(request: Request, items: Kinds[keyof Kinds][], resourceVersion: string): ReturnType<typeof tableOf> {
    const include = includeObject(text(request.query, 'includeObject'));
    return tableOf(this.#info.resource, items, { resourceVersion, now: Date.now(), includeObject: include });
  }

  async #watch(request: Request, reply: FastifyReply, list: ListOptions): Promise<undefined> {
    const timeout = count(request.query, 'timeoutSeconds');
    const gone = goneSignal(reply.raw);
    const signal = timeout ? AbortSignal.any([gone, AbortSignal.timeout(timeout * 1000)]) : gone;
    const resourceVersion = text(request.query, 'resourceVersion');
    const sendInitial = flag(request.query, 'sendInitialEvents');
    const options = { ...list, signal, ...(resourceVersion && !sendInitial ? { resourceVersion } : {}) };
    const stream = await this.#registry.openWatch(this.#info.resource, options);
    reply.hijack();
    reply.raw.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    reply.raw.flushHeaders();
    const bookmarks = flag(request.query, 'allowWatchBookmarks');
    const show = this.#watchForm(request);
    try {
      for await (const event of stream) {
        if (event.type === 'BOOKMARK' && !(bookmarks && (sendInitial || !isInitialEnd(event)))) continue;
        if (!(await writeChunk(reply.raw, `${JSON.stringify(show(event))}\n`, gone))) break;
      }
    } catch (error) {
      reply.raw.write(`${JSON.stringify({ type: 'ERROR', object: toApiError(error).status })}\n`);
    }
    reply.raw.end();
    return undefined;
  }

  /** As it is, or each object as a Table of one row; only the first names the columns. */
  #watchForm(request: Request): (event: WatchEvent<ApiObject>) => object {
    const { kind, apiVersion } = this.#info;
    const bookmark = (object: object): object => ({
      type: 'BOOKMARK',
      object: { kind, apiVersion, ...object },
    });
    if (!wantsTable(request.headers.accept))
      return (event) => (event.type === 'BOOKMARK' ? bookmark(event.object) : event);
    let isFirst = true;
    return (event) => {
      if (event.type === 'BOOKMARK') return bookmark(event.object);
      const table = this.#table(
        request,
        [event.object as Kinds[keyof Kinds]],
        event.object.metadata.resourceVersion,
      );
      const shown = isFirst ? table : { ...table, columnDefinitions: [] };
      isFirst = false;
      return { type: event.type, object: shown };
    };
  }
}

const isInitialEnd = (event: WatchEvent<ApiObject>): boolean =>
  event.type === 'BOOKMARK' && event.object.metadata.annotations !== undefined;

function listOptions(request: Request): ListOptions {
  return {
    namespace: request.params.namespace,
    labelSelector: text(request.query, 'labelSelector'),
    fieldSelector: text(request.query, 'fieldSelector'),
  };
}

/** From the body (kubectl) or the address (curl). */
function deleteOptions(request: Request): DeleteOptions & { dryRun: boolean } {
  const body = (request.body ?? {}) as DeleteOptions & { dryRun?: string[] };
  const faults = checkSchema('DeleteOptions', body);
  if (faults.length > 0) throw fieldErrorsToApiError({ kind: 'DeleteOptions' }, faults);
  const grace = body.gracePeriodSeconds ?? count(request.query, 'gracePeriodSeconds');
  return {
    dryRun: [body.dryRun ?? [], text(request.query, 'dryRun')].flat().map(isAll).includes(true),
    ...(grace === undefined || grace === null ? {} : { gracePeriodSeconds: grace }),
    ...(body.preconditions ? { preconditions: body.preconditions } : {}),
  };
}

/** How a write is to be done. */
const how = (request: Request, reply: FastifyReply): How => ({
  dryRun: isAll(text(request.query, 'dryRun')),
  user: requestUser(request),
  onUnknown: unknownFieldsOf(request, reply),
});

/** ?dryRun=All: the only value there is. */
function isAll(value: string | undefined): boolean {
  if (value && value !== 'All')
    throw new ApiError('BadRequest', `dryRun: ${JSON.stringify(value)}: expected All`);
  return value === 'All';
}
