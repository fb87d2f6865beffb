// What goes in and out of the HTTP server: bodies in JSON or YAML, answers as objects, Tables or Status.
// Assumes Kubernetes' content types. O(size of the body).
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ApiError, type StatusReason } from '../api/errors.ts';
import type { IncludeObject } from '../api/table.ts';
import { messageOf } from '../exec/errors.ts';

const jsonTypes = [
  'application/json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/json-patch+json',
];
const yamlTypes = ['application/yaml', 'application/x-yaml', 'text/yaml'];

const texts = new WeakMap<FastifyRequest, string>();

/** The body as it came; '' when there is none, or it is not JSON. */
export const jsonText = (request: FastifyRequest): string => texts.get(request) ?? '';

/** Replaces the framework's parsers: a body that cannot be read is a Status, too. */
export function addParsers(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  const readJson = async (request: FastifyRequest, text: string): Promise<unknown> => {
    texts.set(request, text);
    return parseJson(text);
  };
  app.addContentTypeParser(jsonTypes, { parseAs: 'string' }, readJson);
  // Who says nothing means JSON: kubectl before 1.24 does so.
  app.addContentTypeParser('*', { parseAs: 'string' }, async (request: FastifyRequest, text: string) => {
    if (request.headers['content-type'] && !request.is404) throw unreadable();
    return readJson(request, text);
  });
  app.addContentTypeParser(yamlTypes, { parseAs: 'string' }, async (_request: FastifyRequest, text: string) =>
    parseYaml(text),
  );
  app.addContentTypeParser(
    'application/vnd.kubernetes.protobuf',
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      if (body.length === 0 || request.is404) return undefined;
      const { decodeProtobuf } = await import('../api/protobuf.ts');
      return decodeProtobuf(body);
    },
  );
}

function parseJson(text: string): unknown {
  if (text.trim() === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError('BadRequest', `the body is not JSON: ${messageOf(cause)}`, undefined, { cause });
  }
}

async function parseYaml(text: string): Promise<unknown> {
  const { parseAllDocuments } = await import('yaml');
  const documents = parseAllDocuments(text);
  const [first, ...more] = Array.isArray(documents) ? documents : [];
  if (!first) return undefined;
  if (more.length > 0)
    throw new ApiError('BadRequest', 'the body holds several YAML documents; send one a request');
  if (first.errors.length > 0)
    throw new ApiError('BadRequest', `the body is not YAML: ${first.errors[0]!.message}`);
  // Few aliases are honest; many are a bomb.
  return first.toJS({ maxAliasCount: 100 });
}

/** Failures of the store that a client may wait out, or must look into. */
const storeReasons: ReadonlyMap<unknown, StatusReason> = new Map([
  ['STORE_FULL', 'ServiceUnavailable'],
  ['STORE_UNAVAILABLE', 'ServiceUnavailable'],
  ['STORE_UNCERTAIN', 'Timeout'],
]);

export function sendJson(reply: FastifyReply, code: number, body: unknown): FastifyReply {
  return reply.code(code).type('application/json').send(JSON.stringify(body));
}

const unreadable = (): ApiError =>
  new ApiError('UnsupportedMediaType', `send the body as ${[...jsonTypes, yamlTypes[0]].join(', ')}`);

/** Any failure as an ApiError: the framework's own, and what nobody expected. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const code = (error as { code?: unknown }).code;
  const reason = storeReasons.get(code);
  if (reason) return new ApiError(reason, messageOf(error), undefined, { cause: error });
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new ApiError(
      'RequestEntityTooLarge',
      'the body is larger than this path takes (3 MiB for objects)',
    );
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return unreadable();
  const status = (error as { statusCode?: unknown }).statusCode;
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new ApiError('BadRequest', messageOf(error));
  return new ApiError('InternalError', `Internal error occurred: ${messageOf(error)}`, undefined, {
    cause: error,
  });
}

/** True when the client would rather have a Table (kubectl get). */
export function wantsTable(accept: string | undefined): boolean {
  const first = accept?.split(',').find((one) => one.includes('application/json')) ?? '';
  return /;\s*as=Table\b/.test(first);
}

export function includeObject(value: string | undefined): IncludeObject {
  return value === 'None' || value === 'Object' ? value : 'Metadata';
}
