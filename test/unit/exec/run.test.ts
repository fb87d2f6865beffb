// The contract of `run` and of daemons that report, held to by both ways of starting a process.
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { RawResult, TimedCommand } from '../../../lib/exec/command.ts';
import { judge } from '../../../lib/exec/exec.ts';
import { loadFfi } from '../../../lib/exec/ffi.ts';
import { bindCloseFrom, newSpawner, type PosixSpawner, posixSpawner } from '../../../lib/exec/posix-spawn.ts';
import { startReportingDaemonBy } from '../../../lib/exec/reporting-daemon.ts';
import { runExeca } from '../../../lib/exec/run-execa.ts';
import { runPosix } from '../../../lib/exec/run-posix.ts';
import { until } from '../../until.ts';

const spawner = posixSpawner();
const ways: Array<[string, (command: TimedCommand) => Promise<RawResult>]> = [['execa', runExeca]];
if (spawner) ways.push(['posix_spawn', (command) => runPosix(spawner, command)]);
else t.comment('node:ffi is not there: posix_spawn is not tested');

const sh = (script: string): [string, ...string[]] => ['sh', '-c', script];

for (const [name, start] of ways)
  t.test(`run by ${name}`, async (t) => {
    const run = async (command: Omit<TimedCommand, 'timeoutMs'> & { timeoutMs?: number }) => {
      const timed = { timeoutMs: 60_000, ...command };
      return judge(timed, await start(timed));
    };
    t.same(await run({ argv: sh('echo out; echo err >&2') }), {
      stdout: 'out\n',
      stderr: 'err\n',
      exitCode: 0,
    });
    t.same(await run({ argv: ['cat'], input: 'zwölf\n' }), { stdout: 'zwölf\n', stderr: '', exitCode: 0 });
    const big = 'x'.repeat(1_000_000);
    t.equal((await run({ argv: ['cat'], input: big })).stdout, big, 'more than a pipe holds');
    t.equal((await run({ argv: ['true'], input: big })).exitCode, 0, 'a child that does not read');
    if (name === 'posix_spawn')
      t.equal(
        (await run({ argv: ['cat'], input: big, outputBytes: 100 })).stdout.length,
        100,
        'no more than asked for',
      );
    t.equal((await run({ argv: ['cat'] })).stdout, '', 'no input is /dev/null');
    t.equal((await run({ argv: sh('exit 3'), okCodes: [0, 3] })).exitCode, 3);
    t.equal((await run({ argv: ['pwd'], cwd: '/usr' })).stdout, '/usr\n');
    process.env.PODWIRE_SECRET_OF_OURS = 'x';
    const { stdout } = await run({ argv: ['env'], env: { A: '1' } });
    t.match(stdout, /^A=1$/m);
    t.match(stdout, /^LC_ALL=C$/m);
    t.notMatch(stdout, /PODWIRE_SECRET/, 'our environment is not handed on');
    t.equal(
      (await run({ argv: sh('grep SigIgn /proc/self/status | cut -f2') })).stdout.trim(),
      '0'.repeat(16),
      'no signal is ignored',
    );
    const ours = openSync('/etc/passwd', 'r');
    t.notOk(
      (await run({ argv: ['ls', '/proc/self/fd'] })).stdout.split('\n').includes(String(ours)),
      'no descriptor of ours is handed on',
    );
    closeSync(ours);
    t.same(
      (await run({ argv: ['printf', '%s|', 'a b', '', '$(id)', '"'] })).stdout,
      'a b||$(id)|"|',
      'no shell reads the arguments',
    );

    await t.rejects(run({ argv: sh('echo why >&2; exit 4') }), {
      code: 'EXEC_FAILED',
      exitCode: 4,
      message: /exit code 4: why/,
    });
    await t.rejects(run({ argv: sh('kill -9 $$') }), { code: 'EXEC_FAILED', signal: 'SIGKILL' });
    await t.rejects(run({ argv: ['no-such-program-here'] }), { code: 'EXEC_NOT_FOUND' });
    await t.rejects(run({ argv: ['/no/such/program'] }), { code: 'EXEC_NOT_FOUND' });
    await t.rejects(run({ argv: ['sleep', '100'], timeoutMs: 50 }), {
      code: 'EXEC_TIMEOUT',
      message: /50 ms/,
    });
    if (name === 'posix_spawn') {
      const pidFile = join(t.testdir(), 'pid');
      const left = (): number => Number(existsSync(pidFile) && readFileSync(pidFile, 'utf8'));
      const stop = new AbortController();
      const argv = sh(`sleep 100 & echo $! >${pidFile}; exec sleep 100`);
      const killed = t.rejects(run({ argv, signal: stop.signal }), { code: 'EXEC_ABORTED' });
      t.ok(await until(() => left() > 0));
      stop.abort();
      await killed;
      t.ok(isAlive(left()), 'what a killed child had started is not waited for');
      process.kill(left(), 'SIGKILL');
    }
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 50);
    await t.rejects(run({ argv: ['sleep', '100'], signal: abort.signal }), { code: 'EXEC_ABORTED' });
  });

