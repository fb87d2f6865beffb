// emptyDir: a folder on the node's disk or a tmpfs, writable by all, that lives as long as its Pod.
// Assumes it is made once: what a container does to its mode later stays. One folder, or one mount.
// Source: kubelet's empty_dir; with fsGroup the folder belongs to that group, and what is made in it inherits it.
import { chmodSync, chownSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { quantityValue } from '../../api/quantity.ts';
import type { Pod, Volume } from '../../api/types.ts';
import { listMounts, mountTmpfs } from '../../kernel/mount.ts';
import { podResources } from '../resources.ts';
import { type VolumeOnNode, volumeDir } from './volume.ts';

const setGid = 0o2000;

/** Makes what is missing. Repeatable; a crash in between leaves nothing that would be taken for a volume. */
export async function setUpEmptyDir(podsDir: string, pod: Pod, volume: Volume): Promise<VolumeOnNode> {
  const path = volumeDir(podsDir, pod, { kind: 'empty-dir', name: volume.name });
  const fsGroup = pod.spec.securityContext?.fsGroup;
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true });
    const unfinished = `${dirname(path)}/.${volume.name}`; // no volume's name begins with a dot
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished);
    if (fsGroup !== undefined) chownSync(unfinished, 0, fsGroup);
    chmodSync(unfinished, fsGroup === undefined ? 0o777 : 0o777 | setGid);
    renameSync(unfinished, path);
  }
  if (volume.emptyDir?.medium === 'Memory' && !listMounts(path).includes(path))
    await mountTmpfs({ target: path, options: tmpfsOptions(pod, volume) });
  return { path, readOnly: false };
}

// Only the memory limit is asked for: nothing of the node's.
const noLimits = { pidsLimit: 0, memory: 1, leastOomScore: 0, hugePages: [] };

/** No larger than its sizeLimit, nor than all the memory that the Pod may have. Pure. */
export function tmpfsOptions(pod: Pod, volume: Volume): string {
  const fsGroup = pod.spec.securityContext?.fsGroup;
  const limits = [volume.emptyDir?.sizeLimit, podResources(pod, noLimits).memoryLimit]
    .map((limit) => (limit === undefined ? 0 : quantityValue(limit)))
    .filter((bytes) => bytes > 0);
  return [
    fsGroup === undefined ? 'mode=0777' : `mode=02777,gid=${fsGroup}`,
    'nosuid,nodev',
    ...(limits.length > 0 ? [`size=${Math.min(...limits)}`] : []),
  ].join(',');
}
