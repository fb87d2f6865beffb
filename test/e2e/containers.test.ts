// What containers get: limits, users, capabilities, volumes, host namespaces, environment, exits. crun, then runc.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { until } from '../until.ts';
import {
  hostPod,
  isRunning,
  outOfMemory,
  sleeper,
  startNode,
  suiteRuntimes,
  type TestNode,
} from './harness.ts';

for (const runtime of suiteRuntimes)
  t.test(`containers by ${runtime}`, async (t) => {
    const node = await startNode(t, { podCidr: '10.205.0.0/24', runtime });
    /** Runs a script to its end in a container with this spec; gives its log. */
    const output = async (script: string, container: object = {}, spec: object = {}): Promise<string> => {
      const pod = hostPod('one', {}, { restartPolicy: 'Never', ...spec }) as {
        spec: { containers: object[] };
      };
      pod.spec.containers = [
        { name: 'c', image: 'localhost/host', command: ['/bin/sh', '-c', script], ...container },
      ];
      await node.apply(pod);
      await node.until('one', (p) => p?.status?.phase === 'Succeeded' || p?.status?.phase === 'Failed');
      const { stdout } = await node.podwire(['logs', 'one']);
      await node.podwire(['delete', 'pod', 'one']);
      return stdout.trim();
    };

    const cases = [
      {
        name: 'environment and expansion',
        script: 'echo $A-$B',
        container: {
          env: [
            { name: 'A', value: '1' },
            { name: 'B', value: '$(A)2' },
          ],
        },
        want: '1-12',
      },
      {
        name: 'the Pod knows its address',
        script: 'ip -4 -o addr show eth0 | grep -c " $IP/"',
        container: { env: [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }] },
        want: '1',
      },
      {
        name: 'user and groups',
        script: 'id -u; id -g; id -G',
        container: { securityContext: { runAsUser: 1234, runAsGroup: 5678 } },
        spec: { securityContext: { supplementalGroups: [42] } },
        want: '1234\n5678\n5678 42',
      },
      {
        name: 'a read-only root',
        script: 'touch /x 2>/dev/null && echo wrote || echo refused',
        container: { securityContext: { readOnlyRootFilesystem: true } },
        want: 'refused',
      },
      { name: 'a root of its own', script: 'touch /podwire-was-here && echo wrote', want: 'wrote' },
      {
        name: 'default capabilities',
        script: 'grep CapEff /proc/self/status | cut -f2',
        want: '00000000a80425fb',
      },
      {
        name: 'dropped and added capabilities',
        script: 'grep CapEff /proc/self/status | cut -f2',
        container: { securityContext: { capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } } },
        want: '0000000000000400',
      },
      { name: 'seccomp is on', script: 'grep ^Seccomp: /proc/self/status | cut -f2', want: '2' },
      {
        name: 'no new privileges',
        script: 'grep NoNewPrivs /proc/self/status | cut -f2',
        container: { securityContext: { allowPrivilegeEscalation: false } },
        want: '1',
      },
      { name: 'working folder', script: 'pwd', container: { workingDir: '/usr' }, want: '/usr' },
      {
        name: 'one process sees only itself',
        script: 'echo $$$$',
        want: '1' /* $$ is Kubernetes' escape for $ */,
      },
      {
        name: "the machine's pids with hostPID",
        script: 'test $$$$ -gt 1 && echo yes',
        spec: { hostPID: true },
        want: 'yes',
      },
      {
        name: "the machine's network with hostNetwork",
        script:
          'ls /sys/class/net | grep -c "^eth0$\\|^lo$" >/dev/null && ip -o link | grep -c master >/dev/null; readlink /proc/1/ns/net | cut -d: -f1',
        spec: { hostNetwork: true },
        want: 'net',
      },
      {
        name: 'a safe sysctl',
        script: 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start',
        spec: {
          securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }] },
        },
        want: '80',
      },
      {
        name: 'host aliases',
        script: 'grep -c "10.9.8.7.*db" /etc/hosts',
        spec: { hostAliases: [{ ip: '10.9.8.7', hostnames: ['db'] }] },
        want: '1',
      },
      {
        name: 'DNS of its own',
        script: 'cat /etc/resolv.conf',
        spec: { dnsPolicy: 'None', dnsConfig: { nameservers: ['192.0.2.1'], searches: ['lab'] } },
        want: 'search lab\nnameserver 192.0.2.1',
      },
    ];
    for (const c of cases)
      await t.test(c.name, async (t) => {
        t.equal(await output(c.script, c.container, c.spec), c.want);
      });

    await t.test('limits stand in the cgroup', async (t) => {
      const limits = { resources: { limits: { cpu: '500m', memory: '64Mi' } } };
      const script =
        'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -1';
      t.equal(await output(script, limits), String(64 * 1024 * 1024));
    });

    await t.test('out of memory is told as such', async (t) => {
      const pod = hostPod('greedy', { c: 'tail /dev/zero' }, { restartPolicy: 'Never' }) as {
        spec: { containers: object[] };
      };
      pod.spec.containers = pod.spec.containers.map((c) => ({
        ...c,
        resources: { limits: { memory: '32Mi' } },
      }));
      await node.apply(pod);
      const dead = await node.until('greedy', (p) => p?.status?.phase === 'Failed');
      t.match(dead.status?.containerStatuses?.[0]?.state?.terminated, {
        reason: outOfMemory(node),
        exitCode: 137,
      });
    });

    await t.test('emptyDir is shared and outlives a restart; hostPath shows the machine', async (t) => {
      await volumes(t, node);
    });

    await t.test('a shared pid namespace: pause is its first process', async (t) => {
      await node.apply(hostPod('shared', { a: sleeper, b: sleeper }, { shareProcessNamespace: true }));
      await node.until('shared', isRunning);
      const { stdout } = await node.podwire([
        'exec',
        'shared',
        '-c',
        'b',
        '--',
        'sh',
        '-c',
        'cat /proc/1/comm; ls /proc | grep -c "^[0-9]"',
      ]);
      const [first, count] = stdout.trim().split('\n');
      t.match(first, /catatonit|sleep|busybox/);
      t.ok(Number(count) >= 5, `sees the other container's processes (${count})`);
      await node.podwire(['delete', 'pod', 'shared']);
    });

    await t.test('restart policy and back-off', async (t) => {
      await node.apply(hostPod('crash', { c: 'exit 3' }, { restartPolicy: 'OnFailure' }));
      const pod = await node.until(
        'crash',
        (p) => p?.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CrashLoopBackOff',
      );
      t.match(pod.status?.containerStatuses?.[0], {
        restartCount: 1,
        lastState: { terminated: { exitCode: 3 } },
      });
      t.match(
        pod.status?.containerStatuses?.[0]?.state?.waiting?.message,
        /^back-off 10s restarting failed container=c pod=crash_default/,
      );
      await node.podwire(['delete', 'pod', 'crash']);
    });

    await t.test('probes and hooks run in the container; one that takes too long is ended', async (t) => {
      const exec = (script: string) => ({ exec: { command: ['/bin/sh', '-c', script] } });
      const pod = hostPod('asked', { c: sleeper, late: sleeper }) as { spec: { containers: object[] } };
      const late = { readinessProbe: { ...exec('sleep 1000'), timeoutSeconds: 1, periodSeconds: 3 } };
      const asked = { lifecycle: { postStart: exec('touch /tmp/started') } };
      const probed = { readinessProbe: { ...exec('test -e /tmp/started'), timeoutSeconds: 60 } };
      pod.spec.containers = pod.spec.containers.map((c, at) => ({
        ...c,
        ...(at ? late : { ...asked, ...probed }),
      }));
      await node.apply(pod);
      const told = async () => (await node.podwire(['describe', 'pod', 'asked'])).stdout;
      await node.until('asked', async () => /timed out after 1s/.test(await told()));
      const now = await node.until('asked', (p) => p?.status?.containerStatuses?.[0]?.ready);
      t.same(
        now.status?.containerStatuses?.map(({ ready, restartCount }) => ({ ready, restartCount })),
        [
          { ready: true, restartCount: 0 },
          { ready: false, restartCount: 0 },
        ],
      );
      await node.podwire(['delete', 'pod', 'asked']);
    });

    await t.test('TERM, then after the grace KILL', async (t) => {
      await node.apply(
        hostPod(
          'deaf',
          { c: 'trap "" TERM; while :; do sleep 1; done' },
          { terminationGracePeriodSeconds: 2 },
        ),
      );
      await node.until('deaf', isRunning);
      const begin = Date.now();
      await node.podwire(['delete', 'pod', 'deaf']);
      const took = Date.now() - begin;
      t.ok(took >= 1900, `it had its grace (${took} ms)`);
    });

    await t.test('a deadline ends a Pod', async (t) => {
      await node.apply(hostPod('late', { c: sleeper }, { activeDeadlineSeconds: 1, restartPolicy: 'Never' }));
      const pod = await node.until('late', (p) => p?.status?.phase === 'Failed');
      t.equal(pod.status?.reason, 'DeadlineExceeded');
    });

    await t.test('a termination message', async (t) => {
      await node.apply(
        hostPod('teller', { c: 'echo -n bye > /dev/termination-log; exit 1' }, { restartPolicy: 'Never' }),
      );
      const pod = await node.until('teller', (p) => p?.status?.phase === 'Failed');
      t.equal(pod.status?.containerStatuses?.[0]?.state?.terminated?.message, 'bye');
    });
  });

