// Resources of Pods against the real kernel: limits of disk, huge pages and memory.
import t from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { startNode } from './harness.ts';

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

t.test('resources of Pods', { timeout: 120_000 }, async (t) => {
  const node = await startNode(t, { flags: [] });

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
});
