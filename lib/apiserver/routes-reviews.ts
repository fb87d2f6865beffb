// What a client may ask about itself: who am I (kubectl auth whoami), and may I (kubectl auth can-i). Nothing is stored.
// Assumes that masters may everything and nodes what the authorizer says, as access.ts has it. O(one authorization).
// Source: k8s.io/api/authorization/v1 and authentication/v1; k8s.io/apiserver's union of authorizers for the reason.
import type { FastifyInstance } from 'fastify';
import { ApiError } from '../api/errors.ts';
import { fieldErrorsToApiError } from '../api/field-errors.ts';
import { resources } from '../api/resources.ts';
import { checkSchema } from '../api/schema.ts';
import {
  type AuthorizeNode,
  forUsers,
  mustBeSomebody,
  requestUser,
  type Subresource,
  subresources,
  type Verb,
  verbs,
} from './access/access.ts';
import { isMaster, nodeOf, type User } from './access/authn.ts';
import { sendJson } from './content.ts';

interface ResourceAttributes {
  readonly namespace?: string;
  readonly verb?: string;
  readonly group?: string;
  readonly resource?: string;
  readonly subresource?: string;
  readonly name?: string;
}

interface AccessReview {
  readonly spec: {
    readonly resourceAttributes?: ResourceAttributes;
    readonly nonResourceAttributes?: object;
  };
}

export function addReviews(app: FastifyInstance, authorizeNode: AuthorizeNode): void {
  app.post('/apis/authentication.k8s.io/v1/selfsubjectreviews', forUsers, async (request, reply) => {
    const kind = 'SelfSubjectReview';
    checkReview(kind, request.body);
    const { name: username, groups } = mustBeSomebody(requestUser(request));
    const status = { userInfo: { username, groups } };
    return sendJson(reply, 201, { kind, apiVersion: 'authentication.k8s.io/v1', metadata: {}, status });
  });
  app.post('/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', forUsers, async (request, reply) => {
    const kind = 'SelfSubjectAccessReview';
    checkReview(kind, request.body);
    const { spec } = request.body as AccessReview;
    if (!spec.resourceAttributes === !spec.nonResourceAttributes)
      throw new ApiError(
        'Invalid',
        'SelfSubjectAccessReview is invalid: spec: exactly one of resourceAttributes and nonResourceAttributes must be given',
      );
    const user = mustBeSomebody(requestUser(request));
    const status = await decide(user, spec.resourceAttributes, authorizeNode);
    return sendJson(reply, 201, { kind, apiVersion: 'authorization.k8s.io/v1', metadata: {}, spec, status });
  });
}

/** @throws ApiError BadRequest, Invalid */
function checkReview(kind: string, body: unknown): void {
  const faults = checkSchema(kind, body);
  if (faults.length > 0) throw fieldErrorsToApiError({ kind }, faults);
}

const isVerb = (word = ''): word is Verb => (verbs as readonly string[]).includes(word);
/** Of the others none is a node's. */
const isSubresource = (word: string): word is Subresource | '' =>
  word === '' || (subresources as readonly string[]).includes(word);

interface Decision {
  readonly allowed: boolean;
  readonly reason?: string;
}

async function decide(
  user: User,
  asked: ResourceAttributes | undefined,
  authorizeNode: AuthorizeNode,
): Promise<Decision> {
  if (isMaster(user)) return { allowed: true };
  const { verb, group = '', resource, subresource = '', namespace, name } = asked ?? {};
  const info = Object.values(resources).find(
    (one) => one.resource === resource && (one.apiVersion.split('/').at(-2) ?? '') === group,
  );
  if (nodeOf(user) === undefined || !info || !isVerb(verb) || !isSubresource(subresource))
    return { allowed: false, reason: 'a node may use nothing but what its Pods need' };
  try {
    await authorizeNode(user, {
      verb,
      resource: info.resource,
      subresource: subresource || undefined,
      namespace: namespace || undefined,
      name: name || undefined,
    });
    return { allowed: true };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { allowed: false, reason: error.message };
  }
}
