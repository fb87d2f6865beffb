// Mounts, cgroups and daemons of the real kernel, once by system call and once by the programs.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Command, run } from '../../../lib/exec/exec.ts';
import {
  attach,
  cgroupProcs,
  detectCgroups,
  ensureCgroup,
  killCgroup,
  oomKills,
  removeCgroup,
} from '../../../lib/kernel/cgroup.ts';
import {
  bindMount,
  listMounts,
  mountOverlay,
  mountTmpfs,
  unmount,
  unmountAll,
} from '../../../lib/kernel/mount.ts';
import { isAlive, parseStat, signal, startDaemon } from '../../../lib/kernel/process.ts';
import { syscalls } from '../../../lib/kernel/syscall.ts';

if (process.getuid?.() !== 0) t.bailout('needs root');

const scratch = (t: Tap): string => {
  const dir = mkdtempSync(join(tmpdir(), 'podwire host '));
  t.teardown(async () => {
    await unmountAll(dir);
    rmSync(dir, { recursive: true });
  });
  return dir;
};
type Tap = typeof t;

t.test(
  'this Node makes system calls by itself',
  { skip: syscalls() ? false : 'no node:ffi here' },
  async (t) => {
    t.equal(syscalls()!.umount('/proc/self', 0), 22);
  },
);

for (const { name, exec } of [
  { name: 'by call', exec: undefined },
  { name: 'by program', exec: (command: Command) => run(command) },
])
  t.test(`mounts ${name}`, async (t) => {
    const dir = scratch(t as Tap);
    const at = (...parts: string[]): string => join(dir, ...parts);
    for (const folder of ['lower', 'upper', 'work', 'root', 'tmp', 'bound']) mkdirSync(at(folder));
    writeFileSync(at('lower/file'), 'from below');

    await mountOverlay(
      { lower: [at('lower')], upper: at('upper'), work: at('work'), target: at('root') },
      exec,
    );
    writeFileSync(at('root/file'), 'changed');
    t.equal(readFileSync(at('lower/file'), 'utf8'), 'from below');
    t.equal(readFileSync(at('upper/file'), 'utf8'), 'changed');

    await mountTmpfs({ target: at('tmp'), options: 'nosuid,nodev,mode=0700,size=1m' }, exec);
    t.throws(() => writeFileSync(at('tmp/big'), Buffer.alloc(2 << 20)), { code: 'ENOSPC' });
    await bindMount({ source: at('lower'), target: at('bound'), readOnly: true }, exec);
    t.throws(() => writeFileSync(at('bound/file'), 'x'), { code: 'EROFS' });
    t.same(listMounts(dir), [at('root'), at('tmp'), at('bound')]);

    await unmount(at('bound'), exec);
    await unmount(at('bound'), exec);
    await unmount(at('never'), exec);
    t.same(listMounts(dir), [at('root'), at('tmp')]);
    await unmountAll(dir, exec);
    await unmountAll(dir, exec);
    t.same(listMounts(dir), []);
    await t.rejects(bindMount({ source: at('nowhere'), target: at('bound') }, exec), {
      code: /ENOENT|ENODEV/,
    });
  });

t.test('a daemon is a child of init with nothing of ours', async (t) => {
  const dir = scratch(t as Tap);
  const daemon = await startDaemon({ argv: ['sleep', '60'], pidFile: join(dir, 'pid') });
  t.ok(isAlive(daemon));
  t.not(parseStat(readFileSync(`/proc/${daemon.pid}/stat`, 'utf8'))!.parent, process.pid);
  t.ok(signal(daemon, 'SIGKILL'));
  while (isAlive(daemon)) await new Promise((resolve) => setTimeout(resolve, 1));
  await t.rejects(startDaemon({ argv: ['/no/such/program'], pidFile: join(dir, 'pid2') }), {
    message: /no\/such\/program/,
  });
});

t.test('cgroups are made, filled, limited, killed and removed', async (t) => {
  const base = `podwire-test-${process.pid}`;
  const pod = `${base}/poda`;
  t.teardown(() => removeCgroup(base));
  ensureCgroup(pod, { cpuShares: 512, cpuQuota: 50_000, memoryLimit: 64 << 20, pidsLimit: 20 });
  ensureCgroup(pod, {});
  ensureCgroup(`${pod}/pause`, {});
  const { mode, unified, v1 } = detectCgroups();
  const read = (controller: string, file: string): string =>
    readFileSync(join(mode === 'v2' ? unified! : v1[controller]!, pod, file), 'utf8').trim();
  t.equal(read('memory', mode === 'v2' ? 'memory.max' : 'memory.limit_in_bytes'), `${64 << 20}`);
  t.equal(read('pids', 'pids.max'), '20');
  t.equal(read('cpu', mode === 'v2' ? 'cpu.weight' : 'cpu.shares'), mode === 'v2' ? '20' : '512');

  const dir = scratch(t as Tap);
  const daemon = await startDaemon({ argv: ['sleep', '60'], pidFile: join(dir, 'pid') });
  attach(`${pod}/pause`, daemon.pid);
  t.same(cgroupProcs(pod), [daemon.pid], 'seen from above');
  t.equal(oomKills(pod), 0);
  await killCgroup(pod);
  t.notOk(isAlive(daemon));
  await removeCgroup(base);
  await removeCgroup(base);
  t.notOk(existsSync(join(mode === 'v2' ? unified! : v1.pids!, base)));
  t.same(cgroupProcs(pod), []);
  await killCgroup(pod);
  t.throws(() => attach(pod, 1), { code: 'ENOENT' });
});

t.test('warming up moves nobody, also when somebody else has moved us', async (t) => {
  const base = `podwire-test-warm-${process.pid}`;
  t.teardown(async () => {
    await killCgroup(base);
    await removeCgroup(base);
  });
  // In the hierarchy that it writes to, which on a hybrid machine is not the one that limits.
  const { unified, v1 } = detectCgroups();
  const groups = ['a', 'b'].map((name) => join(unified ?? v1.pids!, base, name));
  for (const group of groups) mkdirSync(group, { recursive: true });
  const module = JSON.stringify(join(import.meta.dirname, '../../../lib/kernel/cgroup.ts'));
  const script = `
    const { readFileSync, writeFileSync } = await import('node:fs');
    const { warmCgroupMoves } = await import(${module});
    for (const group of ${JSON.stringify(groups)}) {
      writeFileSync(group + '/cgroup.procs', String(process.pid));
      await warmCgroupMoves();
    }
    console.log(readFileSync('/proc/self/cgroup', 'utf8'));`;
  const { stdout } = await run({ argv: [process.execPath, '--input-type=module', '-e', script] });
  t.match(stdout, new RegExp(`/${base}/b$`, 'm'));
});
