// Resources of Pods against the real kernel: limits of disk, huge pages and memory.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { detectCgroups } from '../../lib/kernel/cgroup.ts';
import { startNode, type TestNode } from './harness.ts';

const image = 'localhost/host';
const sleeper = 'exec sleep infinity';
const shell = (name: string, script: string, more: object = {}) => ({
  name,
  image,
  command: ['sh', '-c', script],
  ...more,
});
const podOf = (name: string, containers: object[], more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers, ...more },
});
const isRunning = (pod: Pod | undefined) => pod?.status?.containerStatuses?.every(({ ready }) => ready);
const hasFailed = (pod: Pod | undefined) => pod?.status?.phase === 'Failed';
// A pipe that never ends its line: tail keeps all of it.
const eatMemory = 'head -c 200m /dev/zero | tail';

t.test('resources of Pods', { timeout: 400_000 }, async (t) => {
  const flags: string[] = [];
  const node = await startNode(t, { flags });

  await t.test('a container that writes more than its ephemeral-storage is evicted', async (t) => {
    const resources = { limits: { 'ephemeral-storage': '1Mi' } };
    await node.apply(
      podOf('writer', [shell('a', `head -c 3m /dev/zero > /var/big; ${sleeper}`, { resources })]),
    );
    const message = 'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ';
    const { status } = await node.until('writer', hasFailed);
    t.match(status, { reason: 'Evicted', message });
  });

  await t.test('an init container that runs out of memory is told as such', async (t) => {
    const resources = { limits: { memory: '32Mi' } };
    const init = { initContainers: [shell('greedy', eatMemory, { resources })] };
    await node.apply(podOf('init-oom', [shell('a', sleeper)], init));
    const { status } = await node.until('init-oom', hasFailed);
    t.match(status?.initContainerStatuses?.[0]?.state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
  });

  await t.test('huge pages that the machine has not', async (t) => {
    const limits = { 'hugepages-2Mi': '1Ti', memory: '32Mi' };
    const containers = [shell('a', sleeper, { resources: { limits } })];
    await node.apply(
      podOf('huge', containers, { nodeName: (await node.client.list('nodes')).items[0]?.metadata.name }),
    );
    const { status } = await node.until('huge', hasFailed);
    t.equal(status?.reason, 'OutOfhugepages-2Mi');
    t.match(
      status?.message,
      "Node didn't have enough resource: hugepages-2Mi, requested: 1099511627776, used: 0",
    );
  });

  await t.test('who is killed first when the machine has no memory left', async (t) => {
    await node.apply(podOf('worthless', [shell('a', sleeper)]));
    await node.until('worthless', isRunning);
    const { stdout } = await node.podwire(['exec', 'worthless', '--', 'cat', '/proc/1/oom_score_adj']);
    t.equal(stdout.trim(), '1000');
  });

  await resize(t, node);
  await eviction(t, node, flags);
});

const ofA = (resources: object) => ({ spec: { containers: [{ name: 'a', resources }] } });
const conditionOf = (pod: Pod | undefined, type: string) =>
  pod?.status?.conditions?.find((one) => one.type === type);
const firstOf = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0];

/** The limit of memory and the quota of a group. */
function limitsOf(node: TestNode, path: string): [memory: string, quota: string] {
  const { mode, unified, v1 } = detectCgroups();
  const read = (root: string, file: string) =>
    readFileSync(join(root, node.paths.cgroup, path, file), 'utf8').trim();
  return mode === 'v2'
    ? [read(unified!, 'memory.max'), read(unified!, 'cpu.max').replace(/ .*/, '')]
    : [read(v1.memory!, 'memory.limit_in_bytes'), read(v1.cpu!, 'cpu.cfs_quota_us')];
}

