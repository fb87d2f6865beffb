// Where a container's environment and a Pod's volumes come from, as `describe pod` tells it. Pure.
// Assumes a defaulted Pod. Names and keys of Secrets are shown, never a value: they are not in the Pod.
import type { Container, Volume } from '../../../lib/api/types.ts';
import { type Field, renderFields } from './text.ts';

const isOptional = (optional: boolean | undefined): string => String(optional ?? false);

export function envText(each: NonNullable<Container['env']>[number]): string {
  const { fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef } = each.valueFrom ?? {};
  if (fieldRef) return `(${fieldRef.apiVersion ?? 'v1'}:${fieldRef.fieldPath})`;
  if (resourceFieldRef) return `(${resourceFieldRef.resource})`;
  const keyText = (ref: { name?: string; key: string; optional?: boolean }, kind: string): string =>
    `<set to the key '${ref.key}' in ${kind} '${ref.name}'>  Optional: ${isOptional(ref.optional)}`;
  if (configMapKeyRef) return keyText(configMapKeyRef, 'config map');
  if (secretKeyRef) return keyText(secretKeyRef, 'secret');
  return each.value ?? '';
}

/** Undefined where there is none. */
export function envFromText({ envFrom = [] }: Container): string | undefined {
  const lines = envFrom.map(({ prefix, configMapRef, secretRef }) => {
    const ref = configMapRef ?? secretRef;
    const with_ = prefix ? ` with prefix '${prefix}'` : '';
    return `${ref?.name}  ${configMapRef ? 'ConfigMap' : 'Secret'}${with_}  Optional: ${isOptional(ref?.optional)}`;
  });
  return lines.length === 0 ? undefined : lines.join('\n');
}

export function volumes(list: readonly Volume[]): string {
  if (list.length === 0) return 'Volumes:  <none>\n';
  const blocks = list.map((volume) => `  ${volume.name}:\n${renderFields(volumeFields(volume), '    ')}`);
  return `Volumes:\n${blocks.join('')}`;
}

function volumeFields(volume: Volume): Field[] {
  const { emptyDir, hostPath, configMap, secret, downwardAPI, projected } = volume;
  if (emptyDir)
    return [
      ['Type', 'EmptyDir (lives as long as the Pod)'],
      ['Medium', emptyDir.medium ?? ''],
      ['SizeLimit', emptyDir.sizeLimit === undefined ? '<unset>' : String(emptyDir.sizeLimit)],
    ];
  if (hostPath)
    return [
      ['Type', 'HostPath (a path of the machine)'],
      ['Path', hostPath.path],
      ['HostPathType', hostPath.type ?? ''],
    ];
  if (configMap)
    return [
      ['Type', 'ConfigMap (its keys as files)'],
      ['Name', configMap.name ?? ''],
      ['Optional', isOptional(configMap.optional)],
    ];
  if (secret)
    return [
      ['Type', 'Secret (its keys as files, in memory)'],
      ['SecretName', secret.secretName ?? ''],
      ['Optional', isOptional(secret.optional)],
    ];
  if (downwardAPI)
    return [
      ['Type', 'DownwardAPI (facts of the Pod as files)'],
      ['Items', itemLines(downwardAPI.items)],
    ];
  if (projected) return [['Type', 'Projected (several sources in one)'], ...projectedFields(projected)];
  return [['Type', Object.keys(volume).find((key) => key !== 'name') ?? 'unknown']];
}

type DownwardItems = NonNullable<Volume['downwardAPI']>['items'];

const itemLines = (items: DownwardItems): string[] =>
  (items ?? []).map(
    ({ path, fieldRef, resourceFieldRef }) =>
      `${fieldRef?.fieldPath ?? resourceFieldRef?.resource} -> ${path}`,
  );

const projectedFields = ({ sources = [] }: NonNullable<Volume['projected']>): Field[] =>
  sources.map(({ configMap, secret, downwardAPI }): Field => {
    if (configMap) return ['ConfigMapName', configMap.name ?? ''];
    if (secret) return ['SecretName', secret.name ?? ''];
    return ['DownwardAPI', itemLines(downwardAPI?.items)];
  });
