// What reviewers broke once: several nodes on one machine, remembered flags, force, odd names and times, faked mirrors.
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stringify } from 'yaml';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { until } from '../until.ts';
import { alive, hostPod, isRunning, sleep, sleeper, startNode, type TestNode } from './harness.ts';

const hostLinks = (pod: string): string[] =>
  readdirSync('/sys/class/net').filter(
    (link) =>
      readFileSync(join('/sys/class/net', link, 'ifalias'), 'utf8').trim() === `podwire: default/${pod} eth0`,
  );

t.test('a second node on the machine leaves the first one alone', async (t) => {
  const first = await startNode(t, { podCidr: '10.207.0.0/24' });
  await first.apply(hostPod('firstnode', { a: sleeper }));
  await first.until('firstnode', isRunning);
  const second = await startNode(t, { podCidr: '10.208.0.0/24' });
  await second.apply(hostPod('secondnode', { a: sleeper }));
  await second.until('secondnode', isRunning);
  await second.kill9();
  await second.up();
  t.equal(hostLinks('firstnode').length, 1, 'the veth of the first node is still there');
  t.equal(hostLinks('secondnode').length, 1);
});

t.test('flags are remembered, and a range with Pods in it is kept', async (t) => {
  const node = await startNode(t, { podCidr: '10.209.0.0/24' });
  await node.apply(hostPod('old', { a: sleeper }));
  await node.until('old', isRunning);
  await node.kill9();
  t.equal((await node.podwire(['up'])).exitCode, 0);
  await node.apply(hostPod('new', { a: sleeper }));
  const pod = await node.until('new', isRunning);
  t.match(pod.status?.podIP, /^10\.209\.0\./, 'the range of the first start');
  await node.kill9();
  const refused = await node.podwire(['up', '--pod-cidr', '10.210.0.0/24']);
  t.equal(refused.exitCode, 1);
  t.match(
    refused.stderr,
    /--pod-cidr 10\.210\.0\.0\/24: 2 Pods of this node have addresses of 10\.209\.0\.0\/24/,
  );
  await node.up();
  await node.podwire(['delete', 'pod', '--all']);
  await node.kill9();
  t.equal(
    (await node.podwire(['up', '--pod-cidr', '10.210.0.0/24'])).exitCode,
    0,
    'without Pods it may change',
  );
  await node.apply(hostPod('moved', { a: sleeper }));
  t.match((await node.until('moved', isRunning)).status?.podIP, /^10\.210\.0\./);
});

for (const range of ['127.0.0.0/8', '224.0.0.0/24', 'fe80::/64', '10.1.2.3/24', 'foo'])
  t.test(`--pod-cidr ${range} is refused before anything is made`, async (t) => {
    await t.rejects(startNode(t, { podCidr: range }), { message: /pod CIDR/ });
  });