async function resize(t: Test, node: TestNode): Promise<void> {
  const key = { namespace: 'default', name: 'sized' };
  const ask = async (resources: object) => {
    const patch = JSON.stringify(ofA(resources));
    const said = await node.podwire(['patch', 'pod', 'sized', '--subresource', 'resize', '-p', patch]);
    t.match(said, { exitCode: 0, stdout: 'pod/sized patched\n' });
  };
  const hasCpu = (limit: string) => (pod: Pod | undefined) => firstOf(pod)?.resources?.limits?.cpu === limit;

  await t.test('resize in place', async (t) => {
    const resources = { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '200m', memory: '64Mi' } };
    const resizePolicy = [{ resourceName: 'memory', restartPolicy: 'RestartContainer' }];
    // The second one grows in memory without a restart.
    const containers = [shell('a', sleeper, { resources, resizePolicy }), shell('b', sleeper, { resources })];
    await node.apply(podOf('sized', containers, { restartPolicy: 'Always' }));
    const before = await node.until('sized', isRunning);
    const group = `pod${before.metadata.uid}`;
    const id = (pod: Pod) => firstOf(pod)?.containerID?.replace(/.*\/\//, '') ?? '';

    await ask({ limits: { cpu: '500m' } });
    const larger = await node.until('sized', hasCpu('500m'));
    t.equal(id(larger), id(before), 'the same container');
    t.same(limitsOf(node, `${group}/${id(before)}`), [`${64 << 20}`, '50000']);
    t.same(limitsOf(node, group), [`${128 << 20}`, '70000'], 'the whole Pod');
    await ask({ limits: { cpu: '150m' } });
    await node.until('sized', hasCpu('150m'));
    t.same(limitsOf(node, `${group}/${id(before)}`)[1], '15000', 'and smaller again');

    await ask({ limits: { memory: '96Mi' } });
    const anew = await node.until('sized', (pod) => firstOf(pod)?.restartCount === 1 && isRunning(pod));
    t.same(limitsOf(node, `${group}/${id(anew)}`), [`${96 << 20}`, '15000'], 'memory with a restart');
    t.same(limitsOf(node, group)[0], `${160 << 20}`);
    t.equal(conditionOf(anew, 'PodResizeInProgress'), undefined);

    const guaranteed = { requests: { cpu: '200m', memory: '64Mi' } };
    const both = {
      spec: {
        containers: ['a', 'b'].map((name) => ({
          name,
          resources: { ...guaranteed, limits: guaranteed.requests },
        })),
      },
    };
    await t.rejects(
      node.client.patch('pods', key, both, { type: 'strategic', subresource: 'resize' }),
      /Pod QOS Class may not change/,
    );
    const other = { spec: { containers: [{ name: 'a', resources: { limits: { cpu: '300m' } } }] } };
    await t.rejects(node.client.patch('pods', key, other, { type: 'strategic' }), { code: 'Invalid' });
  });

  await t.test('what the node cannot give waits, also for a new daemon', async (t) => {
    await ask({ requests: { cpu: '1000' }, limits: { cpu: '1000' } });
    const refused = await node.until('sized', (pod) => conditionOf(pod, 'PodResizePending'));
    t.match(conditionOf(refused, 'PodResizePending'), {
      status: 'True',
      reason: 'Infeasible',
      message: /^Node didn't have enough capacity: cpu, requested: 1000100, capacity: \d+$/,
    });
    t.match(firstOf(refused), {
      resources: { limits: { cpu: '150m' } },
      allocatedResources: { cpu: '100m' },
    });
    await node.kill9();
    await node.up();
    const { status } = await node.until('sized', isRunning);
    t.equal(status?.containerStatuses?.[0]?.restartCount, 1, 'nothing was restarted');
    t.equal(status?.containerStatuses?.[0]?.resources?.limits?.cpu, '150m');
    await ask({ requests: { cpu: '50m' }, limits: { cpu: '100m' } });
    const smaller = await node.until('sized', hasCpu('100m'));
    t.equal(conditionOf(smaller, 'PodResizePending'), undefined);
  });

  await t.test('a limit below what is used is not set until it can be', async (t) => {
    const limits = { memory: '64Mi' };
    const script = 'head -c 40m /dev/zero > /dev/shm/x; touch /tmp/full; exec sleep infinity';
    const volume = { volumeMounts: [{ name: 'm', mountPath: '/m' }] };
    const hungry = shell('a', script.replace('/dev/shm', '/m'), { resources: { limits }, ...volume });
    await node.apply(podOf('hungry', [hungry], { volumes: [{ name: 'm', emptyDir: { medium: 'Memory' } }] }));
    await node.until('hungry', isRunning);
    for (let full = false; !full; ) {
      const { exitCode } = await node.podwire(['exec', 'hungry', '--', 'test', '-e', '/tmp/full']);
      full = exitCode === 0;
    }
    const small = { requests: { memory: '16Mi' }, limits: { memory: '16Mi' } };
    const about = { namespace: 'default', name: 'hungry' };
    await node.client.patch('pods', about, ofA(small), { type: 'strategic', subresource: 'resize' });
    const stuck = await node.until(
      'hungry',
      (pod) => conditionOf(pod, 'PodResizeInProgress')?.reason === 'Error',
    );
    t.match(conditionOf(stuck, 'PodResizeInProgress')?.message, /below current usage/);
    t.equal(firstOf(stuck)?.resources?.limits?.memory, '64Mi');
  });
}

