// Lifecycle hooks, grace, stop signals and termination messages of real Pods (ACCEPTANCE A 10, 11).
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { until } from '../until.ts';
import { hostPod, isRunning, sleeper, startNode } from './harness.ts';

const exec = (script: string) => ({ exec: { command: ['/bin/sh', '-c', script] } });
const first = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0];

t.test('hooks', async (t) => {
  const node = await startNode(t, { podCidr: '10.208.0.0/24' });
  const folder = mkdtempSync('/tmp/podwire-hooks-');
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'log');
  const apply = (name: string, script: string, container: object, spec: object = {}): Promise<void> => {
    const pod = hostPod(name, {}, { volumes: [{ name: 'out', hostPath: { path: folder } }], ...spec }) as {
      spec: { containers: object[] };
    };
    pod.spec.containers = [
      {
        name: 'c',
        image: 'localhost/host',
        command: ['/bin/sh', '-c', script],
        volumeMounts: [{ name: 'out', mountPath: '/out' }],
        ...container,
      },
    ];
    return node.apply(pod);
  };
  const log = (): string => readFileSync(file, 'utf8');
  const eventsOf = async (name: string): Promise<string[]> => {
    const { items } = await node.client.list('events', { namespace: 'default' });
    const mine = items.filter((event) => event.involvedObject.name === name);
    return mine.map(({ reason, message }) => `${reason}: ${message}`);
  };
  /** Milliseconds that the deletion took; the command is given up long before the graces of minutes below are over. */
  const remove = async (name: string, ...flags: string[]): Promise<number> => {
    const begin = Date.now();
    await node.podwire(['delete', 'pod', name, ...flags]);
    return Date.now() - begin;
  };

  await t.test('postStart runs before the container counts as running; preStop before TERM', async (t) => {
    const started = 'until test -e /out/go; do sleep 0.05; done; echo started >> /out/log';
    const lifecycle = { postStart: exec(started), preStop: exec('sleep 0.4; echo stopping >> /out/log') };
    await apply(
      'both',
      'trap "echo term >> /out/log; exit 0" TERM; touch /out/up; while :; do sleep 1000 & wait $!; done',
      { lifecycle },
      { terminationGracePeriodSeconds: 600 },
    );
    t.ok(await until(() => existsSync(join(folder, 'up'))), 'its process runs');
    const early = await node.until('both', (p) => first(p)?.state);
    t.match(first(early)?.state, { waiting: { reason: 'ContainerCreating' } });
    writeFileSync(join(folder, 'go'), '');
    await node.until('both', isRunning);
    t.equal(log(), 'started\n');
    await remove('both');
    t.equal(log(), 'started\nstopping\nterm\n', 'no wait for the grace');
  });

  await t.test('a failing postStart: told, stopped, and made anew with back-off', async (t) => {
    await apply('badstart', sleeper, { lifecycle: { postStart: exec('exit 9') } });
    const pod = await node.until('badstart', (p) => first(p)?.state?.waiting?.reason === 'CrashLoopBackOff');
    t.equal(first(pod)?.restartCount, 1);
    const told = await eventsOf('badstart');
    t.ok(
      told.includes('FailedPostStartHook: PostStartHook failed: command "/bin/sh" exited with 9'),
      told.join('\n'),
    );
    t.ok(told.includes('Killing: FailedPostStartHook'));
    await remove('badstart');
  });

  await t.test('a deletion does not wait for postStart', async (t) => {
    await apply(
      'longstart',
      sleeper,
      { lifecycle: { postStart: { sleep: { seconds: 600 } } } },
      {
        terminationGracePeriodSeconds: 601,
      },
    );
    await node.until('longstart', async () =>
      (await eventsOf('longstart')).some((one) => /^Started/.test(one)),
    );
    t.ok((await remove('longstart')) > 0);
  });

  await t.test('preStop is part of the grace; one that fails is told and delays nothing', async (t) => {
    await apply(
      'overrun',
      sleeper,
      { lifecycle: { preStop: exec('sleep 1000') } },
      { terminationGracePeriodSeconds: 2 },
    );
    await apply(
      'badstop',
      sleeper,
      { lifecycle: { preStop: { httpGet: { port: 1 } } } },
      {
        terminationGracePeriodSeconds: 600,
      },
    );
    await node.until('overrun', isRunning);
    await node.until('badstop', isRunning);
    const [long] = await Promise.all([remove('overrun'), remove('badstop')]);
    t.ok(long >= 1900, `the grace (${long} ms)`);
    t.match((await eventsOf('badstop')).join('\n'), /FailedPreStopHook: PreStopHook failed: .*ECONNREFUSED/);
  });

  await t.test('a deletion by force runs no hook', async (t) => {
    await apply(
      'force',
      sleeper,
      { lifecycle: { preStop: { sleep: { seconds: 600 } } } },
      {
        terminationGracePeriodSeconds: 601,
      },
    );
    await node.until('force', isRunning);
    const gentle = remove('force');
    await node.until('force', async () => (await eventsOf('force')).some((one) => /^Killing/.test(one)));
    await remove('force', '--grace-period=0', '--force');
    t.ok(await gentle, 'also not one that runs already');
  });

  await t.test("the container's own stop signal", async (t) => {
    const script =
      'trap "echo usr1 >> /out/log; exit 0" USR1; trap "" TERM; while :; do sleep 1000 & wait $!; done';
    await apply('signal', script, { lifecycle: { stopSignal: 'SIGUSR1' } }, { os: { name: 'linux' } });
    await node.until('signal', isRunning);
    await remove('signal');
    t.match(log(), /usr1\n$/);
  });

  const messages = [
    {
      name: 'at a path of its own, as somebody else than root',
      script: 'echo -n done > /dev/my-log',
      container: { terminationMessagePath: '/dev/my-log', securityContext: { runAsUser: 1000 } },
      want: 'done',
    },
    {
      name: 'from the log when it failed and wrote none',
      script: 'echo last words; exit 1',
      container: { terminationMessagePolicy: 'FallbackToLogsOnError' },
      want: /^last words\n?$/,
    },
    {
      name: 'not from the log when it succeeded',
      script: 'echo last words',
      container: { terminationMessagePolicy: 'FallbackToLogsOnError' },
      want: undefined,
    },
    {
      name: 'from the file all the same',
      script: 'echo noise; echo -n told > /dev/termination-log; exit 1',
      container: { terminationMessagePolicy: 'FallbackToLogsOnError' },
      want: 'told',
    },
  ];
  for (const [at, c] of messages.entries())
    await apply(`message${at}`, c.script, c.container, { restartPolicy: 'Never' });
  for (const [at, c] of messages.entries())
    await t.test(`termination message ${c.name}`, async (t) => {
      const pod = await node.until(`message${at}`, (p) => first(p)?.state?.terminated);
      const { message } = first(pod)?.state?.terminated ?? {};
      if (c.want instanceof RegExp) t.match(message, c.want);
      else t.equal(message, c.want);
    });

  await t.test('a readiness gate is opened by somebody else', async (t) => {
    await apply('gated', sleeper, {}, { readinessGates: [{ conditionType: 'example.com/open' }] });
    const shut = await node.until('gated', isRunning);
    const ready = (pod: Pod) => pod.status?.conditions?.find(({ type }) => type === 'Ready');
    t.match(ready(shut), { status: 'False', reason: 'ReadinessGatesNotReady' });
    const conditions = [...(shut.status?.conditions ?? []), { type: 'example.com/open', status: 'True' }];
    const key = { namespace: 'default', name: 'gated' };
    const current = await node.client.get('pods', key);
    await node.client.updateStatus('pods', { ...current, status: { ...current.status, conditions } });
    const open = await node.until('gated', (p) => p && ready(p)?.status === 'True');
    t.ok(
      open.status?.conditions?.some(({ type }) => type === 'example.com/open'),
      'and it is kept',
    );
    t.match((await node.podwire(['get', 'pod', 'gated', '-o', 'wide'])).stdout, /1\/1\s*$/m);
  });
});
