// The daemon dies, Pods do not: kill -9 at rest, while a container dies, and in the middle of starts and stops.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { until } from '../until.ts';
import {
  hostPod,
  isRunning,
  killAll,
  netnsNames,
  sleep,
  sleeper,
  startNode,
  type TestNode,
} from './harness.ts';

const countEveryTick = 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done';

const containerId = (pod: Pod, name: string): string =>
  pod.status?.containerStatuses?.find((c) => c.name === name)?.containerID?.replace('podwire://', '') ?? '';
const processesIn = (node: TestNode, pod: Pod, name: string): number[] =>
  cgroupProcs(`${node.paths.cgroup}/pod${pod.metadata.uid}/${containerId(pod, name)}`);

t.test('a Pod outlives kill -9 of podwired', async (t) => {
  const node = await startNode(t);
  await node.apply(hostPod('steady', { a: countEveryTick, b: sleeper }));
  const before = await node.until('steady', isRunning);
  const pids = processesIn(node, before, 'a');
  await node.kill9();
  await sleep(300);
  await node.up();
  const after = await node.until('steady', isRunning);
  t.equal(after.status?.podIP, before.status?.podIP, 'same address');
  t.same(after.status?.containerStatuses, before.status?.containerStatuses, 'nothing was restarted');
  t.equal(Math.min(...processesIn(node, after, 'a')), Math.min(...pids), 'same process');
  const { stdout } = await node.podwire(['logs', 'steady', '-c', 'a']);
  const numbers = stdout.trim().split('\n').map(Number);
  t.same(
    numbers,
    Array.from({ length: numbers.length }, (_, at) => at + 1),
    'the log has no gap',
  );

  await t.test('a container that died while nobody looked is seen with its true exit code', async (t) => {
    await node.apply(
      hostPod(
        'mortal',
        { a: 'trap "exit 42" USR1; echo ready; while :; do sleep 0.05; done' },
        { restartPolicy: 'Never' },
      ),
    );
    const pod = await node.until('mortal', isRunning);
    t.ok(await until(async () => (await node.podwire(['logs', 'mortal'])).stdout === 'ready\n'));
    const first = Math.min(...processesIn(node, pod, 'a')); // the shell, not its sleep
    await node.kill9();
    process.kill(first, 'SIGUSR1');
    await sleep(300);
    await node.up();
    const dead = await node.until('mortal', (p) => p?.status?.phase === 'Failed');
    t.match(dead.status?.containerStatuses?.[0]?.state?.terminated, { exitCode: 42, reason: 'Error' });
  });

  await t.test('a container that has to be restarted after the daemon came back is', async (t) => {
    await node.apply(hostPod('again', { a: sleeper }));
    const pod = await node.until('again', isRunning);
    await node.kill9();
    killAll(processesIn(node, pod, 'a'));
    await node.up();
    const back = await node.until(
      'again',
      (p) => isRunning(p) && p?.status?.containerStatuses?.[0]?.restartCount === 1,
    );
    t.equal(back.status?.podIP, pod.status?.podIP);
  });
});

t.test('kill -9 in the middle of starts and stops: half-made Pods are finished or undone', async (t) => {
  const node = await startNode(t, { podCidr: '10.202.0.0/24' });
  const seed = Number(process.env.PODWIRE_TEST_SEED ?? Date.now() % 100_000);
  t.comment(`seed ${seed} (PODWIRE_TEST_SEED=${seed} repeats it)`);
  let state = seed;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state % below;
  };
  for (let round = 0; round < 8; round += 1) {
    const names = [`r${round}a`, `r${round}b`];
    await Promise.all(
      names.map((name) =>
        node.client.create('pods', hostPod(name, { c: sleeper }), { namespace: 'default' }),
      ),
    );
    await sleep(random(90));
    await node.kill9();
    await node.up();
    const pods = await Promise.all(names.map((name) => node.until(name, isRunning)));
    t.not(pods[0]?.status?.podIP, pods[1]?.status?.podIP, `round ${round}: two addresses`);
    for (const name of names) await node.client.delete('pods', { namespace: 'default', name });
    await sleep(random(60));
    await node.kill9();
    await node.up();
    for (const name of names) await node.until(name, (pod) => pod === undefined);
  }
  t.same(readdirSync(node.paths.sandboxes), [], 'no sandbox is left');
  t.same(
    readdirSync(node.paths.containers).filter((name) => /^[0-9a-f]{64}$/.test(name)),
    [],
    'no container is left',
  );
  t.same(
    netnsNames().filter((name) => /^r\d+[ab]-/.test(name)),
    [],
    'no netns is left',
  );
  t.same(leases(node.paths.cni), [], 'no address is left taken');
});

/** Addresses that host-local holds. */
function leases(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^\d+\.\d+\.\d+\.\d+$/.test(entry.name))
    .map((entry) => `${entry.name} ${readFileSync(join(entry.parentPath, entry.name), 'utf8')}`);
}
