// What a request asks for becomes an object that may be stored: defaults, admission, validation, and what it may not touch
// is as it was. Assumes bodies read by readBody; nothing is stored here, so an attempt may be made again on a newer state.
// O(fields) and the calls of admission.
import { isDeepStrictEqual } from 'node:util';
import type { Admit } from '../../api/admission.ts';
import { ApiError } from '../../api/errors.ts';
import type { FieldError } from '../../api/field-errors.ts';
import { resources } from '../../api/resources.ts';
import type { ApiObject, Pod, Resource } from '../../api/types.ts';
import { validateMeta, validateMetaUpdate } from '../../api/validation/validation.ts';
import { debuggedPod, ephemeralAtCreation, validateEphemeralUpdate } from '../../api/validation/ephemeral.ts';
import { resizedPod, validatePodResize } from '../../api/validation/resize.ts';
import type { Subresource } from '../access/access.ts';
import type { User } from '../access/authn.ts';
import {
  type Body,
  carriedMetadata,
  checkFields,
  checkPreconditions,
  newMetadata,
  type OnUnknown,
  readBody,
  refuse,
  setNamespace,
} from './bodies.ts';
import { copyJson, generateName } from './objects.ts';
import { type Strategy, strategies } from './strategies.ts';

/** How a write is done. */
export interface How {
  /** Everything is checked and filled in, and nothing is written. */
  readonly dryRun?: boolean;
  /** Who asks; absent: the daemon itself. */
  readonly user?: User | undefined;
  /** Of Pods: only their resources change, or their ephemeral containers. */
  readonly subresource?: Subresource;
  readonly onUnknown?: OnUnknown | undefined;
}

export interface CreateHow extends How {
  readonly namespace?: string | undefined;
}

export interface Admission {
  readonly admit: readonly Admit[];
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Parts of a Pod that are changed by themselves: what a request changes, and what of it is refused. */
const podParts: Readonly<
  Record<string, { take(old: Pod, asked: Pod): Pod; validate(next: Pod, old: Pod): FieldError[] } | undefined>
> = {
  resize: { take: resizedPod, validate: validatePodResize },
  ephemeralcontainers: { take: debuggedPod, validate: validateEphemeralUpdate },
};

/** A new object. `base`: its name was made from it, and another may be made when it is taken. @throws ApiError */
export async function draftOf(
  resource: Resource,
  object: unknown,
  how: CreateHow,
  { admit, now }: Admission,
): Promise<{ draft: ApiObject; base: string | undefined }> {
  const strategy = strategyOf(resource);
  const { object: draft, errors } = readBody(resource, object, how.onUnknown);
  setNamespace(resource, draft, how.namespace);
  const base = draft.metadata.name ? undefined : draft.metadata.generateName;
  draft.metadata = newMetadata(draft.metadata, now(), strategy.countsGenerations ? 1 : undefined);
  if (base) draft.metadata.name = generateName(base);
  strategy.setDefaults(draft);
  const { user, dryRun = false } = how;
  for (const one of admit) await one({ operation: 'CREATE', resource, object: draft, dryRun, user });
  strategy.prepareCreate(draft);
  refuse(resource, draft, [
    ...errors,
    ...validateMeta(draft.metadata, strategy.metaRules),
    ...strategy.validate(draft),
    ...(resource === 'pods' ? ephemeralAtCreation(draft as Pod) : []),
  ]);
  return { draft, base };
}

/** What `old` becomes. @throws ApiError */
export async function nextOf(
  resource: Resource,
  { old, body: { object: asked, errors } }: { old: ApiObject; body: Body },
  how: How,
  { admit }: Admission,
): Promise<ApiObject> {
  const strategy = strategyOf(resource);
  const part = podParts[how.subresource ?? ''];
  const next = part ? copyJson(part.take(old as Pod, asked as Pod)) : asked;
  checkPreconditions(resource, old, next.metadata);
  if (resources[resource].namespaced) next.metadata.namespace ||= old.metadata.namespace!;
  errors.push(...validateMetaUpdate(next.metadata, old.metadata));
  next.metadata = carriedMetadata(next.metadata, old.metadata);
  if (strategy.statusType) (next as Pod).status = (old as Pod).status!;
  strategy.setDefaults(next);
  const { user, dryRun = false } = how;
  for (const one of admit) await one({ operation: 'UPDATE', resource, object: next, old, dryRun, user });
  errors.push(...validateMeta(next.metadata, strategy.metaRules), ...strategy.validate(next));
  const faults = part ? part.validate(next as Pod, old as Pod) : strategy.validateUpdate(next, old);
  refuse(resource, next, [...errors, ...faults]);
  if (strategy.countsGenerations && !isDeepStrictEqual((next as Pod).spec, (old as Pod).spec))
    next.metadata.generation = (old.metadata.generation ?? 0) + 1;
  return next;
}

/** `old` with the status of a request, and nothing else of it. @throws ApiError */
export function withStatus(
  resource: Resource,
  { old, body }: { old: ApiObject; body: ApiObject },
  onUnknown: OnUnknown | undefined,
): ApiObject {
  const { statusType } = strategyOf(resource);
  if (statusType === undefined) throw new ApiError('MethodNotAllowed', `${resource} have no status`);
  checkPreconditions(resource, old, body.metadata);
  const status = copyJson((body as Pod).status ?? {});
  refuse(resource, old, checkFields(statusType, status, onUnknown, 'status'));
  return { ...old, status } as ApiObject;
}

const strategyOf = (resource: Resource): Strategy<ApiObject> =>
  strategies[resource] as unknown as Strategy<ApiObject>;
