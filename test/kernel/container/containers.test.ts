// Real containers by both OCI runtimes from localhost/host: exit codes, logs, exec, stop, limits, outliving the
// daemon, failures that leave nothing. Each node lives under a temporary root and is looked over at the end.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import { removeLog } from '../../../lib/container/log-files.ts';
import { rotateLog } from '../../../lib/container/log-rotation.ts';
import { readLogs } from '../../../lib/container/logs.ts';
import { containerFiles, newContainerId } from '../../../lib/container/container-record.ts';
import { StepClock } from '../../../lib/exec/step-clock.ts';
import { detectCgroups } from '../../../lib/kernel/cgroup.ts';
import { listMounts } from '../../../lib/kernel/mount.ts';
import { ended, makeNode, type Node, security, statusOf, until } from './fixture.ts';

if (process.getuid?.() !== 0) t.bailout('needs root');
t.setTimeout(120_000);

const requestOf = (node: Node, config: ReturnType<Node['config']>) => ({
  sandbox: node.sandbox,
  podUid: node.podUid,
  namespace: 'ns',
  podName: 'pod',
  config,
  clock: new StepClock(),
});
const texts = (lines: readonly string[], stream = 'stdout'): string[] =>
  lines.flatMap((line) => line.match(new RegExp(`^\\S+ ${stream} [FP] ([^\\n]*)$`))?.[1] ?? []);

