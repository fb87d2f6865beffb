// One machine of a lab: pid, mount, uts and ipc namespaces held by a reaper, beside its network namespace.
// Assumes its network namespace stands. Killing the reaper is a power cut: the kernel ends all that ran in it, and its mounts.
// Two processes a machine; a boot takes 60 ms.
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startDetached } from '../exec/detached.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import { netnsPath } from '../kernel/netns.ts';
import { isAlive, type ProcessIdentity, signal } from '../kernel/process.ts';
import { LabError, type LabMachine } from './plan.ts';

const bootMs = 15_000;

/** Where a machine says that its mounts stand, and which process it is, as the outside knows it. */
export const holderFile = (root: string): string => join(root, 'holder.json');

/** The process that holds the machine, while it lives. */
export function holderOf({ root }: LabMachine): ProcessIdentity | undefined {
  const text = readIfThere(holderFile(root));
  if (text === undefined) return undefined;
  const holder = JSON.parse(text) as ProcessIdentity;
  return isAlive(holder) ? holder : undefined;
}

/**
 * Boots a machine: what lasts is on its disk, `run` is empty as after a real boot, and the boot has an id of its own.
 * @throws LabError LAB_BOOT
 */
export async function boot(
  machine: LabMachine,
  init: readonly [string, ...string[]],
): Promise<ProcessIdentity> {
  const running = holderOf(machine);
  if (running) return running;
  const { root, name, netns } = machine;
  mkdirSync(root, { recursive: true, mode: 0o700 });
  for (const gone of [join(root, 'run'), holderFile(root)]) rmSync(gone, { recursive: true, force: true });
  if (!existsSync(join(root, 'machine-id')))
    replaceFile(join(root, 'machine-id'), `${randomBytes(16).toString('hex')}\n`, { mode: 0o644 });
  replaceFile(join(root, 'boot-id'), `${randomUUID()}\n`, { mode: 0o644, durable: false });
  const namespaces = ['--fork', '--kill-child', '--pid', '--mount', '--uts', '--ipc'];
  const console = join(root, 'console.log');
  const holder = await startDetached({
    argv: ['nsenter', `--net=${netnsPath(netns)}`, 'unshare', ...namespaces, ...init, root, name],
    logFile: console,
  });
  let died = false;
  void holder.ended.then(() => {
    died = true;
  });
  for (const until = Date.now() + bootMs; ; await sleep(3)) {
    const identity = holderOf(machine);
    if (identity) {
      holder.release();
      return identity;
    }
    if (died || Date.now() > until)
      throw new LabError('LAB_BOOT', `${name} did not boot: ${readIfThere(console)?.trim() ?? ''}`);
  }
}

/** A power cut. Resolves when nothing of the machine runs any more. Repeatable. */
export async function powerOff(machine: LabMachine): Promise<void> {
  const holder = holderOf(machine);
  if (!holder) return;
  signal(holder, 'SIGKILL');
  for (const until = Date.now() + bootMs; isAlive(holder); await sleep(3))
    if (Date.now() > until)
      throw new LabError('LAB_STUCK', `${machine.name} (pid ${holder.pid}) does not end after SIGKILL`);
}

/** argv that runs a program inside a machine. @throws LabError LAB_DOWN */
export function inside(machine: LabMachine, argv: readonly [string, ...string[]]): [string, ...string[]] {
  const holder = holderOf(machine);
  if (!holder)
    throw new LabError(
      'LAB_DOWN',
      `${machine.name} is down; boot it with: podwire lab restart ${machine.name}`,
    );
  const namespaces = ['--mount', '--uts', '--ipc', '--net', '--pid'];
  return ['nsenter', '--target', String(holder.pid), ...namespaces, '--', ...argv];
}
