// A Pod's volumes on the node: emptyDir (disk, memory) and hostPath. Set up before the first container, torn down
// after the last. Assumes the Pod's uid and volume names are validated (they become paths). O(volumes).
// Source: kubelet's empty_dir and host_path plugins; paths as kubelet lays them out.
import { chmodSync, mkdirSync, rmSync, statSync, type Stats, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { quantityValue } from '../api/quantity.ts';
import type { Pod, Volume } from '../api/types.ts';
import { PodwireError } from '../exec/errors.ts';
import { listMounts, mountTmpfs, unmountAll } from '../kernel/mount.ts';

/** FailedMount of kubelet: names the volume and what is wrong with it. */
export class VolumeError extends PodwireError {
  constructor(volume: string, message: string, options?: { cause?: unknown }) {
    super('FailedMount', `MountVolume.SetUp failed for volume "${volume}" : ${message}`, options);
  }
}

export const podDir = (podsDir: string, uid: string): string => join(podsDir, uid);
const emptyDirPath = (podsDir: string, uid: string, name: string): string =>
  join(podDir(podsDir, uid), 'volumes', 'kubernetes.io~empty-dir', name);

/** Makes what is missing; gives the host path of each volume. Repeatable. */
export async function setUpVolumes(podsDir: string, pod: Pod): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const volume of pod.spec.volumes ?? []) {
    try {
      paths.set(volume.name, await setUpVolume(podsDir, pod.metadata.uid, volume));
    } catch (error) {
      if (error instanceof VolumeError) throw error;
      throw new VolumeError(volume.name, (error as Error).message, { cause: error });
    }
  }
  return paths;
}

async function setUpVolume(podsDir: string, uid: string, volume: Volume): Promise<string> {
  if (volume.hostPath) return checkHostPath(volume.name, volume.hostPath.path, volume.hostPath.type ?? '');
  if (!volume.emptyDir) throw new VolumeError(volume.name, 'only emptyDir and hostPath are supported');
  const path = emptyDirPath(podsDir, uid, volume.name);
  mkdirSync(path, { recursive: true });
  chmodSync(path, 0o777);
  if (volume.emptyDir.medium === 'Memory' && !listMounts(path).includes(path)) {
    const limit = volume.emptyDir.sizeLimit;
    const size = limit === undefined ? [] : [`size=${quantityValue(limit)}`];
    await mountTmpfs({ target: path, options: ['mode=0777', ...size].join(',') });
  }
  return path;
}

const hostPathTypes: Record<
  string,
  { is: (stats: Stats) => boolean; noun: string; create?: 'directory' | 'file' }
> = {
  Directory: { is: (s) => s.isDirectory(), noun: 'a directory' },
  DirectoryOrCreate: { is: (s) => s.isDirectory(), noun: 'a directory', create: 'directory' },
  File: { is: (s) => s.isFile(), noun: 'a file' },
  FileOrCreate: { is: (s) => s.isFile(), noun: 'a file', create: 'file' },
  Socket: { is: (s) => s.isSocket(), noun: 'a socket file' },
  CharDevice: { is: (s) => s.isCharacterDevice(), noun: 'a character device' },
  BlockDevice: { is: (s) => s.isBlockDevice(), noun: 'a block device' },
};

function checkHostPath(volume: string, path: string, type: string): string {
  const stats = statSync(path, { throwIfNoEntry: false });
  const wanted = hostPathTypes[type];
  if (!wanted) {
    // No type, no check; a missing path becomes a folder, as container engines do for bind mounts.
    if (!stats) mkdirSync(path, { recursive: true, mode: 0o755 });
    return path;
  }
  if (!stats && wanted.create === 'directory') mkdirSync(path, { recursive: true, mode: 0o755 });
  else if (!stats && wanted.create === 'file') {
    if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
      throw new VolumeError(volume, `hostPath type check failed: the folder of ${path} does not exist`);
    writeFileSync(path, '', { mode: 0o644, flag: 'wx' });
  } else if (!stats || !wanted.is(stats))
    throw new VolumeError(volume, `hostPath type check failed: ${path} is not ${wanted.noun}`);
  return path;
}

/** Unmounts and removes all that a Pod had on the node's disk. Never follows a mount. Repeatable. */
export async function tearDownPodDir(podsDir: string, uid: string): Promise<void> {
  const dir = podDir(podsDir, uid);
  await unmountAll(dir);
  const left = listMounts(dir);
  // Removing through a mount that would not go could delete what belongs to somebody else.
  if (left.length > 0)
    throw new PodwireError('VOLUME_BUSY', `${left.join(', ')}: still mounted, not removed`);
  rmSync(dir, { recursive: true, force: true });
}
