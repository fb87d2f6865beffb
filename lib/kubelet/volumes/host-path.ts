// hostPath: a path of the machine, checked to be what its `type` says, made where the type says so.
// Assumes an absolute path without `..`. It is never removed and its mode never changed: it is not the Pod's.
// Source: kubelet's host_path; the words of its errors are known to people.
import { mkdirSync, statSync, type Stats, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { VolumeError, type VolumeOnNode } from './volume.ts';

const types: Record<
  string,
  { is: (stats: Stats) => boolean; noun: string; create?: 'directory' | 'file' } | undefined
> = {
  Directory: { is: (s) => s.isDirectory(), noun: 'a directory' },
  DirectoryOrCreate: { is: (s) => s.isDirectory(), noun: 'a directory', create: 'directory' },
  File: { is: (s) => s.isFile(), noun: 'a file' },
  FileOrCreate: { is: (s) => s.isFile(), noun: 'a file', create: 'file' },
  Socket: { is: (s) => s.isSocket(), noun: 'a socket file' },
  CharDevice: { is: (s) => s.isCharacterDevice(), noun: 'a character device' },
  BlockDevice: { is: (s) => s.isBlockDevice(), noun: 'a block device' },
};

export function setUpHostPath(name: string, source: { path: string; type?: string }): VolumeOnNode {
  const { path, type = '' } = source;
  const stats = statSync(path, { throwIfNoEntry: false });
  const wanted = types[type];
  if (!wanted) {
    // No type, no check; a missing path becomes a folder, as container engines do for bind mounts.
    if (!stats) mkdirSync(path, { recursive: true, mode: 0o755 });
  } else if (!stats && wanted.create === 'directory') mkdirSync(path, { recursive: true, mode: 0o755 });
  else if (!stats && wanted.create === 'file') {
    if (!statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory())
      throw new VolumeError(name, `hostPath type check failed: the folder of ${path} does not exist`);
    writeFileSync(path, '', { mode: 0o644, flag: 'wx' });
  } else if (!stats || !wanted.is(stats))
    throw new VolumeError(name, `hostPath type check failed: ${path} is not ${wanted.noun}`);
  return { path, readOnly: false };
}
