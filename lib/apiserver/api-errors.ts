// The refusals of the API in Kubernetes' words, so that kubectl and people recognise them.
// Assumes resource names as in the REST paths. Pure.
import { ApiError } from '../api/errors.ts';
import type { Resource } from '../api/types.ts';

export const notFoundError = (resource: Resource, name: string): ApiError =>
  new ApiError('NotFound', `${resource} ${JSON.stringify(name)} not found`, { name, kind: resource });

export const existsError = (resource: Resource, name: string): ApiError =>
  new ApiError('AlreadyExists', `${resource} ${JSON.stringify(name)} already exists`, {
    name,
    kind: resource,
  });

export const conflictError = (resource: Resource, name: string, why: string): ApiError =>
  new ApiError('Conflict', `Operation cannot be fulfilled on ${resource} ${JSON.stringify(name)}: ${why}`, {
    name,
    kind: resource,
  });

export const staleError = (resource: Resource, name: string): ApiError =>
  conflictError(
    resource,
    name,
    'the object has been modified; please apply your changes to the latest version and try again',
  );

export const forbiddenError = (resource: Resource, name: string, why: string): ApiError =>
  new ApiError('Forbidden', `${resource} ${JSON.stringify(name)} is forbidden: ${why}`, {
    name,
    kind: resource,
  });

export const expiredError = (why: string): ApiError =>
  new ApiError('Expired', `too old resource version: ${why}`);
