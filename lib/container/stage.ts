// What a container in a user namespace is made from: its root and its mounts, shown to that namespace's ids in a folder
// that they can pass through. crun 1.8 and runc 1.1 map no owners themselves and open every source as the Pod's own root.
// Assumes the user namespace is held by a file. It stands while the container is made, not longer: the container keeps
// copies of its own. A mount of 20 microseconds for each source; unknown to containers without such a namespace.
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import type { Exec } from '../exec/exec.ts';
import { KernelError } from '../kernel/errors.ts';
import { copyMount } from '../kernel/idmapped-mount.ts';
import { detachTree, mountOf, mountOverlay, unmount } from '../kernel/mount.ts';
import { isAlive } from '../kernel/process.ts';
import type { IdRange } from '../kernel/user-namespace.ts';
import type { ContainerFiles, ContainerRecord } from './container-record.ts';
import type { ContainerConfig } from './cri.ts';
import type { ImageRoot } from './image/store.ts';
import type { SandboxMounts, UserNamespace } from './oci/spec.ts';
import type { ProcessUser } from './oci/user.ts';

export interface StageInput {
  readonly config: ContainerConfig;
  readonly image: ImageRoot;
  readonly sandbox: SandboxMounts;
}

/** The same input and files, but with what the container is to be made from in their places. */
export interface Staged<T extends StageInput> {
  readonly input: T;
  readonly files: ContainerFiles;
}

/** @throws KernelError naming the source whose owners this machine cannot map; removeStage then takes the rest away */
export async function stage<T extends StageInput>(
  input: T,
  { userns, files }: { readonly userns: UserNamespace; readonly files: ContainerFiles },
  exec?: Exec,
): Promise<Staged<T>> {
  const { sandbox, config } = input;
  const { path } = userns;
  mkdirSync(dirname(files.stage), { recursive: true });
  chmodSync(dirname(files.stage), 0o711);
  // Only the Pod's own root passes, and no other user of the machine.
  mkdirSync(files.stage, { mode: 0o700 });
  chownSync(files.stage, 0, userns.ids.first);
  chmodSync(files.stage, 0o710);
  const rootfs = await stageRoot({ image: input.image, userns }, files, exec);
  const place = (name: string, source: string): string => {
    const target = join(files.stage, name);
    if (statSync(source).isDirectory()) mkdirSync(target);
    else writeFileSync(target, '', { mode: 0o600 });
    return target;
  };
  const mounts = config.mounts.map((mount, index) => {
    const target = place(`mount-${index}`, mount.hostPath);
    copyMount({ source: mount.hostPath, target, userns: path, recursive: true });
    return { ...mount, hostPath: target, lockedOptions: lockedOptions(target) };
  });
  // The Pod's own files belong to its ids already.
  const own = (name: string, source: string): string => {
    const target = place(name, source);
    copyMount({ source, target });
    return target;
  };
  const { hostsPath, resolvConfPath, hostnamePath, shmPath } = sandbox;
  return {
    files: { ...files, rootfs },
    input: {
      ...input,
      config: { ...config, mounts },
      sandbox: {
        ...sandbox,
        lockedOptions: lockedOptions(hostsPath),
        hostsPath: own('hosts', hostsPath),
        resolvConfPath: own('resolv.conf', resolvConfPath),
        hostnamePath: own('hostname', hostnamePath),
        shmPath: own('shm', shmPath),
      },
    },
  };
}

/** From inside a user namespace a mount cannot be made read-only without saying again what else it is. */
const lockedOptions = (path: string): string[] =>
  mountOf(path).options.filter((option) => ['nosuid', 'nodev', 'noexec'].includes(option));

/** The upper layer holds the ids as the machine has them, so only the layers of the image are mapped. */
async function stageRoot(
  { image, userns }: { readonly image: ImageRoot; readonly userns: UserNamespace },
  files: ContainerFiles,
  exec: Exec | undefined,
): Promise<string> {
  const lower = image.lower.map((source, index) => {
    const target = join(files.stage, `layer-${index}`);
    mkdirSync(target);
    copyMount({ source, target, userns: userns.path });
    return target;
  });
  const target = join(files.stage, rootName);
  mkdirSync(target);
  mkdirSync(files.overlay, { recursive: true, mode: 0o700 });
  mkdirSync(files.work, { mode: 0o700 });
  mkdirSync(files.upper);
  const root = statSync(lower[0]!); // as the Pod sees it
  chmodSync(files.upper, root.mode & 0o7777);
  chownSync(files.upper, root.uid, root.gid);
  const layers = { lower: lower as [string, ...string[]], upper: files.upper, work: files.work };
  await mountOverlay({ ...layers, target }, exec).catch((cause) => {
    if (!(cause instanceof KernelError) || cause.code !== 'EINVAL') throw cause;
    const why = `the image: hostUsers: false needs an overlay of layers with mapped owners, which Linux ${release()} does not make (5.19 and later do)`;
    throw new KernelError('EINVAL', target, why, { cause });
  });
  for (const layer of lower) await unmount(layer, exec); // the overlay holds them
  return target;
}

/**
 * What a container that was made needs no longer: it has copies of the mounts. Of its streams, which conmon made, it could
 * not open /dev/stderr anew: they become its user's. (crun sees to that; runc 1.1 is not allowed to.)
 */
export async function handOver(
  { record, files }: { readonly record: ContainerRecord; readonly files: ContainerFiles },
  { user, ids }: { readonly user: ProcessUser; readonly ids: IdRange },
  exec?: Exec,
): Promise<void> {
  if (!record.pid || !isAlive(record.pid)) return; // what could not be made is removed as a whole
  for (const fd of [0, 1, 2]) {
    const path = `/proc/${record.pid.pid}/fd/${fd}`;
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO())
      chownSync(path, ids.first + user.uid, ids.first + user.gid);
  }
  await clearStage(files.stage, exec);
  mkdirSync(join(files.stage, rootName)); // `runc exec` begins in it, or it would not begin
}

/** Takes it away. Repeatable. Never follows a mount: what would not be unmounted is not removed either. */
export async function removeStage(folder: string, exec?: Exec): Promise<void> {
  if (!existsSync(folder)) return;
  await clearStage(folder, exec);
  rmdirSync(folder);
}

async function clearStage(folder: string, exec: Exec | undefined): Promise<void> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    // Whole trees: their inner paths lead through folders that the mapping closes, also to us.
    await detachTree(path, exec);
    if (statSync(path).isDirectory()) rmdirSync(path);
    else unlinkSync(path);
  }
}

const rootName = 'rootfs';
