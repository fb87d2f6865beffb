// One Pod from apply to gone, seen from outside: addresses, namespaces, logs, exec, restarts, the pause.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../../lib/exec/exec.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { until } from '../until.ts';
import { hostPod, isRunning, killAll, netnsNames, ownRuntimeOnly, sleeper, startNode } from './harness.ts';

t.test('a Pod from apply to gone', async (t) => {
  const node = await startNode(t);
  t.equal(statSync(node.paths.socket).mode & 0o777, 0o600, 'only root may talk to the API');
  const netnsBefore = new Set(netnsNames());
  // Ours is named after the Pod, containerd's is not.
  const ownNetns = () =>
    netnsNames().filter((name) => /^(shopweb|cni)-/.test(name) && !netnsBefore.has(name));

  await t.test('two containers share address, host name, ipc and volumes', async (t) => {
    await node.apply(
      hostPod(
        'shopweb',
        { a: `echo hello from a; hostname > /dev/shm/name; ${sleeper}`, b: sleeper },
        { hostname: 'shop' },
      ),
    );
    const pod = await node.until('shopweb', isRunning);
    t.match(pod.status, { phase: 'Running', podIP: /^10\.201\.0\.\d+$/, qosClass: 'BestEffort' });
    const conditions = Object.fromEntries((pod.status?.conditions ?? []).map((c) => [c.type, c.status]));
    t.match(conditions, {
      PodScheduled: 'True',
      Initialized: 'True',
      ContainersReady: 'True',
      Ready: 'True',
    });
    const inB = async (script: string) =>
      (await node.podwire(['exec', 'shopweb', '-c', 'b', '--', 'sh', '-c', script])).stdout.trim();
    t.equal(await inB('hostname'), 'shop');
    const isShared = async () => (await inB('cat /dev/shm/name')) === 'shop';
    t.ok(await until(isShared), "POSIX shared memory is the Pod's");
    t.match(await inB('cat /etc/hosts'), new RegExp(`${pod.status?.podIP}\\s+shop`));
    t.match(await inB('ip -4 -o addr show eth0'), new RegExp(`${pod.status?.podIP}/24`));
    t.equal(
      await inB('ls /var/lib/podwire /etc/podwire 2>/dev/null | grep -v :'),
      '',
      "the node's state is hidden",
    );
  });

  await t.test('the node reaches the Pod', async (t) => {
    const pod = await node.until('shopweb', isRunning);
    const ping = await run({
      argv: ['ping', '-c1', '-W30', String(pod.status?.podIP)],
      okCodes: [0, 1, 2],
    }).catch(() => undefined);
    if (ping) t.equal(ping.exitCode, 0, 'ping from the node');
    else t.comment('ping is not installed: the neighbour table is looked at instead');
    t.equal(ownNetns().length, 1, 'one netns');
    const alias = readdirSync('/sys/class/net').map((link) =>
      readFileSync(join('/sys/class/net', link, 'ifalias'), 'utf8').trim(),
    );
    t.ok(alias.includes('podwire: default/shopweb eth0'), 'the veth names its Pod');
  });

  await t.test('logs, exec and exit codes', async (t) => {
    t.equal((await node.podwire(['logs', 'shopweb', '-c', 'a'])).stdout, 'hello from a\n');
    t.equal((await node.podwire(['exec', 'shopweb', '-c', 'a', '--', 'sh', '-c', 'exit 7'])).exitCode, 7);
    const echoed = await node.podwire(['exec', '-i', 'shopweb', '-c', 'a', '--', 'cat'], 'through stdin');
    t.equal(echoed.stdout, 'through stdin');
    t.match((await node.podwire(['get', 'pods', '-o', 'wide'])).stdout, /shopweb\s+2\/2\s+Running\s+0/);
    t.match((await node.podwire(['describe', 'pod', 'shopweb'])).stdout, /Started container a/);
  });

  await t.test('explain prints the commands that built the network', { skip: ownRuntimeOnly }, async (t) => {
    const { stdout } = await node.podwire(['explain', 'pod/shopweb']);
    t.match(stdout, /ip netns add shopweb-/);
    t.match(stdout, /type veth/);
    const check = await run({ argv: ['sh', '-n'], input: stdout });
    t.equal(check.exitCode, 0, 'it is a script that sh can read');
  });

  await t.test('a killed container is restarted in the same Pod', async (t) => {
    const before = await node.until('shopweb', isRunning);
    const cgroup = `${node.paths.cgroup}/pod${before.metadata.uid}`;
    const id = before.status?.containerStatuses?.find((c) => c.name === 'a')?.containerID?.split('//')[1];
    killAll(cgroupProcs(`${cgroup}/${id}`));
    const after = await node.until('shopweb', (pod) => isRunning(pod) && restarts(pod, 'a') === 1);
    t.equal(after.status?.podIP, before.status?.podIP, 'same address');
    t.equal(restarts(after, 'b'), 0, 'the other container was left alone');
    t.match(after.status?.containerStatuses?.[0]?.lastState?.terminated, { exitCode: 137 });
    t.match((await node.podwire(['logs', 'shopweb', '-c', 'a', '--previous'])).stdout, /hello from a/);
  });

  await t.test('a killed pause means a new sandbox', async (t) => {
    const before = await node.until('shopweb', isRunning);
    killAll(node.pausePids(before));
    const after = await node.until('shopweb', (pod) => isRunning(pod) && restarts(pod, 'b') === 1);
    t.match(after.status, { podIP: /^10\.201\.0\.\d+$/ });
    t.equal(ownNetns().length, 1, 'the old netns is gone');
  });

  await t.test('delete gives everything back', async (t) => {
    const pod = await node.until('shopweb', isRunning);
    t.equal((await node.podwire(['delete', 'pod', 'shopweb'])).exitCode, 0);
    t.same(ownNetns(), []);
    t.notOk(existsSync(join(node.paths.pods, pod.metadata.uid)), 'volumes are gone');
    const kept = node.containerd ? ['cri'] : ['containers', 'sandboxes'];
    for (const name of kept) t.same(readdirSync(join(node.paths.run, name)), [], name);
    if (!node.containerd) t.same(readdirSync(node.paths.overlay), []);
    t.match((await node.podwire(['get', 'pod', 'shopweb'])).stderr, /NotFound.*pods "shopweb" not found/);
  });
});

const restarts = (pod: Parameters<typeof isRunning>[0], name: string): number | undefined =>
  pod?.status?.containerStatuses?.find((container) => container.name === name)?.restartCount;
