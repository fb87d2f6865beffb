// What Kubernetes demands of ConfigMaps and Secrets: keys that are file names, base64, a size, immutability.
// Assumes the schema check and defaulting (stringData is in data). A secret's value never stands in an error.
// Pure; O(bytes). Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go
import { isDeepStrictEqual } from 'node:util';
import { type FieldError, forbidden, invalid, required } from '../field-errors.ts';
import { dataKeyFault } from '../names.ts';
import type { ConfigMap, Secret } from '../types.ts';

/** Of all keys and values together. Source: k8s.io/kubernetes/pkg/apis/core/types.go MaxSecretSize */
const maxDataBytes = 1024 * 1024;
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export function validateConfigMap({ data = {}, binaryData = {} }: ConfigMap): FieldError[] {
  const errors = [...validateData(data, 'data'), ...validateData(binaryData, 'binaryData')];
  for (const key of Object.keys(binaryData)) {
    if (Object.hasOwn(data, key))
      errors.push(invalid(`binaryData[${key}]`, key, 'duplicate of key present in data'));
    if (!base64.test(binaryData[key]!)) errors.push(notBase64(`binaryData[${key}]`));
  }
  return [...errors, ...tooLarge({ ...data, ...binaryData })];
}

/** A secret's values never stand in an error. */
export function validateSecret({ data = {}, type }: Secret): FieldError[] {
  const errors = validateData(data, 'data');
  for (const [key, value] of Object.entries(data))
    if (!base64.test(value)) errors.push(notBase64(`data[${key}]`));
  const needed = requiredSecretKeys[type ?? ''] ?? [];
  for (const key of needed)
    if (!Object.hasOwn(data, key)) errors.push(required(`data[${key}]`, `a Secret of type ${type} has it`));
  return [...errors, ...tooLarge(data)];
}

/** Source: k8s.io/kubernetes/pkg/apis/core/validation ValidateSecret */
const requiredSecretKeys: Readonly<Record<string, readonly string[]>> = {
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
};

const notBase64 = (field: string): FieldError => invalid(field, '<hidden>', 'must be base64 (RFC 4648)');

function validateData(data: Readonly<Record<string, string>>, path: string): FieldError[] {
  return Object.keys(data).flatMap((key) => {
    const fault = dataKeyFault(key);
    return fault === undefined ? [] : [invalid(`${path}[${key}]`, key, fault)];
  });
}

function tooLarge(data: Readonly<Record<string, string>>): FieldError[] {
  const bytes = Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (bytes <= maxDataBytes) return [];
  const message = `Too long: may not be more than ${maxDataBytes} bytes`;
  return [{ reason: 'FieldValueTooLong', field: 'data', message }];
}

/** What updates of ConfigMaps and Secrets may not change once `immutable` is true. */
export function validateImmutable(next: ConfigMap | Secret, old: ConfigMap | Secret): FieldError[] {
  const errors: FieldError[] = [];
  if ('type' in old && (next as Secret).type !== old.type)
    errors.push(invalid('type', (next as Secret).type ?? '', 'field is immutable'));
  if (!old.immutable) return errors;
  if (!next.immutable) errors.push(forbidden('immutable', 'field is immutable when `immutable` is set'));
  const content = (object: ConfigMap | Secret): unknown => [
    object.data ?? {},
    (object as ConfigMap).binaryData ?? {},
  ];
  if (!isDeepStrictEqual(content(next), content(old)))
    errors.push(forbidden('data', 'field is immutable when `immutable` is set'));
  return errors;
}
