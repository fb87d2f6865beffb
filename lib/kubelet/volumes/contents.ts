// The contents of the volumes that the node writes (configMap, secret, downwardAPI, projected) and where they lie.
// Assumes a defaulted volume. One look-up a source; the bytes are shared with the API's objects where they can be.
import type { Pod, Volume } from '../../api/types.ts';
import type { NodeAmounts } from '../field-refs.ts';
import type { DataSource } from '../references.ts';
import { downwardApiPayload } from './downward-api.ts';
import { configMapPayload, secretPayload } from './keyed.ts';
import type { Payload, VolumeKind } from './volume.ts';

export interface ContentsInput {
  readonly pod: Pod;
  readonly data: DataSource;
  readonly node: NodeAmounts;
}

export interface Contents {
  readonly kind: VolumeKind;
  /** Secrets never touch the disk. Source: kubelet keeps all but configMap volumes in memory. */
  readonly inMemory: boolean;
  read(): Promise<Payload>;
}

const usualMode = 0o644;
const modeOf = (source: { defaultMode?: number }): number => source.defaultMode ?? usualMode;

/** Undefined for volumes whose contents are not the node's. */
export function contentsOf(input: ContentsInput, volume: Volume): Contents | undefined {
  const { pod, data, node } = input;
  const { namespace } = pod.metadata;
  const { configMap, secret, downwardAPI, projected } = volume;
  if (configMap)
    return {
      kind: 'configmap',
      inMemory: false,
      read: async () =>
        configMapPayload(
          { ...configMap, defaultMode: modeOf(configMap) },
          await data.configMap(namespace, configMap.name ?? ''),
        ),
    };
  if (secret)
    return {
      kind: 'secret',
      inMemory: true,
      read: async () =>
        secretPayload(
          { ...secret, name: secret.secretName, defaultMode: modeOf(secret) },
          await data.secret(namespace, secret.secretName ?? ''),
        ),
    };
  if (downwardAPI)
    return {
      kind: 'downward-api',
      inMemory: true,
      read: async () =>
        downwardApiPayload(pod, downwardAPI.items ?? [], { defaultMode: modeOf(downwardAPI), node }),
    };
  if (projected) return { kind: 'projected', inMemory: true, read: () => projectedPayload(input, projected) };
  return undefined;
}

/** All sources in one; a later one wins over an earlier one at the same path. */
async function projectedPayload(
  { pod, data, node }: ContentsInput,
  projected: NonNullable<Volume['projected']>,
): Promise<Payload> {
  const { namespace } = pod.metadata;
  const defaultMode = modeOf(projected);
  const all = new Map<string, { data: Uint8Array; mode: number }>();
  for (const { configMap, secret, downwardAPI } of projected.sources ?? []) {
    const parts: Payload[] = [];
    if (configMap)
      parts.push(
        configMapPayload(
          { ...configMap, defaultMode },
          await data.configMap(namespace, configMap.name ?? ''),
        ),
      );
    if (secret)
      parts.push(secretPayload({ ...secret, defaultMode }, await data.secret(namespace, secret.name ?? '')));
    if (downwardAPI) parts.push(downwardApiPayload(pod, downwardAPI.items ?? [], { defaultMode, node }));
    for (const part of parts) for (const [path, file] of part) all.set(path, file);
  }
  return all;
}
