// From what a client sent to an object the registry may work on: form, kind, namespace, metadata, preconditions.
// Assumes nothing of the input; never changes it. Refuses with ApiErrors that name the field. O(fields); pure.
import { ApiError } from '../../api/errors.ts';
import {
  type FieldError,
  fieldErrorsToApiError,
  isFormFault,
  required,
  withoutRepeats,
} from '../../api/field-errors.ts';
import { resources } from '../../api/resources.ts';
import { checkSchema } from '../../api/schema.ts';
import type { ApiObject, Resource } from '../../api/types.ts';
import { conflictError, staleError } from '../api-errors.ts';
import { timestamp } from '../../api/time.ts';
import { copyJson, newUid } from './objects.ts';

export interface Body {
  /** A private copy in which required fields are there, if only as zero values. */
  object: ApiObject;
  /** Missing and unlisted values: for the caller to report together with what validation finds. */
  errors: FieldError[];
}

/** Is told of each unknown field, which is then left out. Absent: an unknown field is refused. */
export type OnUnknown = (error: string) => void;

/** @throws ApiError BadRequest when it is no such object, has unknown fields or wrong types. */
export function readBody(resource: Resource, given: unknown, onUnknown?: OnUnknown): Body {
  const { kind, apiVersion: expected } = resources[resource];
  const { apiVersion = expected, kind: claimed = kind, metadata = {}, ...rest } = copyRecord(given, kind);
  if (claimed !== kind || apiVersion !== expected)
    throw new ApiError(
      'BadRequest',
      `${apiVersion}, Kind=${claimed} in the body does not match the expected ${expected}, Kind=${kind} of ${resource}`,
    );
  const object = { apiVersion, kind, metadata, ...rest } as unknown as ApiObject;
  const errors = checkFields(kind, object, onUnknown);
  if (errors.some(isFormFault)) refuse(resource, object, errors);
  return { object, errors };
}

/** As checkSchema, without the unknown fields that `onUnknown` takes. */
export function checkFields(
  typeName: string,
  value: unknown,
  onUnknown: OnUnknown | undefined,
  path = '',
): FieldError[] {
  const errors = checkSchema(typeName, value, path);
  if (!onUnknown) return errors;
  return errors.filter(({ reason, message }) => {
    if (reason !== 'FieldUnknown') return true;
    onUnknown(message);
    return false;
  });
}

function copyRecord(given: unknown, kind: string): Record<string, unknown> {
  if (typeof given === 'object' && given !== null && !Array.isArray(given))
    return copyJson(given) as Record<string, unknown>;
  throw new ApiError('BadRequest', `the body must be one ${kind} object`);
}

/** Throws one ApiError of all faults, or nothing when there is none. */
export function refuse(resource: Resource, object: ApiObject, errors: readonly FieldError[]): void {
  if (errors.length === 0) return;
  const name: unknown = object.metadata?.name;
  const subject = { kind: resources[resource].kind, name: typeof name === 'string' ? name : undefined };
  throw fieldErrorsToApiError(subject, withoutRepeats(errors));
}

/** Whose name and namespace a body tells. @throws ApiError Invalid without a name. */
export function keyIn(
  resource: Resource,
  object: ApiObject,
): { namespace?: string | undefined; name: string } {
  const { name, namespace } = object.metadata;
  if (!name) refuse(resource, object, [required('metadata.name')]);
  return { namespace, name };
}

/** Sets the namespace of the request where the body tells none; they must not differ. */
export function setNamespace(resource: Resource, object: ApiObject, wanted: string | undefined): void {
  if (!resources[resource].namespaced) return;
  const own = object.metadata.namespace;
  if (wanted && own && own !== wanted)
    throw new ApiError(
      'BadRequest',
      `the namespace of the provided object does not match the namespace sent on the request: ${JSON.stringify(own)} is not ${JSON.stringify(wanted)}`,
    );
  object.metadata.namespace = own || wanted || 'default';
}

/** A new object's metadata: what a client may choose is kept, the rest is ours. */
export function newMetadata(
  given: ApiObject['metadata'],
  now: number,
  generation: number | undefined,
): ApiObject['metadata'] {
  const { name, generateName, namespace, labels, annotations, ownerReferences, finalizers } = given;
  const system = { uid: newUid(), generation, creationTimestamp: timestamp(now) };
  return copyJson({
    name,
    generateName,
    namespace,
    ...system,
    labels,
    annotations,
    ownerReferences,
    finalizers,
  }) as ApiObject['metadata'];
}

/** Metadata after an update: what the system set is carried over. */
export function carriedMetadata(
  next: ApiObject['metadata'],
  old: ApiObject['metadata'],
): ApiObject['metadata'] {
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation, generateName } =
    old;
  const { name, namespace, labels, annotations, ownerReferences, finalizers } = next;
  return copyJson({
    ...{ name, generateName, namespace, uid, generation },
    ...{ creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds },
    ...{ labels, annotations, ownerReferences, finalizers },
  }) as ApiObject['metadata'];
}

/** @throws ApiError Conflict when the client meant another object or an older state of it. */
export function checkPreconditions(
  resource: Resource,
  old: ApiObject,
  given: { uid?: string | undefined; resourceVersion?: string | undefined },
): void {
  const { name, uid, resourceVersion } = old.metadata;
  if (given.uid && given.uid !== uid)
    throw conflictError(
      resource,
      name,
      `the UID in the precondition (${given.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`,
    );
  if (given.resourceVersion && given.resourceVersion !== resourceVersion) throw staleError(resource, name);
}
