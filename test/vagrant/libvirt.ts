// libvirt for one test file, without systemd, D-Bus or KVM, and out of the machine's sight.
// Assumes the namespaces that test/vm/runner.ts made: mounts, links and processes made here end with them.
// Starts in a second or two; most of it is libvirtd asking qemu what it can do.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { patienceMs, sleep } from '../vm/machine.ts';

const socket = '/run/libvirt/libvirt-sock';

const qemuConf = `security_driver = "none"
user = "root"
group = "root"
remember_owner = 0
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
seccomp_sandbox = 0
`;

/** Starts libvirtd with its files below `folder`. @throws Error with what it said */
export async function startLibvirt(folder: string): Promise<ChildProcess> {
  await run({ argv: ['ip', 'link', 'set', 'lo', 'up'] });
  await run({ argv: ['mount', '-t', 'tmpfs', '-o', 'mode=755', 'run', '/run'] });
  for (const [name, place] of [
    ['etc', '/etc/libvirt'],
    ['lib', '/var/lib/libvirt'],
    ['cache', '/var/cache/libvirt'],
    ['log', '/var/log/libvirt'],
  ] as const) {
    for (const each of [join(folder, name), place]) mkdirSync(each, { recursive: true });
    await run({ argv: ['mount', '--bind', join(folder, name), place] });
  }
  await hideKvm(folder);
  await withQemuUser(folder);
  writeFileSync('/etc/libvirt/qemu.conf', qemuConf);
  const log = join(folder, 'libvirtd.log');
  const conf = { auth_unix_rw: 'none', auth_unix_ro: 'none', log_outputs: `3:file:${log}` };
  const lines = Object.entries(conf).map(([name, value]) => `${name} = "${value}"\n`);
  writeFileSync('/etc/libvirt/libvirtd.conf', lines.join(''));
  const libvirtd = spawn('libvirtd', { stdio: 'ignore' });
  for (const end = performance.now() + patienceMs; !existsSync(socket); await sleep(50))
    if (libvirtd.exitCode !== null || performance.now() > end)
      throw new Error(`libvirtd does not start\n${readFileSync(log, 'utf8').slice(-2000)}`);
  return libvirtd;
}

/** libvirtd looks its default user up though qemu.conf names another; the package that makes the user would start services. */
async function withQemuUser(folder: string): Promise<void> {
  const known = readFileSync('/etc/passwd', 'utf8').includes('\nlibvirt-qemu:');
  for (const [file, line] of [
    ['/etc/passwd', 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n'],
    ['/etc/group', 'libvirt-qemu:x:64055:\n'],
  ] as const) {
    if (known) return;
    const copy = join(folder, basename(file));
    writeFileSync(copy, `${readFileSync(file, 'utf8')}${line}`);
    await run({ argv: ['mount', '--bind', copy, file] });
  }
}

/** A guest may hang on a /dev/kvm that is there. A file instead; read-only, or libvirt asks qemu anew at every call. */
async function hideKvm(folder: string): Promise<void> {
  if (!existsSync('/dev/kvm')) return;
  const none = join(folder, 'no-kvm');
  writeFileSync(none, '');
  await run({ argv: ['mount', '--bind', none, '/dev/kvm'] });
  await run({ argv: ['mount', '-o', 'remount,bind,ro', '/dev/kvm'] });
}
