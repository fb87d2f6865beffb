// Who a process is: its stat line, its start time, and signals that never reach a stranger.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import {
  identify,
  isAlive,
  parseStat,
  programOf,
  signal,
  untilReplaced,
} from '../../../lib/kernel/process.ts';

t.test('a stat line whose command holds spaces and parentheses', async (t) => {
  const line = `42 (a) S (b c) R 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2`;
  t.same(parseStat(line), { state: 'R', parent: 7, startTime: '987654' });
  t.equal(parseStat('42 (x'), undefined);
});

t.test('a process is known while it lives, and not after', async (t) => {
  const child = spawn('sleep', ['60']);
  const identity = identify(child.pid!)!;
  t.ok(isAlive(identity));
  t.notOk(isAlive({ ...identity, startTime: '1' }), 'the same pid with another start time is somebody else');
  t.notOk(signal({ ...identity, startTime: '1' }, 'SIGKILL'));
  t.ok(isAlive(identity), 'the stranger was not signalled');
  t.ok(signal(identity, 'SIGKILL'));
  await once(child, 'exit');
  t.notOk(isAlive(identity));
  t.notOk(signal(identity, 'SIGKILL'));
  t.equal(identify(2 ** 22 + 1), undefined);
});

t.test('a process that becomes another program is waited for', async (t) => {
  const child = spawn('sh', ['-c', 'read go; exec sleep 60'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const identity = identify(child.pid!)!;
  const shell = programOf(identity);
  t.type(shell, 'string');
  await untilReplaced(identity, shell, 20);
  t.equal(programOf(identity), shell, 'not for ever');
  const exit = once(child, 'exit');
  const replaced = untilReplaced(identity, shell, 60_000);
  child.stdin!.end('go\n');
  await replaced;
  t.match(programOf(identity), /sleep|coreutils/);
  const ended = untilReplaced(identity, programOf(identity), 60_000);
  child.kill('SIGKILL');
  await ended;
  await exit;
  t.equal(programOf(identity), undefined);
});
