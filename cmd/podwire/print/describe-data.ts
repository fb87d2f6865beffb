// `podwire describe configmap` and `describe secret`: keys with their values, of a Secret only their sizes. Pure.
// Assumes valid objects. O(bytes).
import type { ConfigMap, Secret } from '../../../lib/api/types.ts';
import { lastAppliedKey } from '../apply-patch.ts';
import { pairs } from './describe-pod.ts';
import { renderFields } from './text.ts';

export function describeConfigMap(object: ConfigMap): string {
  const { data = {}, binaryData = {} } = object;
  const texts = Object.entries(data).map(([key, value]) => `${key}:\n----\n${value}\n`);
  const binaries = Object.entries(binaryData).map(([key, value]) => `${key}: ${bytesOf(value)} bytes\n`);
  return [head(object), `\nData\n====\n${texts.join('\n')}`, `\nBinaryData\n====\n${binaries.join('')}`].join(
    '',
  );
}

/** A value is never shown; nor is the annotation of `apply`, which holds them all. */
export function describeSecret(object: Secret): string {
  const sizes = Object.entries(object.data ?? {}).map(([key, value]) => `${key}:  ${bytesOf(value)} bytes\n`);
  return [
    head(object),
    renderFields([['Type', object.type ?? 'Opaque']]),
    `\nData\n====\n${sizes.join('')}`,
  ].join('');
}

function head({ metadata }: ConfigMap | Secret): string {
  const { [lastAppliedKey]: _, ...annotations } = metadata.annotations ?? {};
  return renderFields([
    ['Name', metadata.name],
    ['Namespace', metadata.namespace ?? ''],
    ['Labels', pairs(metadata.labels)],
    ['Annotations', pairs(annotations, ': ')],
  ]);
}

const bytesOf = (base64: string): number => Buffer.from(base64, 'base64').length;
