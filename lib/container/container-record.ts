// The intent and the outcome of one container, as container.json keeps it: written before anything is made, so that
// a daemon that starts after a crash knows what may exist. Assumes /run dies with the boot. One small file each.
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { NodePaths } from '../kernel/paths.ts';
import type { ProcessIdentity } from '../kernel/process.ts';
import type { ContainerConfig, ContainerStatus } from './cri.ts';

export interface ContainerExit {
  readonly code: number;
  /** RFC 3339. */
  readonly finishedAt: string;
  /** Completed, Error, OOMKilled, StartError, ContainerStatusUnknown */
  readonly reason: string;
  readonly message?: string;
}

export interface ContainerRecord {
  readonly id: string;
  readonly sandboxId: string;
  readonly podUid: string;
  readonly namespace: string;
  readonly podName: string;
  readonly config: ContainerConfig;
  readonly imageId: string;
  /** Path of the OCI runtime that made it: only that one understands its state. */
  readonly ociRuntime?: string;
  readonly createdAt: string;
  /** Relative to the hierarchies: podwire/pod<uid>/<id> */
  readonly cgroup: string;
  /** Number of the signal that asks it to stop. */
  readonly stopSignal: number;
  /** Not alone in its pid namespace: its end does not end what it started. */
  readonly sharesPids: boolean;
  /**
   * creating: half made, to be undone after a crash · created: waits for start · starting: start was asked for ·
   * running · exited: `exit` tells how
   */
  state: 'creating' | 'created' | 'starting' | 'running' | 'exited';
  pid?: ProcessIdentity;
  conmon?: ProcessIdentity;
  startedAt?: string;
  /** The runtime could not make it; told when it is started. */
  startError?: string;
  exit?: ContainerExit;
}

const idPattern = /^[0-9a-f]{64}$/;

export const newContainerId = (): string => randomBytes(32).toString('hex');
export const isContainerId = (text: string): boolean => idPattern.test(text);

/** Paths of one container. Pure. @throws TypeError when the id is none, for it becomes a path */
export function containerFiles(paths: NodePaths, id: string) {
  if (!isContainerId(id))
    throw new TypeError(`${JSON.stringify(id)} is no container id (64 hexadecimal digits)`);
  const bundle = join(paths.containers, id);
  const overlay = join(paths.overlay, id);
  return {
    bundle,
    record: join(bundle, 'container.json'),
    config: join(bundle, 'config.json'),
    rootfs: join(bundle, 'rootfs'),
    pid: join(bundle, 'pid'),
    conmonPid: join(bundle, 'conmon.pid'),
    conmonLog: join(bundle, 'conmon.log'),
    /** conmon's fifo for commands, and the socket (SOCK_SEQPACKET) of those who attach. */
    ctl: join(bundle, 'ctl'),
    attach: join(bundle, 'attach'),
    /** Made by conmon when the kernel killed for want of memory. */
    oom: join(bundle, 'oom'),
    scratch: join(bundle, 'scratch'),
    overlay,
    upper: join(overlay, 'upper'),
    work: join(overlay, 'work'),
    /** What a container in a user namespace is made from; only while it is made. */
    stage: join(paths.userns, id),
    exit: join(paths.exits, id),
    /** The OCI runtime's own state. */
    runtimeState: join(runtimeStateDir(paths), id),
  };
}
export type ContainerFiles = ReturnType<typeof containerFiles>;

export const runtimeStateDir = (paths: NodePaths): string => join(paths.run, 'oci');

export function saveContainer(files: ContainerFiles, record: ContainerRecord): void {
  replaceFile(files.record, JSON.stringify(record), { durable: false });
}

/** All containers of a node; one whose record cannot be read gives its id only, to be taken down blindly. */
export function loadContainers(paths: NodePaths): Array<{ id: string; record: ContainerRecord | undefined }> {
  let names: string[];
  try {
    names = readdirSync(paths.containers);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.filter(isContainerId).map((id) => ({ id, record: parseRecord(paths, id) }));
}

function parseRecord(paths: NodePaths, id: string): ContainerRecord | undefined {
  try {
    const text = readIfThere(containerFiles(paths, id).record);
    return text === undefined ? undefined : (JSON.parse(text) as ContainerRecord);
  } catch {
    return undefined;
  }
}

/** What the kubelet sees. Pure. */
export function toContainerStatus(record: ContainerRecord): ContainerStatus {
  const { id, sandboxId, podUid, config, imageId, createdAt, startedAt, exit, state } = record;
  return {
    id,
    sandboxId,
    podUid,
    name: config.name,
    attempt: config.attempt,
    image: config.image,
    imageId,
    hash: config.hash,
    state: state === 'running' || state === 'exited' ? state : 'created',
    createdAt,
    logPath: config.logPath,
    ...(startedAt === undefined ? {} : { startedAt }),
    ...(exit === undefined
      ? {}
      : {
          finishedAt: exit.finishedAt,
          exitCode: exit.code,
          reason: exit.reason,
          ...(exit.message === undefined ? {} : { message: exit.message }),
        }),
  };
}