// What is there is always less than all there is: the node is short of memory as long as it is told so.
const alwaysShort = ['--eviction-hard', 'memory.available<100%', '--eviction-monitoring-period', '1s'];

async function eviction(t: Test, node: TestNode, flags: string[]): Promise<void> {
  const isEvicted = (pod: Pod | undefined) => hasFailed(pod) && pod?.status?.reason === 'Evicted';
  const nodeOf = async () => (await node.client.list('nodes')).items[0]!;
  const memory = (request: string) => ({ resources: { requests: { memory: request } } });
  const fill = 'head -c 20m /dev/zero > /m/x; touch /tmp/full; exec sleep infinity';
  const filled = { volumeMounts: [{ name: 'm', mountPath: '/m' }] };
  const volumes = { volumes: [{ name: 'm', emptyDir: { medium: 'Memory' } }] };

  await t.test(
    'a node short of memory evicts who takes more than it asked for, then the others',
    async (t) => {
      for (const { metadata } of (await node.client.list('pods')).items)
        await node.podwire(['delete', 'pod', metadata.name, '--grace-period', '0']);
      await node.apply(podOf('greedy', [shell('a', fill, { ...memory('1Mi'), ...filled })], volumes));
      await node.apply(podOf('modest', [shell('a', sleeper, memory('500Mi'))]));
      const priorityClassName = 'system-cluster-critical';
      await node.apply(podOf('vital', [shell('a', sleeper)], { priorityClassName }));
      for (const name of ['greedy', 'modest', 'vital']) await node.until(name, isRunning);
      for (let full = false; !full; )
        full = (await node.podwire(['exec', 'greedy', '--', 'test', '-e', '/tmp/full'])).exitCode === 0;
      await node.kill9();
      flags.push(...alwaysShort);
      await node.up();

      const ended = (pod: Pod | undefined) => isEvicted(pod) && firstOf(pod)?.state?.terminated;
      const greedy = await node.until('greedy', ended);
      t.match(
        greedy.status?.message,
        /^The node was low on resource: memory\. Threshold quantity: \d+\w*, available: \d+\w*\. Container a was using 2\d+Ki, request is 1Mi, has larger consumption of memory\. $/,
      );
      t.match(conditionOf(greedy, 'DisruptionTarget'), { status: 'True', reason: 'TerminationByKubelet' });
      t.equal(firstOf(greedy)?.state?.terminated?.exitCode, 137);
      const modest = await node.until('modest', isEvicted);
      t.match(modest.status?.message, /^The node was low on resource: memory\./);
      t.notMatch(modest.status?.message, /larger consumption/);
      const times = [greedy, modest].map(
        (pod) => conditionOf(pod, 'DisruptionTarget')?.lastTransitionTime ?? '',
      );
      t.ok(times[0]! <= times[1]!, `one after the other: ${times}`);

      const short = (await nodeOf()).status?.conditions?.find(({ type }) => type === 'MemoryPressure');
      t.match(short, { status: 'True', reason: 'KubeletHasInsufficientMemory' });
      await node.apply(podOf('late', [shell('a', sleeper)], { nodeName: (await nodeOf()).metadata.name }));
      const late = await node.until('late', isEvicted);
      t.equal(late.status?.message, 'Pod was rejected: The node had condition: [MemoryPressure]. ');
      const taints = (await nodeOf()).spec?.taints?.map(({ key }) => key);
      t.strictSame(taints, ['node.kubernetes.io/memory-pressure']);
      t.ok(isRunning(await node.until('vital', () => true)), 'what the cluster needs stays');
    },
  );

  await t.test('and with other thresholds all is well again', async (t) => {
    await node.kill9();
    flags.splice(0, flags.length, '--eviction-hard', '');
    await node.up();
    await node.apply(podOf('again', [shell('a', sleeper)]));
    await node.until('again', isRunning);
    t.notOk((await nodeOf()).spec?.taints?.length);
  });
}
