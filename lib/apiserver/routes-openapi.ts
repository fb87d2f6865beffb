// /openapi/v3: which group versions there are, and the document of each. Assumes it is added before the routes that it
// is to tell of. Nothing is made before somebody asks; then each document is made once and kept (200 KB for v1).
// Source: k8s.io/kube-openapi/pkg/handler3 (hash in the address, answers that may be cached for a year).
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ApiError } from '../api/errors.ts';
import type { ApiVerb, Operation } from '../api/openapi.ts';
import { resources } from '../api/resources.ts';
import { forUsers } from './access/access.ts';
import { sendJson } from './content.ts';
import { text, type Query } from './queries.ts';

interface Document {
  readonly body: string;
  readonly hash: string;
}

export function addOpenApi(app: FastifyInstance, version: string): void {
  const operations: Operation[] = [];
  app.addHook('onRoute', ({ url, config }) => {
    const access = config?.access;
    if (typeof access !== 'object') return;
    const path = url.replaceAll(/:(\w+)/g, '{$1}');
    operations.push({ path, verb: access.verb as ApiVerb, info: resources[access.resource] });
  });
  addOpenApi2(app, version);
  let documents: Promise<ReadonlyMap<string, Document>> | undefined;
  const load = (): Promise<ReadonlyMap<string, Document>> => {
    documents ??= makeDocuments(operations, version);
    return documents;
  };
  app.get('/openapi/v3', forUsers, async (request, reply) => {
    const paths: Record<string, { serverRelativeURL: string }> = {};
    for (const [key, { hash }] of await load()) paths[key] = { serverRelativeURL: addressOf(key, hash) };
    return answer(request, reply, documentOf({ paths }));
  });
  app.get<{ Params: { '*': string }; Querystring: Query }>(
    '/openapi/v3/*',
    forUsers,
    async (request, reply) => {
      const key = request.params['*'];
      const found = (await load()).get(key);
      if (!found) throw new ApiError('NotFound', `no OpenAPI document of ${JSON.stringify(key)}`);
      const wanted = text(request.query, 'hash');
      if (wanted && wanted !== found.hash) return reply.redirect(addressOf(key, found.hash), 301);
      // The address says which content it is, so it never changes.
      if (wanted) reply.header('cache-control', 'public, max-age=31536000, immutable');
      return answer(request, reply, found);
    },
  );
}

/**
 * For kubectl before 1.24, which wants this document before it applies anything, and then leaves to the server what it finds
 * no schema of. So it is empty: `swagger` (field 1) and `info` (2: `title`, `version`) of gnostic's openapi.v2.Document.
 */
function addOpenApi2(app: FastifyInstance, version: string): void {
  const field = (number: number, value: Buffer | string): Buffer => {
    const bytes = Buffer.from(value);
    return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]); // short: below 128 bytes
  };
  const info = { title: 'podwire: see /openapi/v3', version: version.slice(0, 64) };
  app.get('/openapi/v2', forUsers, (request, reply) => {
    if (!request.headers.accept?.includes('protobuf'))
      return sendJson(reply, 200, { swagger: '2.0', info, paths: {} });
    const told = Buffer.concat([field(1, info.title), field(2, info.version)]);
    return reply
      .type('application/com.github.proto-openapi.spec.v2.v1.0+protobuf')
      .send(Buffer.concat([field(1, '2.0'), field(2, told)]));
  });
}

const addressOf = (key: string, hash: string): string => `/openapi/v3/${key}?hash=${hash}`;

function documentOf(content: object): Document {
  const body = JSON.stringify(content);
  return { body, hash: createHash('sha256').update(body).digest('hex').slice(0, 32).toUpperCase() };
}

async function makeDocuments(
  operations: readonly Operation[],
  version: string,
): Promise<ReadonlyMap<string, Document>> {
  const { openApiDocument, openApiKey } = await import('../api/openapi.ts');
  const byGroup = Map.groupBy(operations, ({ info }) => openApiKey(info.apiVersion));
  return new Map([...byGroup].map(([key, own]) => [key, documentOf(openApiDocument(own, version))]));
}

function answer(request: FastifyRequest, reply: FastifyReply, { body, hash }: Document): FastifyReply {
  const tag = `"${hash}"`;
  reply.header('etag', tag).header('vary', 'Accept');
  if (request.headers['if-none-match'] === tag) return reply.code(304).send();
  return reply.code(200).type('application/json').send(body);
}
