// subPath and subPathExpr: a part of a volume, bound to a place of its own before a container sees it, so that what a
// container does to its volume's links cannot lead the mount elsewhere. Assumes volumes stand. One mount a subPath;
// they are made anew for each container and go with the Pod (tearDownPodDir).
// Source: kubelet's subpath package, for what is allowed; how it is done is our own.
import { closeSync, fstatSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Container, Pod } from '../../api/types.ts';
import { messageOf } from '../../exec/errors.ts';
import { openBeneath, pathOfFd } from '../../kernel/beneath.ts';
import { bindMount, unmount } from '../../kernel/mount.ts';
import { ContainerConfigError } from '../environment.ts';
import { expandAll } from '../expansion.ts';
import { type PodVolumes, podDir } from './volume.ts';

export interface SubPathInput {
  readonly podsDir: string;
  readonly pod: Pod;
  readonly container: Container;
  readonly volumes: PodVolumes;
  /** The container's environment, for subPathExpr. */
  readonly vars: ReadonlyMap<string, string>;
}

/** Index in volumeMounts → path on the node, for the mounts that show a part only. @throws ContainerConfigError */
export async function bindSubPaths(input: SubPathInput): Promise<ReadonlyMap<number, string>> {
  const bound = new Map<number, string>();
  for (const [index, mount] of (input.container.volumeMounts ?? []).entries()) {
    if (!mount.subPath && !mount.subPathExpr) continue;
    try {
      bound.set(index, await bindOne(input, index));
    } catch (error) {
      if (error instanceof ContainerConfigError) throw error;
      throw new ContainerConfigError(
        `failed to prepare subPath for volumeMount "${mount.name}" of container "${input.container.name}": ${messageOf(error)}`,
      );
    }
  }
  return bound;
}

async function bindOne(input: SubPathInput, index: number): Promise<string> {
  const { podsDir, pod, container, volumes, vars } = input;
  const mount = container.volumeMounts![index]!;
  const volume = volumes.get(mount.name);
  if (!volume) throw new ContainerConfigError(`volume "${mount.name}" is not set up`);
  const path = mount.subPathExpr ? expandAll(mount.subPathExpr, vars) : mount.subPath!;
  if (path.startsWith('/') || path.split('/').includes('..'))
    throw new RangeError(`${JSON.stringify(path)} must be a relative path without '..'`);
  const target = join(
    podDir(podsDir, pod.metadata.uid),
    'volume-subpaths',
    mount.name,
    container.name,
    `${index}`,
  );
  const fd = openBeneath(volume.path, path, { createMode: statSync(volume.path).mode & 0o7777 });
  try {
    await makeTarget(target, fstatSync(fd).isDirectory() ? 'folder' : 'file');
    await bindMount({ source: pathOfFd(fd), target });
  } finally {
    closeSync(fd);
  }
  return target;
}

/** What the container before was shown is taken away; what it still shows is not touched. */
async function makeTarget(target: string, kind: 'folder' | 'file'): Promise<void> {
  await unmount(target);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
  if (kind === 'folder') mkdirSync(target);
  else writeFileSync(target, '', { mode: 0o600 });
}
