// The first process of a lab's machine: makes mounts, host name and boot id its own, says who it is, and becomes the reaper.
// Assumes it is pid 1 of new pid, mount, uts and ipc namespaces, in the machine's network namespace. Runs once a boot, 50 ms.
import { existsSync, mkdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../exec/find-program.ts';
import { replaceFile } from '../kernel/files.ts';
import { bindMount, bindTree, mountFresh, mountTmpfs, moveMount } from '../kernel/mount.ts';
import { identify } from '../kernel/process.ts';
import { holderFile } from './machine.ts';

const cgroups = '/sys/fs/cgroup';

async function becomeMachine(root: string, name: string): Promise<void> {
  // The outer /proc still stands: it tells the pid by which the outside knows this process.
  const identity = identify(Number(readlinkSync('/proc/self')));
  await mountFresh({ type: 'proc', target: '/proc' });
  await showOwnLinks(root);
  await mountTmpfs({ target: '/run/netns', options: 'mode=0755,nosuid,nodev' });
  // Each machine has an identity of its own, and each boot an id of its own.
  for (const [file, target] of [
    ['machine-id', '/etc/machine-id'],
    ['boot-id', '/proc/sys/kernel/random/boot_id'],
  ] as const)
    if (existsSync(target)) await bindMount({ source: join(root, file), target });
  writeFileSync('/proc/sys/kernel/hostname', name);
  replaceFile(holderFile(root), JSON.stringify(identity), { durable: false });
}

/** /sys tells the links of the namespace it was mounted in; the cgroup hierarchies below it move over to the new one. */
async function showOwnLinks(root: string): Promise<void> {
  const aside = join(root, 'cgroups');
  mkdirSync(aside, { recursive: true });
  await bindTree({ source: cgroups, target: aside });
  await mountFresh({ type: 'sysfs', target: '/sys' });
  await moveMount({ source: aside, target: cgroups });
}

/** Waits for ever, and reaps whoever is left to it. */
function becomeReaper(): never {
  const reaper = findProgram('catatonit');
  const argv = reaper ? [reaper, '-P'] : [findProgram('sleep') ?? '/bin/sleep', 'infinity'];
  process.chdir('/');
  process.execve!(argv[0]!, argv, { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin' });
  throw new Error('execve came back');
}

const [root, name] = process.argv.slice(2);
if (root === undefined || name === undefined) throw new Error('usage: lab-init ROOT NAME');
mkdirSync('/run/netns', { recursive: true });
await becomeMachine(root, name);
becomeReaper();