async function volumes(t: Test, node: TestNode): Promise<void> {
  const folder = mkdtempSync('/tmp/podwire-hostpath-');
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'in'), 'from the machine');
  const mounts = [
    { name: 'disk', mountPath: '/disk' },
    { name: 'memory', mountPath: '/memory' },
    { name: 'host', mountPath: '/host', readOnly: true },
  ];
  const pod = hostPod('vols', { a: `echo run >> /disk/runs; ${sleeper}`, b: sleeper }) as {
    spec: { containers: object[]; volumes: object[] };
  };
  pod.spec.containers = pod.spec.containers.map((c) => ({ ...c, volumeMounts: mounts }));
  pod.spec.volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    { name: 'host', hostPath: { path: folder, type: 'Directory' } },
  ];
  await node.apply(pod);
  await node.until('vols', isRunning);
  const inB = async (script: string) =>
    (await node.podwire(['exec', 'vols', '-c', 'b', '--', 'sh', '-c', script])).stdout.trim();
  t.ok(await until(async () => (await inB('cat /disk/runs')) === 'run'));
  t.equal(
    await inB('cat /host/in; touch /host/out 2>/dev/null || echo " read-only"'),
    'from the machine read-only',
  );
  t.equal(await inB('stat -f -c %T /memory; stat -c %a /memory'), 'tmpfs\n777');
  t.match(
    await inB('head -c 2097152 /dev/zero > /memory/big 2>/dev/null; stat -c %s /memory/big'),
    /^1048576$/,
    'sizeLimit holds',
  );
  await node.podwire(['exec', 'vols', '-c', 'a', '--', 'sh', '-c', 'kill -TERM 1']);
  await node.until('vols', (p) => isRunning(p) && p?.status?.containerStatuses?.[0]?.restartCount === 1);
  const ranAgain = async () => (await inB('cat /disk/runs')) === 'run\nrun';
  t.ok(await until(ranAgain), 'the volume outlived the restart');
  await node.podwire(['delete', 'pod', 'vols']);
  t.equal(readFileSync(join(folder, 'in'), 'utf8'), 'from the machine', 'a hostPath is never removed');
}
