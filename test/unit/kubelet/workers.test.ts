import { pino } from 'pino';
import t from 'tap';
import { PodWorkers, type SyncOutcome } from '../../../lib/kubelet/pod-workers.ts';
import { until } from '../../until.ts';

const log = pino({ level: 'silent' });
const tick = () => new Promise((resolve) => setTimeout(resolve, 5));

t.test('one sync runs, one is pending, the latest wins', async (t) => {
  const gates: Array<(outcome: SyncOutcome) => void> = [];
  const workers = new PodWorkers(() => new Promise((resolve) => gates.push(resolve)), log);
  workers.wake('a');
  workers.wake('a');
  workers.wake('a');
  t.equal(gates.length, 1, 'the second waits for the first');
  gates[0]?.(undefined);
  await tick();
  t.equal(gates.length, 2, 'three wake-ups make two syncs');
  gates[1]?.('done');
  await tick();
  t.equal(gates.length, 2);
  workers.wake('a');
  t.equal(gates.length, 3, 'a worker that was done begins anew');
});

t.test('Pods do not wait for each other', async (t) => {
  const running: string[] = [];
  const workers = new PodWorkers((uid) => {
    running.push(uid);
    return new Promise(() => {});
  }, log);
  workers.wake('a');
  workers.wake('b');
  t.same(running, ['a', 'b']);
});

t.test('a failed sync is tried again, and close waits for the running one', async (t) => {
  let calls = 0;
  const workers = new PodWorkers(async () => {
    calls += 1;
    if (calls === 1) throw new Error('once');
    await tick();
    return 'done';
  }, log);
  workers.wake('a');
  t.ok(await until(() => calls === 2));
  await workers.close();
  workers.wake('b');
  t.equal(calls, 2, 'nothing starts after close');
});
