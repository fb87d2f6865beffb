// Named network namespaces, as `ip netns` makes them: a bind mount a namespace in /run/netns.
// Assumes iproute2. One or two processes a call; looking costs a file read.
import { existsSync, readdirSync } from 'node:fs';
import type { Exec } from '../exec/exec.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { isAbsent, KernelError, toKernelError } from './errors.ts';
import { ipBatch } from './ip.ts';
import { type Trace, traceFromEnv } from './trace.ts';

const folder = '/run/netns';

/** The path that CNI and nsenter take. @throws KernelError EINVAL for a name that is no plain file name */
export function netnsPath(name: string): string {
  if (!/^[A-Za-z0-9][\w.-]{0,199}$/.test(name))
    throw new KernelError(
      'EINVAL',
      name,
      `netns ${JSON.stringify(name)}: expected letters, digits, '.', '_', '-'`,
    );
  return `${folder}/${name}`;
}

export const netnsExists = (name: string): boolean => existsSync(netnsPath(name));

/** Names of all, whoever made them. */
export function listNetns(): string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

/** Makes a namespace; its loopback is down. @throws KernelError EEXIST where the name is taken */
export async function addNetns(
  name: string,
  exec: Exec = runLazily,
  trace: Trace = traceFromEnv(),
): Promise<void> {
  netnsPath(name);
  await ipBatch([`netns add ${name}`], { exec, trace });
}

/** Gives the network namespace of a process a name. @throws KernelError EEXIST where the name is taken */
export async function attachNetns(name: string, pid: number, exec: Exec = runLazily): Promise<void> {
  netnsPath(name);
  await ipBatch([`netns attach ${name} ${pid}`], { exec, trace: () => {} });
}

/** Brings a namespace's loopback up. Whoever makes the namespace need not wait for it: nothing else depends on it. */
export async function raiseLoopback(
  name: string,
  exec: Exec = runLazily,
  trace: Trace = traceFromEnv(),
): Promise<void> {
  await ipBatch(['link set lo up'], { netns: name, exec, trace });
}

/** Removes the name, and with it the namespace once nothing lives in it. Repeatable. */
export async function deleteNetns(name: string, exec: Exec = runLazily): Promise<void> {
  if (!netnsExists(name)) return;
  try {
    await exec({ argv: ['ip', 'netns', 'del', name] });
  } catch (error) {
    const mapped = toKernelError(error, `netns ${name}`);
    if (!isAbsent(mapped)) throw mapped;
  }
}
