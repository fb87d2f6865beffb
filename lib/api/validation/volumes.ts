// Kubernetes' rules for volumes and for how containers mount them.
// Assumes the schema check and defaulting have run. Collects every fault; O(fields); pure.
// Source: k8s.io/kubernetes/pkg/apis/core/validation/validation.go (v1.34)
import {
  duplicate,
  type FieldError,
  forbidden,
  invalid,
  notFound,
  notSupported,
  required,
} from '../field-errors.ts';
import { dnsLabelFault } from '../names.ts';
import { compareQuantities } from '../quantity.ts';
import type { Container, PodSpec, Volume } from '../types.ts';
import { pushFault } from './validation.ts';
import { fieldRefErrors, nulFault, objectNameErrors, resourceRefErrors } from './env.ts';

export function volumeErrors(spec: PodSpec): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  spec.volumes?.forEach((volume, at) => {
    const path = `spec.volumes[${at}]`;
    if (!volume.name) errors.push(required(`${path}.name`));
    else pushFault(errors, `${path}.name`, volume.name, dnsLabelFault(volume.name));
    if (volume.name && names.has(volume.name)) errors.push(duplicate(`${path}.name`, volume.name));
    names.add(volume.name);
    const sources = Object.keys(volume).filter((key) => key !== 'name');
    for (const extra of sources.slice(1))
      errors.push(forbidden(`${path}.${extra}`, 'may not specify more than 1 volume type'));
    errors.push(...sourceErrors(volume, path));
  });
  return errors;
}

function sourceErrors(volume: Volume, path: string): FieldError[] {
  const { hostPath, emptyDir, configMap, secret, downwardAPI, projected } = volume;
  if (emptyDir) return emptyDirErrors(emptyDir, `${path}.emptyDir`);
  if (hostPath) {
    if (!hostPath.path) return [required(`${path}.hostPath.path`)];
    const fault = pathFault(hostPath.path);
    return fault === undefined ? [] : [invalid(`${path}.hostPath.path`, hostPath.path, fault)];
  }
  if (configMap)
    return [
      ...objectNameErrors(configMap.name, `${path}.configMap.name`),
      ...modeErrors(configMap.defaultMode, `${path}.configMap.defaultMode`),
      ...itemErrors(configMap.items, `${path}.configMap.items`),
    ];
  if (secret)
    return [
      ...objectNameErrors(secret.secretName, `${path}.secret.secretName`),
      ...modeErrors(secret.defaultMode, `${path}.secret.defaultMode`),
      ...itemErrors(secret.items, `${path}.secret.items`),
    ];
  if (downwardAPI)
    return [
      ...modeErrors(downwardAPI.defaultMode, `${path}.downwardAPI.defaultMode`),
      ...downwardErrors(downwardAPI.items, `${path}.downwardAPI.items`),
    ];
  return projected ? projectedErrors(projected, `${path}.projected`) : [];
}

function emptyDirErrors(source: NonNullable<Volume['emptyDir']>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const { medium = '', sizeLimit } = source;
  if (sizeLimit !== undefined && compareQuantities(sizeLimit, 0) < 0)
    errors.push(invalid(`${path}.sizeLimit`, sizeLimit, 'must be greater than or equal to 0'));
  if (medium !== '' && medium !== 'Memory' && !medium.startsWith('HugePages'))
    errors.push(notSupported(`${path}.medium`, medium, ['', 'Memory']));
  return errors;
}

function modeErrors(mode: number | undefined, path: string): FieldError[] {
  if (mode === undefined || (mode >= 0 && mode <= 0o777)) return [];
  return [invalid(path, mode, 'must be a number between 0 and 0777 (octal), both inclusive')];
}

function itemErrors(
  items: readonly { key: string; path: string; mode?: number }[] | undefined,
  path: string,
): FieldError[] {
  return (items ?? []).flatMap((item, at) => [
    ...(item.key ? [] : [required(`${path}[${at}].key`)]),
    ...filePathErrors(item.path, `${path}[${at}].path`),
    ...modeErrors(item.mode, `${path}[${at}].mode`),
  ]);
}

/** A file inside a volume. Names that begin with `..` are the writer's own. */
function filePathErrors(path: string, field: string): FieldError[] {
  if (!path) return [required(field)];
  const fault =
    relativeFault(path) ?? (path.startsWith('..') ? "must not start with '..'" : undefined) ?? nulFault(path);
  if (fault !== undefined) return [invalid(field, path, fault)];
  if (path.split('/').some((part) => part === '' || part === '.'))
    return [invalid(field, path, "must not contain '.' or an empty name")];
  return [];
}

type DownwardItems = NonNullable<NonNullable<Volume['downwardAPI']>['items']>;

