// The intent and outcome of one sandbox, as sandbox.json keeps it: written before anything is made, so that a
// daemon that starts after a crash knows what may exist. Assumes /run dies with the boot. One small file a sandbox.
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PodSandboxConfig, PodSandboxStatus } from '../container/cri.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { ProcessIdentity } from '../kernel/process.ts';
import type { IdRange } from '../kernel/user-namespace.ts';

export interface SandboxRecord {
  readonly id: string;
  readonly config: PodSandboxConfig;
  readonly createdAt: string;
  /** creating: half made, to be undone after a crash · ready · notready: dead but not yet taken down · stopped */
  state: 'creating' | 'ready' | 'notready' | 'stopped';
  ips: string[];
  pause?: ProcessIdentity;
  /** Of its user namespace, if it has one. */
  ids?: IdRange;
}

/** `<pod name, cut to 40>-<10 hex>`: a valid CNI container id and netns name that a person can recognise. */
export function newSandboxId(podName: string): string {
  return `${podName.slice(0, 40).replace(/[.-]+$/, '')}-${randomBytes(5).toString('hex')}`;
}

/** Paths of one sandbox's own folder. Pure. */
export function sandboxFiles(sandboxesDir: string, id: string) {
  const dir = join(sandboxesDir, id);
  return {
    dir,
    record: join(dir, 'sandbox.json'),
    ipc: join(dir, 'ipc'),
    uts: join(dir, 'uts'),
    pid: join(dir, 'pid'),
    user: join(dir, 'user'),
    pausePid: join(dir, 'pause.pid'),
    hosts: join(dir, 'hosts'),
    resolvConf: join(dir, 'resolv.conf'),
    hostname: join(dir, 'hostname'),
    shm: join(dir, 'shm'),
    /** What `podwire explain` reads: each changing ip and nft command, one JSON line each. */
    trace: join(dir, 'network-trace.jsonl'),
    /** The CNI configuration list that the sandbox was attached with. */
    network: join(dir, 'network.json'),
  };
}

export type SandboxFiles = ReturnType<typeof sandboxFiles>;

export function saveRecord(files: SandboxFiles, record: SandboxRecord): void {
  replaceFile(files.record, JSON.stringify(record), { durable: false });
}

/** All records of a node; a folder without a readable record gives its id only, to be taken down blindly. */
export function loadRecords(sandboxesDir: string): Array<SandboxRecord | { id: string; config?: undefined }> {
  let names: string[];
  try {
    names = readdirSync(sandboxesDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names.map((id) => {
    const text = readIfThere(sandboxFiles(sandboxesDir, id).record);
    try {
      return text === undefined ? { id } : (JSON.parse(text) as SandboxRecord);
    } catch {
      return { id };
    }
  });
}

export function toStatus(record: SandboxRecord): PodSandboxStatus {
  const { namespace, name, uid, attempt } = record.config;
  return {
    id: record.id,
    namespace,
    name,
    uid,
    attempt,
    state: record.state === 'ready' ? 'ready' : 'notready',
    createdAt: record.createdAt,
    ips: record.ips,
  };
}
