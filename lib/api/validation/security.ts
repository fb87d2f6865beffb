// Kubernetes' rules for what Pods and containers share of their security: profiles, users of their own.
// Assumes the schema check has run. Collects every fault; pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import { type FieldError, forbidden, invalid, required } from '../field-errors.ts';
import { placedContainers } from '../pod-containers.ts';
import type { PodSpec } from '../types.ts';
import { nulFault } from './env.ts';
import { relativeFault } from './volumes.ts';

export function seccompErrors(
  profile: { type?: string; localhostProfile?: string } | undefined,
  path: string,
): FieldError[] {
  if (!profile) return [];
  const { type, localhostProfile } = profile;
  if (!type) return [required(`${path}.type`)];
  const where = `${path}.localhostProfile`;
  if (type !== 'Localhost')
    return localhostProfile === undefined
      ? []
      : [invalid(where, localhostProfile, 'can only be set when seccomp type is Localhost')];
  if (!localhostProfile) return [required(where, 'must be set when seccomp type is Localhost')];
  const fault = relativeFault(localhostProfile) ?? nulFault(localhostProfile);
  return fault === undefined ? [] : [invalid(where, localhostProfile, fault)];
}

/** hostUsers: false goes with none of the machine's other namespaces; an unmasked /proc goes with nothing else. */
export function hostUsersErrors(spec: PodSpec): FieldError[] {
  if (spec.hostUsers === false)
    return (['hostNetwork', 'hostPID', 'hostIPC'] as const)
      .filter((field) => spec[field])
      .map((field) => forbidden(`spec.${field}`, 'when `hostUsers` is false'));
  return placedContainers(spec)
    .filter(({ container }) => container.securityContext?.procMount === 'Unmasked')
    .map(({ path }) =>
      invalid(`${path}.securityContext.procMount`, 'Unmasked', '`hostUsers` must be false to use `Unmasked`'),
    );
}
