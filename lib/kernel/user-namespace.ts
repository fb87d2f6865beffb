// A user namespace with ids of its own, and the network, ipc and uts namespaces that belong to it, each held by a file.
// Assumes root of the machine's own user namespace, util-linux and iproute2 5.1. Three short processes.
import { writeFileSync } from 'node:fs';
import { messageOf } from '../exec/errors.ts';
import type { Exec } from '../exec/exec.ts';
import { type ExecSession, openSession } from '../exec/session.ts';
import { KernelError } from './errors.ts';
import { bindMount } from './mount.ts';
import { attachNetns } from './netns.ts';

/** Users and groups 0 to length-1 inside are `first` and following on the machine. */
export interface IdRange {
  readonly first: number;
  readonly length: number;
}

export interface OwnedNamespaces {
  readonly ids: IdRange;
  /** Files, made before, that hold the namespaces from then on. */
  readonly pins: { readonly user: string; readonly ipc: string; readonly uts: string };
  /** Name that the network namespace gets. */
  readonly netns: string;
  readonly hostname: string;
}

/** @throws KernelError with what unshare or ip said; pins that were made are for the caller to unmount */
export async function makeOwnedNamespaces(wanted: OwnedNamespaces, exec: Exec): Promise<void> {
  const { ids, pins, netns, hostname } = wanted;
  // The shell tells that it is inside, and waits: only a process can be given a map, and hold what has no file yet.
  const first = await openSession({
    argv: ['unshare', '--user', '--net', '--ipc', '--uts', '--', 'sh', '-c', 'echo $$; read -r end'],
    tty: false,
    stdin: true,
  });
  try {
    const pid = await reportedPid(first);
    mapIds(pid, ids);
    for (const kind of ['user', 'ipc', 'uts'] as const)
      await bindMount({ source: `/proc/${pid}/ns/${kind}`, target: pins[kind] });
    await attachNetns(netns, pid, exec);
  } finally {
    first.closeStdin();
    await first.exit;
  }
  await exec({ argv: ['nsenter', `--uts=${pins.uts}`, 'hostname', hostname] });
}

function mapIds(pid: number, { first, length }: IdRange): void {
  try {
    for (const map of ['uid_map', 'gid_map']) writeFileSync(`/proc/${pid}/${map}`, `0 ${first} ${length}\n`);
  } catch (cause) {
    const what = `user namespace: ids ${first} to ${first + length - 1} of this machine cannot be mapped into it`;
    throw new KernelError('EPERM', what, `${what}: ${messageOf(cause)}`, { cause });
  }
}

async function reportedPid(session: ExecSession): Promise<number> {
  let said = '';
  let failed = '';
  session.onStderr((chunk) => {
    failed += chunk.toString();
  });
  const line = new Promise<string>((resolve) => {
    session.onStdout((chunk) => {
      said += chunk.toString();
      if (said.includes('\n')) resolve(said);
    });
  });
  const pid = Number(await Promise.race([line, session.exit.then(() => '')]));
  if (pid > 0) return pid;
  const hint = /No space left/.test(failed) ? ' (see /proc/sys/user/max_user_namespaces)' : '';
  throw new KernelError('EUNKNOWN', 'user namespace', `user namespace: ${failed.trim()}${hint}`);
}
