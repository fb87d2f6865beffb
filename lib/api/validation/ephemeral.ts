// What `pods/ephemeralcontainers` may change: containers are added to a Pod that is there, and never changed or removed.
// Assumes two specs of one Pod, defaulted; the containers themselves are checked with all others. Pure; O(containers).
// Source: ValidatePodEphemeralContainersUpdate and podEphemeralContainersStrategy, v1.34.
import { isDeepStrictEqual } from 'node:util';
import { type FieldError, forbidden } from '../field-errors.ts';
import { ephemeralContainers } from '../pod-containers.ts';
import type { Pod } from '../types.ts';

const path = 'spec.ephemeralContainers';

/** The old Pod with the ephemeral containers that are asked for; whatever else the request says is passed over. */
export function debuggedPod<P extends Pod>(old: P, asked: Pod): P {
  const { resourceVersion } = asked.metadata ?? {};
  const wanted = asked.spec ? ephemeralContainers(asked.spec) : [];
  return {
    ...old,
    metadata: { ...old.metadata, ...(resourceVersion ? { resourceVersion } : {}) },
    spec: { ...old.spec, ...(wanted.length > 0 ? { ephemeralContainers: [...wanted] } : {}) },
  };
}

export function validateEphemeralUpdate({ spec, metadata }: Pod, { spec: old }: Pod): FieldError[] {
  const errors: FieldError[] = [];
  if (metadata.annotations?.['kubernetes.io/config.mirror'])
    errors.push(forbidden('metadata.annotations', 'static pods do not support ephemeral containers'));
  const now = new Map(ephemeralContainers(spec).map((one) => [one.name, one]));
  for (const before of ephemeralContainers(old)) {
    const after = now.get(before.name);
    if (after === undefined)
      errors.push(
        forbidden(path, `existing ephemeral containers ${JSON.stringify(before.name)} may not be removed`),
      );
    else if (!isDeepStrictEqual(after, before))
      errors.push(
        forbidden(path, `existing ephemeral containers ${JSON.stringify(before.name)} may not be changed`),
      );
  }
  return errors;
}

/** A Pod begins without any. */
export const ephemeralAtCreation = ({ spec }: Pod): FieldError[] =>
  ephemeralContainers(spec).length > 0 ? [forbidden(path, 'cannot be set on create')] : [];