for (const [name, by] of [
  ['posix_spawn', spawner],
  ['node', undefined],
] as const) {
  if (name === 'posix_spawn' && !by) continue; // told above
  t.test(`a daemon that reports, by ${name}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'podwire-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const outputFile = join(folder, 'out');
    const start = (argv: [string, ...string[]], timeoutMs = 60_000) =>
      startReportingDaemonBy(by, { argv, outputFile, timeoutMs, cwd: folder });
    const before = openDescriptors();
    t.equal(
      await start(sh('echo noise; (sleep 0.3 & echo "the line" >&3)')),
      'the line',
      'what it leaves behind is not waited for',
    );
    t.equal(readFileSync(outputFile, 'utf8'), 'noise\n');
    t.equal(await start(sh('pwd >&3')), folder, 'its working folder is given');
    await t.rejects(start(sh('echo trouble; exit 5')), {
      code: 'EXEC_FAILED',
      message: /exit code 5.*trouble/s,
    });
    await t.rejects(start(['sleep', '100'], 100), { code: 'EXEC_TIMEOUT' });
    const pidFile = join(folder, 'pid');
    // On a slow machine its time may be over before it has written anything.
    for (let ms = 200; !existsSync(pidFile); ms *= 2)
      await t.rejects(start(sh(`echo $$ >${pidFile}; echo line >&3; exec sleep 100`), ms), {
        code: 'EXEC_TIMEOUT',
      });
    t.ok(
      await until(() => !existsSync(`/proc/${readFileSync(pidFile, 'utf8').trim()}`)),
      'one that reports and does not end is killed and reaped',
    );
    await t.rejects(start(['no-such-program']), { code: 'EXEC_NOT_FOUND' });
    t.ok(await until(() => openDescriptors() <= before), 'no descriptor stays open');
    const then = openDescriptors();
    for (let times = 0; times < 5; times++)
      await t.rejects(start(['sleep', '1\0']), { code: 'EXEC_FAILED', message: /could not be started/ });
    t.ok(await until(() => openDescriptors() <= then), 'nor when the start fails');
  });
}

t.test('no descriptor stays open when a start fails', { skip: !spawner && 'no posix_spawn' }, async (t) => {
  const before = openDescriptors();
  const command = { argv: ['sleep', '1'] as [string, string], timeoutMs: 60_000, input: '' };
  let pipes = 0;
  const scarce: PosixSpawner = {
    start: (request) => spawner!.start(request),
    wait: (pid) => spawner!.wait(pid),
    pipe() {
      if (++pipes === 2) throw new Error('no file descriptors left');
      return spawner!.pipe();
    },
  };
  const noRoom = await runPosix(scarce, command);
  t.throws(() => judge(command, noRoom), { code: 'EXEC_FAILED', message: /could not be started: no file/ });
  const nul = { ...command, argv: ['sleep', '1\0'] as [string, string] };
  const refused = await runPosix(spawner!, nul);
  t.throws(() => judge(nul, refused), { code: 'EXEC_FAILED', message: /NUL/ });
  t.equal(openDescriptors(), before);
});

const ffi = loadFfi();
t.test(
  'a child gets no descriptor but its own',
  { skip: (!ffi || !spawner) && 'no posix_spawn' },
  async (t) => {
    // One that is not closed on exec, as node-pty leaves its own: dup(2) clears the flag.
    const { dup } = ffi!.dlopen(null, { dup: { return: 'i32', arguments: ['i32'] } }).functions;
    const ours = openSync('/etc/passwd', 'r');
    const inherited: number[] = [];
    t.teardown(() => {
      for (const fd of [ours, ...inherited]) closeSync(fd);
    });
    const spawners = { closefrom: bindCloseFrom(ffi!), 'FD_CLOEXEC on each': undefined };
    for (const [name, closeFrom] of Object.entries(spawners)) {
      if (name === 'closefrom' && !closeFrom) {
        t.comment('the C library has no posix_spawn_file_actions_addclosefrom_np');
        continue;
      }
      const leaky = dup(ours);
      inherited.push(leaky);
      t.match(readFileSync(`/proc/self/fdinfo/${leaky}`, 'utf8'), /^flags:\s*0[01]00000$/m, 'no O_CLOEXEC');
      const way = newSpawner(ffi!, closeFrom);
      const { stdout } = await runPosix(way, { argv: ['ls', '-l', '/proc/self/fd'], timeoutMs: 60_000 });
      t.notMatch(stdout, /passwd/, name);
      t.match(stdout, /2 -> pipe/, 'its own are there');
    }
  },
);

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};
for (const [name, start] of ways)
  t.test(`a program that waits for one elsewhere, by ${name}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'podwire-groups-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const pidFile = join(folder, 'pid');
    const children = join(folder, 'children');
    // As an OCI runtime does: the inner one leads a session of its own, and has a child; the outer one waits for it.
    const inner = `echo $$ > ${pidFile}; sleep 1000 & echo $! > ${children}; wait`;
    const reaped = join(folder, 'reaped');
    const script = `setsid sh -c '${inner}'; echo reaped > ${reaped}; exit 9`;
    const command = { argv: sh(script), pidFile };
    for (const how of ['timedOut', 'aborted'] as const) {
      for (const file of [pidFile, children, reaped]) rmSync(file, { force: true });
      // On a slow machine its time may be over before both have begun.
      for (let ms = 300; !existsSync(children); ms *= 2) {
        const limit =
          how === 'timedOut' ? { timeoutMs: ms } : { timeoutMs: 600_000, signal: AbortSignal.timeout(ms) };
        const result = await start({ ...command, ...limit });
        t.match(result, { timedOut: how === 'timedOut', aborted: how === 'aborted' });
      }
      for (const file of [pidFile, children]) {
        const pid = Number(readFileSync(file, 'utf8'));
        t.ok(pid > 1 && (await until(() => !isAlive(pid))), `${file.slice(folder.length)} is dead`);
      }
      t.ok(existsSync(reaped), 'the outer one had time to wait for it');
    }
    const quick = { timeoutMs: 60_000, pidFile, argv: sh('echo out; exit 3'), okCodes: [3] };
    t.match(judge(quick, await start(quick)), { stdout: 'out\n', exitCode: 3 }, 'one that ends by itself');
    const group = { timeoutMs: 60_000, pidFile, argv: sh('ps -o pgid= -p $$; echo $$') };
    const [pgid, pid] = (await start(group)).stdout.trim().split(/\s+/);
    t.equal(pgid, pid, 'it leads a process group');
  });
