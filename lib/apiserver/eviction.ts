// pods/eviction: a Pod is asked to leave, as a drain does. Deletes it with its grace, and says so in its status.
// Assumes there are no disruption budgets to ask (there is no such resource). Two writes.
// Source: k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go (v1.34)
import type { FastifyInstance } from 'fastify';
import type { DeleteOptions, ObjectKey } from '../api/client.ts';
import { ApiError } from '../api/errors.ts';
import { fieldErrorsToApiError } from '../api/field-errors.ts';
import { checkSchema } from '../api/schema.ts';
import { markDisrupted } from '../controllers/taint-eviction.ts';
import { conflictError } from './api-errors.ts';
import { sendJson } from './content.ts';
import type { Registry } from './registry/registry.ts';

const success = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
const versions = ['policy/v1', 'policy/v1beta1'];

/** The body of the call, checked. @throws ApiError BadRequest, Invalid */
export function readEviction(body: unknown, name: string): DeleteOptions {
  const bad = (what: string) => new ApiError('BadRequest', what);
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw bad('the body must be one Eviction object');
  const { apiVersion, kind, metadata, deleteOptions = {} } = body as Record<string, unknown>;
  if (kind !== 'Eviction' || !versions.includes(String(apiVersion)))
    throw bad(`${apiVersion}, Kind=${kind} in the body does not match the expected policy/v1, Kind=Eviction`);
  const told = (metadata as { name?: unknown } | undefined)?.name;
  if (told !== undefined && told !== name)
    throw bad(`name in URL (${name}) does not match name in Eviction object (${told})`);
  if (typeof deleteOptions !== 'object' || deleteOptions === null)
    throw bad('deleteOptions: expected an object');
  const faults = checkSchema('DeleteOptions', deleteOptions);
  if (faults.length > 0) throw fieldErrorsToApiError({ kind: 'Eviction' }, faults);
  const { gracePeriodSeconds, preconditions, dryRun } = deleteOptions as DeleteOptions & {
    dryRun?: string[];
  };
  if (dryRun?.length) throw bad('dryRun: not supported for evictions');
  return { gracePeriodSeconds, preconditions };
}

async function evict(registry: Registry, key: ObjectKey, options: DeleteOptions): Promise<void> {
  const pod = await registry.get('pods', key);
  const { uid, deletionTimestamp } = pod.metadata;
  const wanted = options.preconditions?.uid;
  if (wanted && wanted !== uid)
    throw conflictError(
      'pods',
      key.name,
      `the UID in the precondition (${wanted}) does not match the UID in record (${uid})`,
    );
  const isOver = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  if (!isOver && !deletionTimestamp)
    await markDisrupted(registry, pod, {
      reason: 'EvictionByEvictionAPI',
      message: 'Eviction API: evicting',
    });
  await registry.delete('pods', key, { ...options, preconditions: { ...options.preconditions, uid } });
}

export function addEvictionRoute(app: FastifyInstance, registry: Registry): void {
  const path = '/api/v1/namespaces/:namespace/pods/:name/eviction';
  app.post<{ Params: { namespace: string; name: string } }>(path, async (request, reply) => {
    const { params, body } = request;
    await evict(registry, params, readEviction(body, params.name));
    return sendJson(reply, 201, success);
  });
}
