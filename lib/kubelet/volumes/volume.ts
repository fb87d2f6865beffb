// What all kinds of volumes share: where they lie on the node, what goes wrong with them. Types and pure functions.
// Assumes the Pod's uid and volume names are validated: they become paths. Paths as kubelet lays them out.
import { join } from 'node:path';
import type { Pod } from '../../api/types.ts';
import { PodwireError } from '../../exec/errors.ts';

/** FailedMount of kubelet: names the volume and what is wrong with it. */
export class VolumeError extends PodwireError {
  constructor(volume: string, message: string, options?: { cause?: unknown }) {
    super('FailedMount', `MountVolume.SetUp failed for volume "${volume}" : ${message}`, options);
  }
}

/** A volume that stands on the node. */
export interface VolumeOnNode {
  readonly path: string;
  /** Whatever the container's mount says. */
  readonly readOnly: boolean;
}

/** By volume name. */
export type PodVolumes = ReadonlyMap<string, VolumeOnNode>;

/** Contents of a volume that the node writes: path in the volume → bytes and mode. */
export type Payload = ReadonlyMap<string, { readonly data: Uint8Array; readonly mode: number }>;

export const podDir = (podsDir: string, uid: string): string => join(podsDir, uid);

export type VolumeKind = 'empty-dir' | 'configmap' | 'secret' | 'projected' | 'downward-api';

/** PODS/UID/volumes/kubernetes.io~KIND/NAME */
export function volumeDir(podsDir: string, pod: Pod, volume: { kind: VolumeKind; name: string }): string {
  return join(podDir(podsDir, pod.metadata.uid), 'volumes', `kubernetes.io~${volume.kind}`, volume.name);
}
