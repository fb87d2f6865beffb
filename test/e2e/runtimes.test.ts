// One set of manifests, one set of results, over every runtime: crun, runc, and containerd through its CRI socket. What is
// here is what must be the same; npm run test:runtimes runs the whole suites over each.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { CriConnection } from '../../lib/cri/connection.ts';
import { run } from '../../lib/exec/exec.ts';
import { openSession } from '../../lib/exec/session.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { until } from '../until.ts';
import { testImage, withoutContainerd } from './containerd.ts';
import {
  hostPod,
  isRunning,
  killAll,
  listen,
  outOfMemory,
  runtimes,
  sleeper,
  startNode,
  type TestNode,
} from './harness.ts';

const statusOf = (pod: Pod | undefined, name: string) =>
  pod?.status?.containerStatuses?.find((one) => one.name === name);
const isOver = (pod: Pod | undefined): boolean => /^(Succeeded|Failed)$/.test(pod?.status?.phase ?? '');

t.setTimeout(400_000);
for (const runtime of runtimes) {
  const skip = runtime === 'containerd' ? (withoutContainerd() ?? false) : false;
  t.test(`the same by ${runtime}`, { skip }, async (t) => {
    const node = await startNode(t, { podCidr: '10.210.0.0/24', runtime });
    await t.test('the Node names its runtime', async (t) => {
      const [found] = (await node.client.list('nodes', {})).items;
      t.match(found?.status?.nodeInfo?.containerRuntimeVersion, new RegExp(`^${runtime}://\\d`));
    });
    await outcomes(t, node);
    await oneLife(t, node);
    await overRestarts(t, node);
    if (node.containerd) await guestOfContainerd(t, node);
  });
}

/** Pods that end: side by side, each looked at when it is over. */
async function outcomes(t: Test, node: TestNode): Promise<void> {
  const never = { restartPolicy: 'Never' };
  const shared = { volumes: [{ name: 'v', emptyDir: {} }] };
  const mount = { volumeMounts: [{ name: 'v', mountPath: '/v' }] };
  const secret = { name: 'T', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } };
  interface Case {
    name: string;
    script: string;
    container?: object;
    spec?: object;
    phase?: string;
    ended: object;
    log: RegExp;
  }
  const done = { exitCode: 0, reason: 'Completed' };
  const failed = (exitCode: number, more: object = {}) => ({
    phase: 'Failed',
    ended: { exitCode, reason: 'Error', ...more },
  });
  const cases: Case[] = [
    { name: 'exits', script: 'echo out; exit 3', ...failed(3), log: /^out\n$/ },
    {
      name: 'message',
      script: 'echo -n bye > /dev/termination-log; exit 1',
      ...failed(1, { message: 'bye' }),
      log: /^$/,
    },
    {
      name: 'missing',
      script: '',
      container: { command: ['/no/such/program'] },
      phase: 'Failed',
      ended: { exitCode: 128, reason: 'StartError', message: /no such file|not found/i },
      log: /^$/,
    },
    {
      name: 'greedy',
      script: 'tail /dev/zero',
      container: { resources: { limits: { memory: '32Mi' } } },
      phase: 'Failed',
      ended: { exitCode: 137, reason: outOfMemory(node) },
      log: /^(Killed\n)?$/,
    },
    {
      name: 'user',
      script: 'id -u; id -g; id -G',
      container: { securityContext: { runAsUser: 1234, runAsGroup: 5678 } },
      spec: { securityContext: { supplementalGroups: [42] } },
      ended: done,
      log: /^1234\n5678\n5678 42\n$/,
    },
    {
      name: 'security',
      script:
        "awk '/^(CapEff|Seccomp|NoNewPrivs):/ { print $2 }' /proc/self/status; touch /x 2>/dev/null || echo refused",
      container: { securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true } },
      ended: done,
      log: /^00000000a80425fb\n1\n2\nrefused\n$/,
    },
    {
      name: 'network',
      script:
        'ip -4 -o addr show eth0 | grep -c " $T/"; hostname; grep -c "$T.*shop" /etc/hosts; cat /etc/resolv.conf',
      container: { env: [secret] },
      spec: {
        hostname: 'shop',
        hostAliases: [{ ip: '10.9.8.7', hostnames: ['db'] }],
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['192.0.2.1'], searches: ['lab'] },
      },
      ended: done,
      log: /^1\nshop\n1\nsearch lab\nnameserver 192.0.2.1\n$/,
    },
    {
      name: 'hostnet',
      script: 'test "$(readlink /proc/self/ns/net)" = "$NS" && echo same',
      container: { env: [{ name: 'NS', value: ownNetns() }] },
      spec: { hostNetwork: true },
      ended: done,
      log: /^same\n$/,
    },
    {
      name: 'sysctl',
      script: 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
      spec: { securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }] } },
      ended: done,
      log: /^80\n$/,
    },
    {
      name: 'init',
      script: 'cat /v/order',
      container: mount,
      spec: {
        ...shared,
        initContainers: ['one', 'two'].map((name) => ({
          name,
          image: 'localhost/host',
          command: ['/bin/sh', '-c', `echo ${name} >> /v/order`],
          ...mount,
        })),
      },
      ended: done,
      log: /^one\ntwo\n$/,
    },
  ];
  await Promise.all(
    cases.map(({ name, script, container = {}, spec = {} }) => {
      const pod = hostPod(name, { c: script }, { ...never, ...spec }) as { spec: { containers: object[] } };
      pod.spec.containers = pod.spec.containers.map((one) => ({ ...one, ...container }));
      return node.apply(pod);
    }),
  );
  for (const { name, phase = 'Succeeded', ended, log } of cases)
    await t.test(`the outcome of Pod ${name}`, async (t) => {
      const pod = await node.until(name, isOver);
      t.equal(pod.status?.phase, phase);
      t.match(statusOf(pod, 'c')?.state?.terminated, ended);
      t.match((await node.podwire(['logs', name])).stdout, log);
    });
  await node.podwire(['delete', 'pod', ...cases.map(({ name }) => name)]);
}

