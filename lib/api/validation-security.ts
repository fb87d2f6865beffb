// Kubernetes' rules for what Pods and containers share of their security: profiles.
// Assumes the schema check has run. Collects every fault; pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import { type FieldError, invalid, required } from './field-errors.ts';
import { nulFault } from './validation-env.ts';
import { relativeFault } from './validation-volumes.ts';

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
