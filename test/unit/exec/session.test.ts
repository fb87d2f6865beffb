// Sessions end with all that they started, also when they are killed before it is known.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openSession } from '../../../lib/exec/session.ts';
import { until } from '../../until.ts';

for (const tty of [false, true])
  t.test(`killed before the pid is written, ${tty ? 'with' : 'without'} a terminal`, async (t) => {
    const dir = t.testdir();
    const pidFile = join(dir, 'pid');
    const other = join(dir, 'other');
    // As crun exec does: what it starts leads a session of its own, holds the output, and its pid is written late; its
    // exit code is handed on.
    const script = `setsid sleep 61 & echo $! > '${other}'; sleep 0.3; cp '${other}' '${pidFile}'; wait $!`;
    const session = await openSession({ argv: ['sh', '-c', script], tty, stdin: false, pidFile });
    t.teardown(() => session.kill());
    session.kill();
    t.equal(await session.exit, 137, 'it ends, and not by itself');
    const pid = readFileSync(other, 'utf8').trim();
    t.ok(await until(() => !existsSync(`/proc/${pid}`)), 'with what it started elsewhere');
    session.kill();
    t.pass('killing what has ended is no fault');
  });

t.test('without a pid file it is killed at once', async (t) => {
  const session = await openSession({ argv: ['sleep', '61'], tty: false, stdin: false });
  const kills = t.capture(process, 'kill', process.kill);
  session.kill();
  t.match(kills(), [{ args: [Number, 'SIGKILL'] }], 'before kill() returns');
  t.equal(await session.exit, 137);
});