const ownNetns = (): string => readlinkSync('/proc/self/ns/net');

/** Probes, hooks, exec, a restart, and an end that takes its grace. */
async function oneLife(t: Test, node: TestNode): Promise<void> {
  const exec = (script: string) => ({ exec: { command: ['/bin/sh', '-c', script] } });
  await t.test('a Pod that lives: hooks, probes, exec, a restart, a stop signal of its own', async (t) => {
    const script = 'echo begun; trap "echo got USR1; exit 0" USR1; while :; do sleep 1000 & wait $!; done';
    const pod = hostPod('web', { a: script, b: sleeper }) as { spec: { containers: object[]; os?: object } };
    pod.spec.os = { name: 'linux' };
    const [a, b] = pod.spec.containers;
    const lifecycle = { postStart: exec('touch /tmp/begun'), stopSignal: 'SIGUSR1' };
    const readinessProbe = { ...exec('test -e /tmp/begun'), periodSeconds: 1, timeoutSeconds: 60 };
    pod.spec.containers = [{ ...a, lifecycle, readinessProbe }, { ...b }];
    await node.apply(pod);
    const ready = await node.until('web', (p) => isRunning(p) && statusOf(p, 'a')?.ready);
    t.match(ready.status, { podIP: /^10\.210\.0\.\d+$/ });
    const sh = (script: string, input?: string) =>
      node.podwire(
        ['exec', ...(input === undefined ? [] : ['-i']), 'web', '-c', 'b', '--', 'sh', '-c', script],
        input,
      );
    t.match(await sh('echo out; echo err >&2; exit 7'), { exitCode: 7, stdout: 'out\n', stderr: /^err/ });
    t.equal(
      (await sh('wc -c', 'x'.repeat(300_000))).stdout.trim(),
      '300000',
      'all of standard input, and its end',
    );
    t.equal((await node.podwire(['exec', 'web', '-c', 'b', '--', '/no/such'])).exitCode, 127);
    await sh('kill 1');
    const again = await node.until('web', (p) => isRunning(p) && statusOf(p, 'b')?.restartCount === 1);
    t.match(statusOf(again, 'b')?.lastState?.terminated, { exitCode: 0, reason: 'Completed' });
    t.equal(again.status?.podIP, ready.status?.podIP);
    t.equal(statusOf(again, 'a')?.restartCount, 0);
    const argv = ['bin/podwire', '--root', node.paths.root, 'logs', '-f', 'web', '-c', 'a'] as const;
    const logs = await openSession({ argv, tty: false, stdin: false });
    const heard = listen(logs);
    await heard.until(/^begun\n/);
    t.equal((await node.podwire(['delete', 'pod', 'web', '--grace-period=60'])).exitCode, 0);
    await logs.exit;
    t.match(heard.text, /^begun\ngot USR1\n/);
    t.notOk(existsSync(join(node.paths.pods, again.metadata.uid)));
  });
}

