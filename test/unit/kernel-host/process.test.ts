// Who a process is: its stat line, its start time, and signals that never reach a stranger.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t from 'tap';
import { identify, isAlive, parseStat, signal } from '../../../lib/kernel/process.ts';

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