t.test('one node, many oddities', async (t) => {
  const node = await startNode(t, { podCidr: '10.211.0.0/24', flags: ['--node-name', 'n1'] });

  await t.test('force ends a Pod that ignores TERM at once', async (t) => {
    await node.apply(
      hostPod(
        'deaf',
        { a: 'trap "" TERM; while :; do sleep 1; done' },
        { terminationGracePeriodSeconds: 600 },
      ),
    );
    const pod = await node.until('deaf', isRunning);
    const pids = cgroupProcs(`${node.paths.cgroup}/pod${pod.metadata.uid}`);
    await node.podwire(['delete', 'pod', 'deaf', '--wait=false']);
    await sleep(300);
    t.ok(pids.some(alive), 'it has its grace');
    await node.podwire(['delete', 'pod', 'deaf', '--force', '--grace-period=0']);
    t.ok(await until(() => !pids.some(alive)), 'all of it is dead');
  });

  await t.test('a very long name comes and goes', async (t) => {
    const name = `x${'-long-name'.repeat(25)}`.slice(0, 250);
    await node.apply(hostPod(name, { a: `echo here; ${sleeper}` }));
    await node.until(name, isRunning);
    t.ok(await until(async () => (await node.podwire(['logs', name])).stdout === 'here\n'));
    t.equal((await node.podwire(['delete', 'pod', name])).exitCode, 0);
  });

  await t.test('a deadline of a month is no busy loop', async (t) => {
    await node.apply(hostPod('patient', { a: sleeper }, { activeDeadlineSeconds: 30 * 86_400 }));
    await node.until('patient', isRunning);
    const isIdle = async (): Promise<boolean> => {
      const before = cpuTicks(node.pid());
      await sleep(2000);
      return cpuTicks(node.pid()) - before < 40;
    };
    t.ok(await until(isIdle), 'less than a fifth of a core');
    await node.podwire(['delete', 'pod', 'patient']);
  });

  await t.test('anybody may write a termination message', async (t) => {
    const pod = hostPod(
      'teller',
      { c: 'echo -n bye > /dev/termination-log; exit 1' },
      { restartPolicy: 'Never', securityContext: { runAsUser: 1000 } },
    );
    await node.apply(pod);
    const ended = await node.until('teller', (p) => p?.status?.phase === 'Failed');
    t.equal(ended.status?.containerStatuses?.[0]?.state?.terminated?.message, 'bye');
    await node.podwire(['delete', 'pod', 'teller']);
  });

  await t.test('nobody can pass a Pod off as a mirror', async (t) => {
    for (const annotation of ['kubernetes.io/config.mirror', 'kubernetes.io/config.source']) {
      const pod = hostPod('fake', { a: sleeper }) as { metadata: object };
      pod.metadata = { name: 'fake', annotations: { [annotation]: '../../../../etc' } };
      const { exitCode, stderr } = await node.podwire(['apply', '-f', '-'], JSON.stringify(pod));
      t.equal(exitCode, 1);
      t.match(stderr, new RegExp(annotation.replaceAll('.', '\\.')));
    }
  });

  await t.test('a Pod of a node that is not there can be deleted', async (t) => {
    await node.apply(hostPod('elsewhere', { a: sleeper }, { nodeName: 'no-such-node' }));
    t.equal((await node.podwire(['delete', 'pod', 'elsewhere', '--timeout=60s'])).exitCode, 0);
  });

  await t.test('the manifests folder goes away and comes back', async (t) => {
    const { manifests } = node.paths;
    writeFileSync(join(manifests, 'web.yaml'), stringify(hostPod('web', { a: sleeper })));
    await node.until('web-n1', isRunning);
    renameSync(manifests, `${manifests}.away`);
    await sleep(400);
    t.ok(await node.until('web-n1', isRunning), 'podwired and the Pod go on');
    renameSync(`${manifests}.away`, manifests);
    rmSync(join(manifests, 'web.yaml'));
    await node.kill9();
    await node.up();
    await node.until('web-n1', (pod) => pod === undefined);
  });

  await t.test(
    'a conflist that cannot work: events tell, the daemon starts all the same, and all is given back',
    async (t) => {
      const conf = join(node.paths.cniConf, '00-broken.conflist');
      writeFileSync(
        conf,
        JSON.stringify({ cniVersion: '1.0.0', name: 'broken', plugins: [{ type: 'no-such-plugin' }] }),
      );
      await node.apply(hostPod('stuck', { a: sleeper }));
      await node.until('stuck', async () =>
        /FailedCreatePodSandBox.*no-such-plugin/.test(await events(node)),
      );
      await node.kill9();
      await node.up();
      rmSync(conf);
      await node.until('stuck', isRunning);
      await node.podwire(['delete', 'pod', 'stuck']);
      t.same(existsSync(node.paths.sandboxes) ? readdirSync(node.paths.sandboxes) : [], []);
    },
  );

  await t.test(
    'a Node that was deleted comes back, and a daemon killed between create and start restarts nothing',
    async (t) => {
      for (let round = 0; round < 6; round += 1) {
        const name = `early${round}`;
        await node.client.create('pods', hostPod(name, { a: sleeper }), { namespace: 'default' });
        await sleep(20 + round * 6);
        await node.kill9();
        await node.up();
        const pod = await node.until(name, isRunning);
        t.equal(
          pod.status?.containerStatuses?.[0]?.restartCount,
          0,
          `killed after ${20 + round * 6} ms: no restart is shown`,
        );
        await node.podwire(['delete', 'pod', name]);
      }
    },
  );
});

async function events(node: TestNode): Promise<string> {
  const { items } = await node.client.list('events', { namespace: 'default' });
  return items.map((event) => `${event.reason} ${event.message}`).join('\n');
}

/** User and system time of a process, in ticks of 10 ms. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}