for (const program of ['crun', 'runc'] as const)
  t.test(program, async (t) => {
    const node = await makeNode(program);
    const runtime = node.runtime();
    t.teardown(() => node.remove());
    t.same(await runtime.recover(), []);

    t.test('exit code, both streams of the log, times, nothing left', async (t) => {
      const config = node.config('echo out; echo err >&2; exit 3');
      const id = await node.run(runtime, config);
      const status = await ended(runtime, id);
      t.match(status, {
        state: 'exited',
        exitCode: 3,
        reason: 'Error',
        name: 'main',
        image: 'localhost/host',
        imageId: '',
      });
      t.ok(status.createdAt <= status.startedAt!, 'created, then started');
      t.ok(Math.abs(Date.parse(status.finishedAt!) - Date.now()) < 60_000, 'finished just now');
      t.same([texts(node.log(config)), texts(node.log(config), 'stderr')], [['out'], ['err']]);
      await runtime.remove(id);
      await runtime.remove(id);
      t.same(node.leftovers(), []);
      t.same(runtime.list(), []);
    });

    t.test('success is Completed, and whoever listens is told', async (t) => {
      const told: string[] = [];
      runtime.onExit((container) => told.push(container.id));
      const id = await node.run(runtime, node.config('true'));
      t.match(await ended(runtime, id), { exitCode: 0, reason: 'Completed' });
      await until('the listener is told', () => told.includes(id));
      await runtime.remove(id);
    });

    t.test('what it sees: namespaces, files, rights, nothing of the node', async (t) => {
      mkdirSync(join(node.paths.state, 'x'), { recursive: true });
      writeFileSync(join(node.paths.state, 'x/secret'), 'secret');
      const script = [
        'hostname; echo $HOSTNAME; cat /etc/hostname; cat /etc/hosts; cat /etc/resolv.conf',
        'grep -E "^(CapEff|Seccomp|NoNewPrivs):" /proc/self/status | tr -d "\\t"',
        `echo $$; ls /run | wc -l; ls ${node.paths.state} | wc -l; ls /var/lib/podwire | wc -l`,
        'touch /run/x && echo run is writable; touch /etc/podwire/x 2>/dev/null || echo etc is closed',
        'echo x > /dev/null && echo devices work; unshare -U true 2>/dev/null || echo no new namespaces',
        'echo x > /proc/sys/kernel/printk 2>/dev/null || echo no sysctls',
        // They lie on the machine's /run, which nobody may fill.
        'for f in hosts hostname resolv.conf; do echo x 2>/dev/null >> /etc/$f || echo $f is read-only; done',
      ];
      const config = node.config(script.join('\n'));
      await ended(runtime, await node.run(runtime, config));
      t.same(texts(node.log(config)), [
        'test-pod',
        'test-pod',
        'test-pod',
        '127.0.0.1 localhost',
        'nameserver 192.0.2.1',
        'CapEff:00000000a80425fb',
        'NoNewPrivs:0',
        'Seccomp:2',
        '1',
        '0',
        '0',
        '0',
        'run is writable',
        'etc is closed',
        'devices work',
        'no new namespaces',
        'no sysctls',
        'hosts is read-only',
        'hostname is read-only',
        'resolv.conf is read-only',
      ]);
    });

    t.test('user, groups, read-only root, no new privileges, folder, variables, volumes', async (t) => {
      const volume = join(node.paths.pods, 'v');
      mkdirSync(volume, { recursive: true });
      writeFileSync(join(volume, 'file'), 'in the volume\n');
      const config = node.config(
        'id -u; id -g; id -G; pwd; echo $A; cat /data/file; touch /data/x 2>/dev/null || echo volume closed; ' +
          'touch /tmp/x 2>/dev/null || echo root closed; grep NoNewPrivs /proc/self/status | tr -d "\\t"',
        {
          security: {
            ...security,
            runAsUser: 1234,
            runAsGroup: 2345,
            supplementalGroups: [3456],
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
          },
          workingDir: '/usr',
          env: [{ name: 'A', value: 'b c' }],
          mounts: [{ hostPath: volume, containerPath: '/data', readOnly: true }],
        },
      );
      await ended(runtime, await node.run(runtime, config));
      t.same(texts(node.log(config)), [
        '1234',
        '2345',
        '2345 3456',
        '/usr',
        'b c',
        'in the volume',
        'volume closed',
        'root closed',
        'NoNewPrivs:1',
      ]);
    });

    t.test('stop: the signal, the grace period, SIGKILL', async (t) => {
      const polite = node.config('trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.01; done', {
        name: 'polite',
      });
      const id = await node.run(runtime, polite);
      await until('it is up', () => texts(node.log(polite)).includes('up'));
      await runtime.stop(id, 10);
      t.match(statusOf(runtime, id), { state: 'exited', exitCode: 7, reason: 'Error' });
      t.same(texts(node.log(polite)), ['up', 'bye']);

      const stubborn = node.config('trap "" TERM; echo up; while :; do sleep 0.05; done', {
        name: 'stubborn',
      });
      const other = await node.run(runtime, stubborn);
      await until('it is up', () => texts(node.log(stubborn)).includes('up'));
      const started = performance.now();
      await runtime.stop(other, 0.3);
      const took = performance.now() - started;
      t.ok(took >= 300, `${took} ms`);
      t.match(statusOf(runtime, other), { exitCode: 137, reason: 'Error' });
      await runtime.stop(other, 5);
      await runtime.stop(newContainerId(), 5);
    });

    t.test('out of memory', async (t) => {
      // A shell variable that doubles: nothing but memory is needed.
      const config = node.config('x=0123456789abcdef; while :; do x=$x$x; done', {
        resources: { memoryLimit: 16 << 20, pidsLimit: 10 },
      });
      const status = await ended(runtime, await node.run(runtime, config));
      t.match(status, { reason: 'OOMKilled', exitCode: 137 });
    });

    t.test('limits reach the kernel', async (t) => {
      const resources = { cpuShares: 512, cpuQuota: 50_000, memoryLimit: 64 << 20, pidsLimit: 20 };
      const id = await node.run(runtime, node.config('sleep 60', { resources }));
      const { mode, unified, v1 } = detectCgroups();
      const read = (controller: string, file: string): string =>
        readFileSync(
          join(mode === 'v2' ? unified! : v1[controller]!, node.sandbox.cgroupParent, id, file),
          'utf8',
        ).trim();
      const v2 = mode === 'v2';
      t.equal(read('memory', v2 ? 'memory.max' : 'memory.limit_in_bytes'), `${64 << 20}`);
      t.equal(read('pids', 'pids.max'), '20');
      t.equal(read('cpu', v2 ? 'cpu.max' : 'cpu.cfs_quota_us'), v2 ? '50000 100000' : '50000');
      await runtime.remove(id);
    });

    t.test('exec: output, exit code, input, user and rights of the container', async (t) => {
      const config = node.config('sleep 60', {
        security: { ...security, runAsUser: 1234, capabilitiesDrop: ['ALL'] },
        env: [{ name: 'A', value: '1' }],
      });
      const id = await node.run(runtime, config);
      const exec = async (script: string, input?: string) => {
        const session = await runtime.exec(id, {
          argv: ['sh', '-c', script],
          tty: false,
          stdin: input !== undefined,
        });
        const [out, err]: [Buffer[], Buffer[]] = [[], []];
        session.onStdout((chunk) => out.push(chunk));
        session.onStderr((chunk) => err.push(chunk));
        if (input !== undefined) session.writeStdin(Buffer.from(input));
        session.closeStdin();
        const code = await session.exit;
        return { code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() };
      };
      t.same(await exec('echo a; echo b >&2; exit 5'), { code: 5, out: 'a\n', err: 'b\n' });
      t.match(await exec('id -u; echo $A; grep -E "^(CapBnd|Seccomp):" /proc/self/status | tr -d "\\t"'), {
        out: '1234\n1\nCapBnd:0000000000000000\nSeccomp:2\n',
      });
      t.match(await exec('cat', 'through\n'), { code: 0, out: 'through\n' });
      t.match(await exec('read x || echo closed'), { out: 'closed\n' });
      t.match(await exec('head -c 300000 /dev/zero | tr "\\0" x'), { out: /^x{300000}$/ });
      await runtime.remove(id);
      await t.rejects(runtime.exec(id, { argv: ['true'], tty: false, stdin: false }), {
        code: 'ContainerNotFound',
      });
      t.same(
        node.leftovers().filter((what) => what === id),
        [],
      );
    });

    t.test('exec of what is not there, exec in what does not run', async (t) => {
      const id = await node.run(runtime, node.config('sleep 60'));
      const session = await runtime.exec(id, { argv: ['nosuch'], tty: false, stdin: false });
      const err: Buffer[] = [];
      session.onStderr((chunk) => err.push(chunk));
      t.not(await session.exit, 0);
      t.match(Buffer.concat(err).toString(), /nosuch.*not found/);
      await runtime.kill(id);
      await t.rejects(runtime.exec(id, { argv: ['true'], tty: false, stdin: false }), {
        code: 'ContainerNotRunning',
      });
    });

    t.test('exec with a terminal: one stream, its size, kill', async (t) => {
      const id = await node.run(runtime, node.config('sleep 60'));
      const session = await runtime.exec(id, { argv: ['sh'], tty: true, stdin: true });
      let seen = '';
      session.onStdout((chunk) => {
        seen += chunk.toString();
      });
      session.writeStdin(Buffer.from('tty; echo $TERM\n'));
      await until('a terminal', () => /\/dev\/(pts\/|console)/.test(seen) && seen.includes('xterm'));
      session.resize(111, 33);
      await until('the new size', () => {
        session.writeStdin(Buffer.from('stty size\n'));
        return seen.includes('33 111');
      });
      session.writeStdin(Buffer.from('exit 9\n'));
      t.equal(await session.exit, 9);

      const long = await runtime.exec(id, {
        argv: ['sh', '-c', 'echo up; sleep 61'],
        tty: false,
        stdin: false,
      });
      let up = false;
      long.onStdout(() => {
        up = true;
      });
      await until('it is up', () => up);
      long.kill();
      t.not(await long.exit, 0);
      await until(
        'nothing of it runs',
        () => !processesOf(node, id).some((line) => line.includes('sleep 61')),
      );
      t.match(statusOf(runtime, id), { state: 'running' });
      await runtime.remove(id);
    });

    t.test('a container with a terminal', async (t) => {
      const config = node.config('tty; echo $TERM', { tty: true, stdin: true });
      t.match(await ended(runtime, await node.run(runtime, config)), { exitCode: 0 });
      t.match(texts(node.log(config)).join(), /^\/dev\/(pts\/0|console)\r?,xterm/);
    });

    t.test('commands that cannot be started', async (t) => {
      for (const [command, message] of [
        ['nosuch', 'exec: "nosuch": executable file not found in $PATH'],
        ['/etc/hostname', 'exec: "/etc/hostname": permission denied'],
      ] as const) {
        const config = node.config('', { command: [command] });
        const id = await runtime.create(requestOf(node, config));
        t.match(statusOf(runtime, id), { state: 'created' });
        await t.rejects(runtime.start(id), {
          code: 'RunContainerError',
          message: `container main: ${message}`,
        });
        t.match(statusOf(runtime, id), { state: 'exited', exitCode: 128, reason: 'StartError', message });
        t.same(listMounts(join(node.paths.containers, id)), [], 'nothing stays mounted');
        t.notOk(existsSync(join(node.paths.overlay, id)));
        await runtime.remove(id);
      }
    });

    t.test('what cannot be made leaves nothing', async (t) => {
      for (const { id } of runtime.list()) await runtime.remove(id);
      const cases = [
        {
          name: 'image',
          config: node.config('', { image: 'nosuch/image' }),
          code: 'ErrImageNeverPull',
          message: /nosuch\/image/,
        },
        {
          name: 'volume',
          config: node.config('', {
            mounts: [{ hostPath: '/no/such', containerPath: '/x', readOnly: true }],
          }),
          code: 'CreateContainerError',
          message: /mount \/x: \/no\/such does not exist/,
        },
        {
          name: 'root refused',
          config: node.config('', { security: { ...security, runAsNonRoot: true } }),
          code: 'CreateContainerConfigError',
          message: /runAsNonRoot/,
        },
        {
          name: 'capability',
          config: node.config('', { security: { ...security, capabilitiesAdd: ['NOSUCH'] } }),
          code: 'CreateContainerConfigError',
          message: /"NOSUCH" is no Linux capability/,
        },
        {
          name: 'command',
          config: node.config('', { command: [] }),
          code: 'CreateContainerError',
          message: /no command/,
        },
        {
          name: 'log folder',
          config: node.config('', { logPath: '/etc/hostname/x/0.log' }),
          code: 'CreateContainerError',
          message: /hostname/,
        },
      ];
      for (const c of cases) {
        await t.rejects(
          runtime.create(requestOf(node, c.config)),
          { code: c.code, message: c.message },
          c.name,
        );
        t.same(node.leftovers(), [], c.name);
        t.same(runtime.list(), [], c.name);
      }
      await t.rejects(runtime.create({ ...requestOf(node, node.config('')), id: '../../x' }), {
        message: /is no container id/,
      });
    });

    t.test('containers outlive the daemon, and their true ends are seen', async (t) => {
      const first = node.runtime();
      const lives = await node.run(first, node.config('sleep 60', { name: 'lives' }));
      const dies = await node.run(first, node.config('sleep 0.2; exit 42', { name: 'dies' }));
      const waits = await first.create(requestOf(node, node.config('exit 8', { name: 'waits' })));
      const started = statusOf(first, lives)!.startedAt;
      await first.close();
      await until('it died unseen', () => existsSync(join(node.paths.exits, dies)));

      const second = node.runtime();
      const records = await second.recover();
      t.same(records.map((record) => record.config.name).sort(), ['dies', 'lives', 'waits']);
      t.match(statusOf(second, lives), { state: 'running', startedAt: started });
      t.match(statusOf(second, dies), { state: 'exited', exitCode: 42, reason: 'Error' });
      t.match(statusOf(second, waits), { state: 'created' });
      await second.start(waits);
      t.match(await ended(second, waits), { exitCode: 8 });
      await second.stop(lives, 0);
      t.match(statusOf(second, lives), { state: 'exited', exitCode: 137 });
      for (const { id } of second.list()) await second.remove(id);
      t.same(node.leftovers(), []);
      await second.close();
    });

    t.test('a daemon that was told another OCI runtime leaves containers to theirs', async (t) => {
      const first = node.runtime();
      const runs = await node.run(first, node.config('sleep 60', { name: 'runs' }));
      const waits = await first.create(requestOf(node, node.config('exit 8', { name: 'waits' })));
      await first.close();
      const second = node.runtime(program === 'crun' ? 'runc' : 'crun');
      await second.recover();
      const session = await second.exec(runs, { argv: ['sh', '-c', 'exit 7'], tty: false, stdin: false });
      t.equal(await session.exit, 7, 'exec');
      await second.start(waits);
      t.match(await ended(second, waits), { exitCode: 8 }, 'start');
      for (const { id } of second.list()) await second.remove(id);
      t.same(node.leftovers(), []);
      await second.close();
    });

    t.test('what containers wrote before a reboot goes when nobody knows them any more', async (t) => {
      const files = containerFiles(node.paths, newContainerId());
      mkdirSync(files.upper, { recursive: true });
      const fresh = node.runtime();
      const id = await node.run(fresh, node.config('sleep 60'));
      await fresh.close();
      const second = node.runtime();
      await second.recover();
      t.notOk(existsSync(files.overlay), 'the unknown one');
      t.ok(existsSync(containerFiles(node.paths, id).upper), 'not one that runs');
      await second.remove(id);
      t.same(node.leftovers(), []);
      await second.close();
    });

    t.test('half-made containers are undone, also those without a readable record', async (t) => {
      const first = node.runtime();
      const id = await node.run(first, node.config('sleep 60'));
      const other = await node.run(first, node.config('sleep 60'));
      await first.close();
      const files = containerFiles(node.paths, id);
      const record = JSON.parse(readFileSync(files.record, 'utf8')) as object;
      writeFileSync(files.record, JSON.stringify({ ...record, state: 'creating' }));
      const second = node.runtime();
      t.same(
        (await second.recover()).map((one) => one.id),
        [other],
      );
      t.notOk(existsSync(files.bundle));
      await second.remove(other);
      const broken = containerFiles(node.paths, newContainerId());
      mkdirSync(broken.bundle);
      writeFileSync(broken.record, '{');
      const third = node.runtime();
      t.same(await third.recover(), []);
      t.same(node.leftovers(), []);
      for (const one of [second, third]) await one.close();
    });

    t.test(
      'a start that was under way is finished, never taken for one that was not asked for',
      async (t) => {
        const first = node.runtime();
        const ran = await node.run(first, node.config('sleep 60'));
        const not = await first.create(requestOf(node, node.config('sleep 60')));
        await first.close();
        for (const id of [ran, not]) {
          const { record } = containerFiles(node.paths, id);
          const text = JSON.parse(readFileSync(record, 'utf8')) as object;
          writeFileSync(record, JSON.stringify({ ...text, state: 'starting' }));
        }
        const second = node.runtime();
        await second.recover();
        t.equal(statusOf(second, ran)!.state, 'running');
        t.equal(
          statusOf(second, not)!.state,
          'running',
          "the dead daemon's own crun may have been about to start it",
        );
        for (const id of [ran, not]) await second.remove(id);
        await second.close();
      },
    );

    t.test('a conmon that dies takes its container with it', async (t) => {
      const fresh = node.runtime();
      const id = await node.run(fresh, node.config('sleep 60'));
      const conmon = Number(readFileSync(containerFiles(node.paths, id).conmonPid, 'utf8'));
      process.kill(conmon, 'SIGKILL');
      const status = await ended(fresh, id);
      t.match(status, { exitCode: 137, reason: 'ContainerStatusUnknown', message: /conmon/ });
      t.same(processesOf(node, id), []);
      await fresh.remove(id);
      t.same(node.leftovers(), []);
      await fresh.close();
    });

    t.test('a full log is put aside without losing a line, also for one who follows it', async (t) => {
      // The n-th five thousand lines are more than a file may hold; before the next ones it waits until it was put aside n times.
      const script =
        'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo line $i; [ $((i % 5000)) = 0 ] && until [ -e /aside/$((i / 5000)) ]; do sleep 0.02; done; done; sleep 1000';
      const aside = join(node.paths.state, 'aside');
      mkdirSync(aside);
      const mounts = [{ hostPath: aside, containerPath: '/aside', readOnly: true }];
      const config = node.config(script, { name: 'talks', mounts });
      const { logPath: path } = config;
      const id = await node.run(runtime, config);
      const isFinished = () => statusOf(runtime, id)!.state === 'exited';
      const seen: string[] = [];
      const follower = (async () => {
        for await (const line of readLogs({ path, follow: true, isFinished })) seen.push(`${line}`);
      })();
      const reopen = () => runtime.reopenLog(id);
      const limits = { maxBytes: 100_000, maxFiles: 40 };
      let times = 0;
      await until('all is written, and put aside six times', async () => {
        const isAside = await rotateLog({ path, limits, reopen }).catch((error) => {
          if (error.code !== 'LOG_ROTATION') throw error;
          return false; // conmon was not given the time to begin a new one; the next look does it
        });
        if (isAside) writeFileSync(join(aside, `${++times}`), '');
        return times >= 6 && seen.at(-1) === 'line 30000\n';
      });
      await runtime.stop(id, 0);
      await follower;
      const want = Array.from({ length: 30_000 }, (_, at) => `line ${at + 1}\n`);
      t.same(seen, want, 'followed');
      const again: string[] = [];
      for await (const line of readLogs({ path })) again.push(`${line}`);
      t.same(again, want, 'read');
      await runtime.remove(id);
      await removeLog(path);
      t.same(readdirSync(dirname(path)), []);
    });

    t.test('the log is followed to the end', async (t) => {
      const config = node.config('for i in 1 2 3; do echo line $i; sleep 0.05; done');
      const id = await node.run(runtime, config);
      const isFinished = () => statusOf(runtime, id)!.state === 'exited';
      let text = '';
      for await (const chunk of readLogs({ path: config.logPath, follow: true, isFinished })) text += chunk;
      t.equal(text, 'line 1\nline 2\nline 3\n');
      await runtime.remove(id);
    });
  });

/** Command lines of what runs in a container's cgroup. */
function processesOf(node: Node, id: string): string[] {
  const { mode, unified, v1 } = detectCgroups();
  const group = join(mode === 'v2' ? unified! : v1.pids!, node.sandbox.cgroupParent, id);
  if (!existsSync(group)) return [];
  const pids = readFileSync(join(group, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean);
  return pids.flatMap((pid) => {
    try {
      return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
    } catch {
      return []; // it ended meanwhile
    }
  });
}
