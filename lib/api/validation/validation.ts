// What Kubernetes demands of every object: names, labels, annotations, owners; and of nodes, events and leases.
// Assumes the schema check (types are right, required fields are there, if only as zero values) and defaulting.
// Collects every fault; O(fields); pure. Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go
import { type FieldError, forbidden, invalid, required } from '../field-errors.ts';
import { dnsLabelFault, dnsSubdomainFault, labelValueFault, qualifiedNameFault } from '../names.ts';
import type { Event, Lease, Node, ObjectMeta } from '../types.ts';

type Meta = Partial<ObjectMeta>;
const maxAnnotationBytes = 256 * 1024;

export interface MetaRules {
  readonly namespaced: boolean;
  readonly nameFault: (name: string) => string | undefined;
}
export const podMetaRules: MetaRules = { namespaced: true, nameFault: dnsSubdomainFault };
export const nodeMetaRules: MetaRules = { namespaced: false, nameFault: dnsSubdomainFault };
export const namespaceMetaRules: MetaRules = { namespaced: false, nameFault: dnsLabelFault };
export const eventMetaRules: MetaRules = { namespaced: true, nameFault: dnsSubdomainFault };
export const dataMetaRules: MetaRules = { namespaced: true, nameFault: dnsSubdomainFault };

export function validateMeta(meta: Meta, rules: MetaRules): FieldError[] {
  const errors: FieldError[] = [];
  if (meta.generateName) {
    // The generated suffix follows, so a trailing '-' or '.' is no end.
    const fault = rules.nameFault(`${meta.generateName}x`);
    if (fault) errors.push(invalid('metadata.generateName', meta.generateName, fault));
  }
  if (!meta.name) errors.push(required('metadata.name', 'name or generateName is required'));
  else pushFault(errors, 'metadata.name', meta.name, rules.nameFault(meta.name));
  if (rules.namespaced) {
    if (!meta.namespace) errors.push(required('metadata.namespace'));
    else pushFault(errors, 'metadata.namespace', meta.namespace, dnsLabelFault(meta.namespace));
  } else if (meta.namespace) errors.push(forbidden('metadata.namespace', 'not allowed on this type'));
  errors.push(...validateLabels(meta.labels ?? {}, 'metadata.labels'));
  errors.push(...validateAnnotations(meta.annotations ?? {}));
  meta.finalizers?.forEach((name, at) => {
    pushFault(errors, `metadata.finalizers[${at}]`, name, qualifiedNameFault(name));
  });
  meta.ownerReferences?.forEach((owner, at) => {
    for (const field of ['apiVersion', 'kind', 'name', 'uid'] as const)
      if (!owner[field]) errors.push(required(`metadata.ownerReferences[${at}].${field}`));
  });
  return errors;
}

export function validateLabels(labels: Readonly<Record<string, string>>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(labels)) {
    pushFault(errors, path, key, qualifiedNameFault(key));
    pushFault(errors, path, value, labelValueFault(value));
  }
  return errors;
}

function validateAnnotations(annotations: Readonly<Record<string, string>>): FieldError[] {
  const path = 'metadata.annotations';
  const errors: FieldError[] = [];
  let bytes = 0;
  for (const [key, value] of Object.entries(annotations)) {
    pushFault(errors, path, key, qualifiedNameFault(key.toLowerCase()));
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (bytes > maxAnnotationBytes)
    errors.push({
      reason: 'FieldValueTooLong',
      field: path,
      message: `Too long: may not be more than ${maxAnnotationBytes} bytes`,
    });
  return errors;
}

/** What no update may change. uid, creationTimestamp and the like are carried over by the registry. */
export function validateMetaUpdate(meta: Meta, old: Meta): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['name', 'namespace'] as const)
    if (meta[field] !== old[field])
      errors.push(invalid(`metadata.${field}`, meta[field] ?? '', 'field is immutable'));
  if (old.deletionTimestamp) {
    const added = (meta.finalizers ?? []).filter((name) => !old.finalizers?.includes(name));
    if (added.length > 0)
      errors.push(
        forbidden(
          'metadata.finalizers',
          `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
        ),
      );
  }
  return errors;
}

export function validateNode(node: Node): FieldError[] {
  const errors: FieldError[] = [];
  node.spec?.taints?.forEach((taint, at) => {
    const path = `spec.taints[${at}]`;
    if (!taint.key) errors.push(required(`${path}.key`));
    else pushFault(errors, `${path}.key`, taint.key, qualifiedNameFault(taint.key));
    if (taint.value) pushFault(errors, `${path}.value`, taint.value, labelValueFault(taint.value));
    if (!taint.effect) errors.push(required(`${path}.effect`));
  });
  return errors;
}

export function validateEvent(event: Event): FieldError[] {
  const about = event.involvedObject.namespace ?? '';
  const own = event.metadata.namespace ?? '';
  const clusterScoped = about === '' && (own === 'default' || own === 'kube-system');
  if (about === own || clusterScoped) return [];
  return [invalid('involvedObject.namespace', about, 'does not match event.namespace')];
}

export function validateLease({ spec = {} }: Lease): FieldError[] {
  const errors: FieldError[] = [];
  for (const field of ['leaseDurationSeconds', 'leaseTransitions'] as const) {
    const value = spec[field];
    const least = field === 'leaseDurationSeconds' ? 1 : 0;
    if (value !== undefined && value < least)
      errors.push(invalid(`spec.${field}`, value, `must be at least ${least}`));
  }
  return errors;
}

/** Adds an Invalid when there is a fault. */
export function pushFault(
  errors: FieldError[],
  field: string,
  value: unknown,
  fault: string | undefined,
): void {
  if (fault !== undefined) errors.push(invalid(field, value, fault));
}