/** The daemon dies, and so may a Pod's container meanwhile. */
async function overRestarts(t: Test, node: TestNode): Promise<void> {
  await t.test('a new daemon takes up what runs, and what died meanwhile', async (t) => {
    await node.apply(hostPod('stays', { a: sleeper, b: `sleep 1; ${sleeper}` }));
    const before = await node.until('stays', isRunning);
    await node.kill9();
    const idOf = (name: string): string => statusOf(before, name)?.containerID?.split('//')[1] ?? '';
    const group = `pod${before.metadata.uid}/${idOf('b')}`;
    killAll(cgroupProcs(`${node.paths.cgroup}/${group}`));
    await node.up();
    const after = await node.until('stays', (p) => isRunning(p) && statusOf(p, 'b')?.restartCount === 1);
    t.equal(after.status?.podIP, before.status?.podIP);
    t.equal(statusOf(after, 'a')?.containerID, statusOf(before, 'a')?.containerID, 'the other one went on');
    t.equal((await node.podwire(['exec', 'stays', '-c', 'a', '--', 'echo', 'hi'])).stdout, 'hi\n');
  });
}

/** Only with a runtime that is not ours alone. */
async function guestOfContainerd(t: Test, node: TestNode): Promise<void> {
  const { containerd } = node;
  if (!containerd) return;
  const socket = `unix://${containerd.socket}`;

  await t.test('what others run under the same containerd is left alone', async (t) => {
    const cri = await CriConnection.open(socket);
    t.teardown(() => cri.close());
    const config = {
      metadata: { name: 'stranger', uid: 'stranger', namespace: 'default', attempt: 0 },
      linux: { securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } } },
    } as const;
    const { podSandboxId } = await cri.call('RunPodSandbox', { config });
    await node.kill9();
    await node.up(); // housekeeping takes what nobody knows
    const { status } = await cri.call('PodSandboxStatus', { podSandboxId });
    t.equal(status?.state, 'SANDBOX_READY');
    await cri.call('StopPodSandbox', { podSandboxId });
    await cri.call('RemovePodSandbox', { podSandboxId });
  });

  await t.test('containerd dies and comes back: Pods go on, the Node says so', async (t) => {
    const before = await node.until('stays', isRunning);
    await containerd.restart();
    const sh = () => node.podwire(['exec', 'stays', '-c', 'a', '--', 'echo', 'hi']);
    t.ok(await until(async () => (await sh()).stdout === 'hi\n'));
    const after = await node.until('stays', isRunning);
    t.same(
      after.status?.containerStatuses?.map(({ containerID }) => containerID),
      before.status?.containerStatuses?.map(({ containerID }) => containerID),
    );
  });

  await t.test("images are the runtime's own", async (t) => {
    t.match((await node.podwire(['image', 'list'])).stdout, /localhost\/podwire-e2e\s+1\s/);
    const archive = await node.podwire(['image', 'import', '/etc/hostname']);
    t.match(archive.stderr, /ctr -n k8s.io images import/);
    const used = await node.podwire(['image', 'rm', testImage]);
    t.match(used, { exitCode: 1, stderr: /is used by/ });
    const root = hostPod('root', { c: sleeper });
    await node.client.create('pods', { ...root, metadata: { name: 'root', namespace: 'default' } } as Pod);
    const pod = await node.until(
      'root',
      (p) => statusOf(p, 'c')?.state?.waiting?.reason === 'InvalidImageName',
    );
    t.match(statusOf(pod, 'c')?.state?.waiting?.message, /only podwire's own runtime/);
    await node.podwire(['delete', 'pod', 'root']);
  });

  await t.test('another runtime than the Pods have is refused, and so is none', async (t) => {
    await node.podwire(['down']);
    const own = await node.podwire(['up', '--runtime-endpoint', '']);
    t.match(own, { exitCode: 1, stderr: /run under a container runtime/ });
    const nobody = await node.podwire(['up', '--runtime-endpoint', 'unix:///run/no-such.sock']);
    t.match(nobody, { exitCode: 1, stderr: /there is no such socket; is the runtime running/ });
    await node.up();
  });

  await t.test('the conflist is where containerd looks, in a version that it knows', async (t) => {
    const [file] = readdirSync(node.paths.cniConf);
    const list = JSON.parse(readFileSync(join(node.paths.cniConf, file ?? ''), 'utf8')) as object;
    t.match(list, { cniVersion: '1.0.0', cniVersions: ['1.0.0', '1.1.0'] });
    const { stdout } = await run({ argv: ['nft', 'list', 'tables'] });
    t.match(stdout, new RegExp(`podwire-${node.paths.tag}`));
  });
}
