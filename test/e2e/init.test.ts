// Init containers and sidecars of real Pods: order, failure, retries, a new sandbox, and how they end (ACCEPTANCE A 6-8).
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { until } from '../until.ts';
import { hostPod, isRunning, killAll, sleeper, startNode } from './harness.ts';

const image = 'localhost/host';
const shell = (name: string, script: string, more: object = {}): object => ({
  name,
  image,
  command: ['/bin/sh', '-c', script],
  volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
  ...more,
});
const sidecar = (name: string, script: string, more: object = {}): object =>
  shell(name, script, { restartPolicy: 'Always', ...more });
const withShared = { volumes: [{ name: 'shared', emptyDir: {} }] };
const condition = (pod: Pod | undefined, type: string) =>
  pod?.status?.conditions?.find((one) => one.type === type);
const initState = (pod: Pod | undefined, name: string) =>
  pod?.status?.initContainerStatuses?.find((one) => one.name === name);

t.test('init containers and sidecars', async (t) => {
  const node = await startNode(t, { podCidr: '10.206.0.0/24' });
  /** A Pod whose containers share a volume. */
  const apply = (name: string, init: object[], app: string, spec: object = {}): Promise<void> => {
    const pod = hostPod(name, {}, { ...withShared, ...spec, initContainers: init }) as {
      spec: { containers: object[] };
    };
    pod.spec.containers = [shell('app', app)];
    return node.apply(pod);
  };
  const shared = (pod: Pod): string =>
    join(node.paths.pods, pod.metadata.uid, 'volumes/kubernetes.io~empty-dir/shared');
  const written = (pod: Pod): string[] =>
    readFileSync(join(shared(pod), 'order'), 'utf8')
      .trim()
      .split('\n');

  await t.test('in order on a RestartNever Pod; nothing of it runs before they are done', async (t) => {
    await apply(
      'never',
      [
        shell('one', 'until test -e /shared/go; do sleep 0.05; done; echo one >> /shared/order'),
        shell('two', 'sleep 0.3; echo two >> /shared/order'),
      ],
      'echo app >> /shared/order; test "$(cat /shared/order | tr "\\n" " ")" = "one two app "',
      { restartPolicy: 'Never' },
    );
    const early = await node.until('never', (p) => initState(p, 'one')?.state?.running);
    t.equal(early.status?.phase, 'Pending');
    t.match(condition(early, 'Initialized'), {
      status: 'False',
      reason: 'ContainersNotInitialized',
      message: 'containers with incomplete status: [one two]',
    });
    t.equal(early.status?.containerStatuses?.[0]?.state?.waiting?.reason, 'PodInitializing');
    t.match((await node.podwire(['get', 'pod', 'never'])).stdout, /never\s+0\/1\s+Init:0\/2\s+0/);
    writeFileSync(join(shared(early), 'go'), '');
    const done = await node.until('never', (p) => p?.status?.phase === 'Succeeded');
    t.match(initState(done, 'two'), { ready: true, restartCount: 0, state: { terminated: { exitCode: 0 } } });
    t.match(condition(done, 'Initialized'), { status: 'True', reason: 'PodCompleted' });
  });

  await t.test('in order on a RestartAlways Pod, and again in a new sandbox', async (t) => {
    const init = ['one', 'two'].map((name) => shell(name, `echo ${name} >> /shared/order`));
    await apply('always', init, `echo app >> /shared/order; ${sleeper}`);
    const pod = await node.until('always', (p) => condition(p, 'Ready')?.status === 'True');
    t.match((await node.podwire(['get', 'pod', 'always'])).stdout, /always\s+1\/1\s+Running/);
    t.equal((await node.podwire(['logs', 'always', '-c', 'one'])).exitCode, 0, 'its log may be read');
    killAll(node.pausePids(pod));
    const again = await node.until(
      'always',
      (p) => isRunning(p) && p?.status?.containerStatuses?.[0]?.restartCount === 1,
    );
    t.equal(initState(again, 'two')?.restartCount, 1);
    await until(() => written(again).length === 6);
    t.same(written(again), ['one', 'two', 'app', 'one', 'two', 'app']);
    await node.podwire(['delete', 'pod', 'always']);
  });

  await t.test('a failing one fails a RestartNever Pod, and no app container starts', async (t) => {
    await apply('fails', [shell('bad', 'exit 3'), shell('next', 'true')], sleeper, {
      restartPolicy: 'Never',
    });
    const pod = await node.until('fails', (p) => p?.status?.phase === 'Failed');
    t.match(initState(pod, 'bad')?.state?.terminated, { exitCode: 3 });
    for (const one of [initState(pod, 'next'), pod.status?.containerStatuses?.[0]])
      t.match(one?.state, { waiting: { reason: 'PodInitializing' } });
    t.match((await node.podwire(['get', 'pod', 'fails'])).stdout, /fails\s+0\/1\s+Init:Error/);
  });

  await t.test(
    'a failing one is tried again on a RestartAlways Pod, and no app container starts',
    async (t) => {
      await apply('retries', [shell('bad', 'exit 3')], sleeper);
      const pod = await node.until(
        'retries',
        (p) => initState(p, 'bad')?.state?.waiting?.reason === 'CrashLoopBackOff',
      );
      t.equal(pod.status?.phase, 'Pending');
      t.match(initState(pod, 'bad'), { restartCount: 1, lastState: { terminated: { exitCode: 3 } } });
      t.equal(pod.status?.containerStatuses?.[0]?.containerID, undefined);
      t.match((await node.podwire(['get', 'pod', 'retries'])).stdout, /Init:CrashLoopBackOff\s+1/);
      await node.podwire(['delete', 'pod', 'retries']);
    },
  );

  await t.test('sidecars start before, stay up beside, and stop after the app, in reverse', async (t) => {
    const folder = { name: 'shared', hostPath: { path: node.paths.root, type: 'Directory' } };
    const logs = (name: string) =>
      `trap "sleep 0.2; echo end ${name} >> /shared/order; exit 0" TERM; echo begin ${name} >> /shared/order; while :; do sleep 1000 & wait $!; done`;
    // The next one starts when it has begun, not when it was only started.
    const begins = (name: string) => {
      const script = `until grep -q "begin ${name}" /shared/order; do sleep 0.05; done`;
      return { lifecycle: { postStart: { exec: { command: ['/bin/sh', '-c', script] } } } };
    };
    const cars = ['s1', 's2'].map((name) => sidecar(name, logs(name), begins(name)));
    const order = (): string[] => readFileSync(join(node.paths.root, 'order'), 'utf8').trim().split('\n');
    await apply('cars', cars, logs('app'), {
      volumes: [folder],
      terminationGracePeriodSeconds: 60,
    });
    await node.until('cars', (p) => condition(p, 'Ready')?.status === 'True');
    t.match((await node.podwire(['get', 'pod', 'cars'])).stdout, /cars\s+3\/3\s+Running/);
    await until(() => order().length === 3);
    t.same(order(), ['begin s1', 'begin s2', 'begin app']);
    await node.podwire(['exec', 'cars', '-c', 's1', '--', 'sh', '-c', 'kill -TERM 1']);
    await node.until('cars', (p) => initState(p, 's1')?.restartCount === 1 && initState(p, 's1')?.ready);
    await until(() => order().length === 5);
    t.same(order().slice(3), ['end s1', 'begin s1'], 'one that ended is raised again');
    await node.podwire(['delete', 'pod', 'cars']);
    t.same(order().slice(5), ['end app', 'end s2', 'end s1']);
  });

  await t.test('a Pod that is done does not wait for its sidecars', async (t) => {
    await apply('job', [sidecar('car', sleeper)], 'sleep 0.3', { restartPolicy: 'Never' });
    const pod = await node.until('job', (p) => p?.status?.phase === 'Succeeded');
    t.ok(initState(pod, 'car')?.state?.terminated, 'it was stopped');
  });
});
