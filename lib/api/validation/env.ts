// Kubernetes' rules for a container's environment, and for what fieldRef and resourceFieldRef may name.
// Assumes the schema check and defaulting have run. Collects every fault; O(variables); pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import { type FieldError, invalid, notSupported, required } from '../field-errors.ts';
import { dataKeyFault, dnsSubdomainFault, envNameFault } from '../names.ts';
import { compareQuantities } from '../quantity.ts';
import type { Container } from '../types.ts';
import { pushFault } from './validation.ts';

/** The kernel ends every argument and path at a NUL, so none can be passed on. */
export const nulFault = (text: string): string | undefined =>
  text.includes('\0') ? 'must not contain a NUL' : undefined;

const envFields = [
  ...['metadata.name', 'metadata.namespace', 'metadata.uid', 'spec.nodeName', 'spec.serviceAccountName'],
  ...['status.hostIP', 'status.hostIPs', 'status.podIP', 'status.podIPs'],
];
const keyedFields = ["metadata.annotations['<KEY>']", "metadata.labels['<KEY>']"];
const volumeFields = [
  ...['metadata.annotations', 'metadata.labels', 'metadata.name', 'metadata.namespace', 'metadata.uid'],
];

type FieldRef = { apiVersion?: string; fieldPath: string };
type ResourceRef = { containerName?: string; divisor?: string | number; resource: string };
type KeyRef = { name?: string; key: string };

/** `use`: an environment knows other fields than a volume. Labels and annotations take a key: metadata.labels['app']. */
export function fieldRefErrors(ref: FieldRef, path: string, use: 'env' | 'volume'): FieldError[] {
  if (ref.apiVersion !== 'v1') return [notSupported(`${path}.apiVersion`, ref.apiVersion, ['v1'])];
  if (!ref.fieldPath) return [required(`${path}.fieldPath`)];
  const known = use === 'env' ? envFields : volumeFields;
  if (known.includes(ref.fieldPath) || /^metadata\.(labels|annotations)\['[^']+'\]$/.test(ref.fieldPath))
    return [];
  return [notSupported(`${path}.fieldPath`, ref.fieldPath, [...keyedFields, ...known])];
}

const resources = ['cpu', 'ephemeral-storage', 'memory'];
const resourceFields = ['limits', 'requests'].flatMap((kind) => resources.map((name) => `${kind}.${name}`));
const cpuDivisors = ['1m', '1'];
const byteDivisors = ['1', '1k', '1M', '1G', '1T', '1P', '1E', '1Ki', '1Mi', '1Gi', '1Ti', '1Pi', '1Ei'];

/** `use`: a volume has to name the container, an environment is a container's. */
export function resourceRefErrors(ref: ResourceRef, path: string, use: 'env' | 'volume'): FieldError[] {
  if (use === 'volume' && !ref.containerName) return [required(`${path}.containerName`)];
  if (!ref.resource) return [required(`${path}.resource`)];
  if (!resourceFields.includes(ref.resource))
    return [notSupported(`${path}.resource`, ref.resource, resourceFields)];
  const { divisor = 0 } = ref;
  const known = ref.resource.endsWith('.cpu') ? cpuDivisors : byteDivisors;
  if (compareQuantities(divisor, 0) === 0 || known.some((one) => compareQuantities(one, divisor) === 0))
    return [];
  return [notSupported(`${path}.divisor`, divisor, known)];
}

export function envErrors(container: Container, path: string): FieldError[] {
  const errors: FieldError[] = [];
  container.env?.forEach((variable, at) => {
    const where = `${path}.env[${at}]`;
    if (!variable.name) errors.push(required(`${where}.name`));
    else pushFault(errors, `${where}.name`, variable.name, envNameFault(variable.name));
    pushFault(errors, `${where}.value`, variable.value, nulFault(variable.value ?? ''));
    if (variable.valueFrom !== undefined) errors.push(...valueFromErrors(variable, `${where}.valueFrom`));
  });
  container.envFrom?.forEach((source, at) => {
    errors.push(...envFromErrors(source, `${path}.envFrom[${at}]`));
  });
  return errors;
}

function valueFromErrors(variable: NonNullable<Container['env']>[number], path: string): FieldError[] {
  const from = variable.valueFrom ?? {};
  const sources = Object.values(from).filter((source) => source !== undefined).length;
  const errors: FieldError[] = [];
  if (sources === 0)
    errors.push(
      invalid(
        path,
        '',
        'must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`',
      ),
    );
  if (variable.value) errors.push(invalid(path, '', 'may not be specified when `value` is not empty'));
  else if (sources > 1)
    errors.push(invalid(path, '', 'may not have more than one field specified at a time'));
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = from;
  if (fieldRef) errors.push(...fieldRefErrors(fieldRef, `${path}.fieldRef`, 'env'));
  if (resourceFieldRef)
    errors.push(...resourceRefErrors(resourceFieldRef, `${path}.resourceFieldRef`, 'env'));
  if (configMapKeyRef) errors.push(...keyRefErrors(configMapKeyRef, `${path}.configMapKeyRef`));
  if (secretKeyRef) errors.push(...keyRefErrors(secretKeyRef, `${path}.secretKeyRef`));
  return errors;
}

function keyRefErrors({ name, key }: KeyRef, path: string): FieldError[] {
  const errors = objectNameErrors(name, `${path}.name`);
  if (!key) errors.push(required(`${path}.key`));
  else pushFault(errors, `${path}.key`, key, dataKeyFault(key));
  return errors;
}

/** The name of a ConfigMap or a Secret. */
export function objectNameErrors(name: string | undefined, path: string): FieldError[] {
  if (!name) return [required(path)];
  const fault = dnsSubdomainFault(name);
  return fault === undefined ? [] : [invalid(path, name, fault)];
}

function envFromErrors(source: NonNullable<Container['envFrom']>[number], path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { prefix, configMapRef, secretRef } = source;
  if (prefix) pushFault(errors, `${path}.prefix`, prefix, envNameFault(prefix));
  if (configMapRef) errors.push(...objectNameErrors(configMapRef.name, `${path}.configMapRef.name`));
  if (secretRef) errors.push(...objectNameErrors(secretRef.name, `${path}.secretRef.name`));
  if (!configMapRef && !secretRef)
    errors.push(invalid(path, '', 'must specify one of: `configMapRef` or `secretRef`'));
  else if (configMapRef && secretRef)
    errors.push(invalid(path, '', 'may not have more than one field specified at a time'));
  return errors;
}