function downwardErrors(items: DownwardItems | undefined, path: string): FieldError[] {
  return (items ?? []).flatMap((item, at) => {
    const where = `${path}[${at}]`;
    const { fieldRef, resourceFieldRef } = item;
    const errors = filePathErrors(item.path, `${where}.path`);
    if (fieldRef && resourceFieldRef)
      errors.push(
        invalid(where, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously'),
      );
    if (fieldRef) errors.push(...fieldRefErrors(fieldRef, `${where}.fieldRef`, 'volume'));
    else if (resourceFieldRef)
      errors.push(...resourceRefErrors(resourceFieldRef, `${where}.resourceFieldRef`, 'volume'));
    else errors.push(required(`${where}.fieldRef`, 'one of fieldRef and resourceFieldRef is required'));
    return [...errors, ...modeErrors(item.mode, `${where}.mode`)];
  });
}

function projectedErrors(projected: NonNullable<Volume['projected']>, path: string): FieldError[] {
  const errors = modeErrors(projected.defaultMode, `${path}.defaultMode`);
  const taken = new Set<string>();
  projected.sources?.forEach((source, at) => {
    const where = `${path}.sources[${at}]`;
    const kinds = Object.keys(source);
    for (const extra of kinds.slice(1))
      errors.push(forbidden(`${where}.${extra}`, 'may not specify more than 1 volume type per source'));
    if (kinds.length === 0) errors.push(required(where));
    const { configMap, secret, downwardAPI } = source;
    if (configMap) errors.push(...objectNameErrors(configMap.name, `${where}.configMap.name`));
    if (secret) errors.push(...objectNameErrors(secret.name, `${where}.secret.name`));
    errors.push(...itemErrors(configMap?.items, `${where}.configMap.items`));
    errors.push(...itemErrors(secret?.items, `${where}.secret.items`));
    if (downwardAPI) errors.push(...downwardErrors(downwardAPI.items, `${where}.downwardAPI.items`));
    const items = [configMap?.items, secret?.items, downwardAPI?.items].flatMap((list) => list ?? []);
    for (const item of items) {
      if (taken.has(item.path)) errors.push(invalid(where, item.path, 'conflicting duplicate paths'));
      taken.add(item.path);
    }
  });
  return errors;
}

export function mountErrors(container: Container, volumes: ReadonlySet<string>, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const points = new Set<string>();
  container.volumeMounts?.forEach((mount, at) => {
    const where = `${path}.volumeMounts[${at}]`;
    if (!mount.name) errors.push(required(`${where}.name`));
    else if (!volumes.has(mount.name)) errors.push(notFound(`${where}.name`, mount.name));
    if (!mount.mountPath) errors.push(required(`${where}.mountPath`));
    else pushFault(errors, `${where}.mountPath`, mount.mountPath, pathFault(mount.mountPath));
    if (points.has(mount.mountPath))
      errors.push(invalid(`${where}.mountPath`, mount.mountPath, 'must be unique'));
    points.add(mount.mountPath);
    errors.push(...subPathErrors(mount, where));
    if (mount.mountPropagation === 'Bidirectional' && !container.securityContext?.privileged)
      errors.push(
        forbidden(
          `${where}.mountPropagation`,
          'Bidirectional mount propagation is available only to privileged containers',
        ),
      );
    errors.push(...recursiveErrors(mount, `${where}.recursiveReadOnly`));
  });
  return errors;
}

type VolumeMount = NonNullable<Container['volumeMounts']>[number];

function subPathErrors({ subPath, subPathExpr }: VolumeMount, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const [field, value] of [
    ['subPath', subPath],
    ['subPathExpr', subPathExpr],
  ] as const)
    if (value) pushFault(errors, `${path}.${field}`, value, relativeFault(value) ?? nulFault(value));
  if (subPath && subPathExpr)
    errors.push(
      invalid(`${path}.subPathExpr`, subPathExpr, 'subPathExpr and subPath are mutually exclusive'),
    );
  return errors;
}

function recursiveErrors(mount: VolumeMount, path: string): FieldError[] {
  const { recursiveReadOnly = 'Disabled', readOnly, mountPropagation = 'None' } = mount;
  if (recursiveReadOnly === 'Disabled') return [];
  if (recursiveReadOnly !== 'Enabled' && recursiveReadOnly !== 'IfPossible')
    return [notSupported(path, recursiveReadOnly, ['Disabled', 'Enabled', 'IfPossible'])];
  const errors: FieldError[] = [];
  if (!readOnly) errors.push(forbidden(path, 'may only be specified when readOnly is true'));
  if (mountPropagation !== 'None')
    errors.push(forbidden(path, 'may only be specified when mountPropagation is None or not specified'));
  return errors;
}

const backstepFault = (path: string): string | undefined =>
  path.split('/').includes('..') ? "must not contain '..'" : undefined;

/** A path that stays below where it begins. */
export const relativeFault = (path: string): string | undefined =>
  path.startsWith('/') ? 'must be a relative path' : backstepFault(path);

/** An absolute path that does not climb. Stricter than Kubernetes, which lets `..` in a mountPath pass to the runtime. */
export function pathFault(path: string): string | undefined {
  if (!path.startsWith('/')) return 'must be an absolute path';
  return backstepFault(path) ?? nulFault(path);
}
