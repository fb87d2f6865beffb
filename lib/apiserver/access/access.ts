// Who may use a route. Each route says so in its config; one that says nothing is for the masters alone.
// Assumes authn.ts tells who asks. Runs before the body is read. What a node may do is in node-authorizer.ts.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from '../../api/errors.ts';
import type { Resource } from '../../api/types.ts';
import { isMaster, nodeOf, type User, userOf } from './authn.ts';

export const verbs = [
  'get',
  'list',
  'watch',
  'create',
  'update',
  'patch',
  'delete',
  'deletecollection',
] as const;
export type Verb = (typeof verbs)[number];

/** Of Pods; `status` of others, too. */
export const subresources = ['status', 'resize', 'ephemeralcontainers'] as const;
export type Subresource = (typeof subresources)[number];

/** What a request is about. */
export interface Attributes {
  readonly verb: Verb;
  readonly resource: Resource;
  readonly subresource?: Subresource | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** `nodes`: every node of the cluster, and the masters. */
export type Access =
  | 'anybody'
  | 'users'
  | 'nodes'
  | 'masters'
  | { readonly verb: Verb; readonly resource: Resource; readonly subresource?: Subresource };

/** A route's options: for every user of the cluster. */
export const forUsers = { config: { access: 'users' } } as const;

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: Access;
  }
}

/** Refuses by throwing ApiError Forbidden. Without `attributes`: what is every node's. */
export type AuthorizeNode = (user: User, attributes?: Attributes) => Promise<void>;

/** `isAllowedAll`: who may use every route. */
export function addAccess(
  app: FastifyInstance,
  authorizeNode: AuthorizeNode,
  isAllowedAll: (user: User) => boolean = isMaster,
): void {
  app.addHook('onRequest', (request) => check(request, { authorizeNode, isAllowedAll }));
}

/** Who asks; undefined is nobody known. @throws ApiError Unauthorized */
export const requestUser = (request: FastifyRequest): User | undefined => userOf(request.raw.socket);

async function check(
  request: FastifyRequest,
  { authorizeNode, isAllowedAll }: { authorizeNode: AuthorizeNode; isAllowedAll: (user: User) => boolean },
): Promise<void> {
  const access = request.routeOptions.config.access ?? 'masters';
  if (access === 'anybody') return;
  const user = mustBeSomebody(requestUser(request));
  if (access === 'users' || isAllowedAll(user)) return;
  const node = nodeOf(user);
  if (access === 'nodes' && node !== undefined) return authorizeNode(user);
  if (typeof access === 'string' || node === undefined)
    throw new ApiError(
      'Forbidden',
      `"${user.name}" may not ${request.method} ${request.url.split('?')[0]}: ask on a server of the cluster`,
    );
  await authorizeNode(user, attributesOf(request, access));
}

export function mustBeSomebody(user: User | undefined): User {
  if (user) return user;
  throw new ApiError(
    'Unauthorized',
    'this port wants a certificate of the cluster: podwire join, or podwire kubeconfig',
  );
}

function attributesOf(request: FastifyRequest, access: Exclude<Access, string>): Attributes {
  const { namespace, name } = request.params as { namespace?: string; name?: string };
  const { watch, fieldSelector } = request.query as Record<string, unknown>;
  const isWatch = access.verb === 'list' && watch !== undefined && watch !== 'false' && watch !== '0';
  return {
    ...access,
    verb: isWatch ? 'watch' : access.verb,
    namespace,
    name,
    fieldSelector: typeof fieldSelector === 'string' ? fieldSelector : undefined,
  };
}
