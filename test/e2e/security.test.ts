// What containers may and may not: profiles, sysctls, capabilities, masks, who they are (ACCEPTANCE A 15, 18), and what
// Pods share of their memory (A 20).
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { run } from '../../lib/exec/exec.ts';
import { bindMount, mountTmpfs, unmountAll } from '../../lib/kernel/mount.ts';
import {
  hostPod,
  isRunning,
  ownRuntimeOnly,
  sleeper,
  startNode,
  suiteRuntimes,
  type TestRuntime,
} from './harness.ts';

for (const runtime of suiteRuntimes) t.test(`security by ${runtime}`, (t) => security(t, runtime));

async function security(t: Test, runtime: TestRuntime): Promise<void> {
  const node = await startNode(t, {
    podCidr: '10.208.0.0/24',
    runtime,
    flags: ['--allowed-unsafe-sysctls', 'kernel.msg*'],
  });
  const apply = async (name: string, script: string, container: object, spec: object): Promise<void> => {
    const pod = hostPod(name, {}, { restartPolicy: 'Never', ...spec }) as { spec: { containers: object[] } };
    const command = ['/bin/sh', '-c', script];
    pod.spec.containers = [{ name: 'c', image: 'localhost/host', command, ...container }];
    await node.apply(pod);
  };
  let count = 0;
  /** Runs a script to its end; gives its log. */
  const output = async (script: string, container: object, spec: object): Promise<string> => {
    const name = `one-${count++}`;
    await apply(name, script, container, spec);
    await node.until(name, (p) => p?.status?.phase === 'Succeeded' || p?.status?.phase === 'Failed');
    const { stdout } = await node.podwire(['logs', name]);
    await node.podwire(['delete', 'pod', name]);
    return stdout.trim();
  };
  mkdirSync(join(node.paths.seccomp, 'sub'), { recursive: true });
  const profile = (name: string, content: object): void =>
    writeFileSync(join(node.paths.seccomp, name), JSON.stringify(content));
  profile('sub/no-mkdir.json', {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
  });
  profile('docker.json', {
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['x'], action: 'SCMP_ACT_ALLOW', includes: {} }],
  });
  const localhost = (localhostProfile: string) => ({
    securityContext: { seccompProfile: { type: 'Localhost', localhostProfile } },
  });

  const mode = 'grep ^Seccomp: /proc/self/status | cut -f2';
  const caps = 'grep CapBnd /proc/self/status | cut -f2';
  const cases: { name: string; script: string; container?: object; spec?: object; want: string | RegExp }[] =
    [
      {
        name: "a seccomp profile of the node's",
        script: `mkdir /x 2>/dev/null || echo refused; ${mode}`,
        container: localhost('sub/no-mkdir.json'),
        want: 'refused\n2',
      },
      {
        name: 'the same for all containers',
        script: 'mkdir /x 2>/dev/null || echo refused',
        spec: localhost('sub/no-mkdir.json'),
        want: 'refused',
      },
      {
        name: 'no profile',
        script: mode,
        spec: { securityContext: { seccompProfile: { type: 'Unconfined' } } },
        want: '0',
      },
      {
        name: 'masked and read-only paths',
        script:
          'wc -c < /proc/keys; ls /sys/firmware | wc -l; for p in /proc/sys/kernel/domainname /proc/sysrq-trigger; do (echo x > $p) 2>/dev/null && echo wrote; done; mount | grep -c "^proc on /proc/sys .*ro"',
        want: '0\n0\n1',
      },
      {
        name: 'privileged: every capability and device that there is, no masks, no seccomp',
        script: `${mode}; test "$(${caps})" != 00000000a80425fb && echo more; mount | grep -c "on /proc/sys "; test -e /dev/kmsg -o -e /dev/full && echo devices`,
        container: { securityContext: { privileged: true } },
        want: '0\nmore\n0\ndevices',
      },
      {
        name: 'setuid gives nothing without allowPrivilegeEscalation',
        script: 'cp /usr/bin/id /tmp/id 2>/dev/null; grep NoNewPrivs /proc/self/status | cut -f2',
        container: { securityContext: { allowPrivilegeEscalation: false, runAsUser: 1000 } },
        want: '1',
      },
      {
        name: 'no capability for a user who is not root',
        script: 'grep CapEff /proc/self/status | cut -f2',
        container: { securityContext: { runAsUser: 1000, capabilities: { add: ['NET_ADMIN'] } } },
        want: '0000000000000000',
      },
      {
        name: 'a read-only root with a place to write',
        script: 'touch /x 2>/dev/null || echo refused; touch /work/x && echo wrote',
        container: {
          securityContext: { readOnlyRootFilesystem: true },
          volumeMounts: [{ name: 'work', mountPath: '/work' }],
        },
        spec: { volumes: [{ name: 'work', emptyDir: {} }] },
        want: 'refused\nwrote',
      },
      {
        name: 'groups: supplemental, fsGroup, strict',
        script: 'id -u; id -g; id -G',
        spec: {
          securityContext: {
            ...{ runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000] },
            supplementalGroupsPolicy: 'Strict',
          },
        },
        want: '1000\n3000\n3000 2000 4000',
      },
      {
        name: 'safe sysctls of the network and of ipc, and one that this node allows',
        script: 'cd /proc/sys; cat net/ipv4/ping_group_range kernel/shm_rmid_forced kernel/msgmax',
        spec: {
          securityContext: {
            sysctls: [
              { name: 'net.ipv4.ping_group_range', value: '0 7' },
              { name: 'kernel.shm_rmid_forced', value: '1' },
              { name: 'kernel.msgmax', value: '10000' },
            ],
          },
        },
        want: /^0\s+7\n1\n10000$/,
      },
    ];
  for (const { name, script, container = {}, spec = {}, want } of cases)
    t.test(name, { skip: /strict/.test(name) && ownRuntimeOnly }, async (t) => {
      const said = await output(script, container, spec);
      if (typeof want === 'string') t.equal(said, want);
      else t.match(said, want);
    });

  const waiting = (p: Pod | undefined) => p?.status?.containerStatuses?.[0]?.state?.waiting;
  const refused: { name: string; container: object; reason: string; message: RegExp }[] = [
    {
      name: 'no-profile',
      container: localhost('absent.json'),
      reason: 'CreateContainerError',
      message: /cannot load seccomp profile ".*\/etc\/podwire\/seccomp\/absent.json": ENOENT/,
    },
    {
      name: 'foreign-profile',
      container: localhost('docker.json'),
      reason: 'CreateContainerError',
      message: /"includes" is not of the OCI runtime specification/,
    },
    {
      name: 'root-after-all',
      container: { securityContext: { runAsNonRoot: true } },
      reason: 'CreateContainerConfigError',
      message: /runAsNonRoot is set, and it would run as root/,
    },
  ];
  for (const { name, container, reason, message } of refused)
    t.test(`a container that cannot be: ${name}`, async (t) => {
      await apply(name, 'true', container, {});
      const pod = await node.until(name, (p) => waiting(p)?.reason === reason);
      t.match(waiting(pod)?.message, message);
      await node.podwire(['delete', 'pod', name]);
    });

  t.test('a sysctl that this node does not allow fails the Pod', async (t) => {
    const sysctls = [{ name: 'net.core.somaxconn', value: '1' }];
    await apply('forbidden', 'true', {}, { securityContext: { sysctls } });
    const pod = await node.until('forbidden', (p) => p?.status?.phase === 'Failed');
    t.match(pod.status, {
      reason: 'SysctlForbidden',
      message: 'Pod was rejected: forbidden sysctl: "net.core.somaxconn" not allowlisted',
    });
    t.match((await node.podwire(['describe', 'pod', 'forbidden'])).stdout, /Warning\s+SysctlForbidden/);
    await node.podwire(['delete', 'pod', 'forbidden']);
  });

  t.test(
    'shared memory and message queues inside a Pod, and not across Pods',
    { skip: ownRuntimeOnly },
    async (t) => {
      await node.apply(hostPod('near', { a: sleeper, b: sleeper }));
      await node.apply(hostPod('far', { a: sleeper }));
      await Promise.all([node.until('near', isRunning), node.until('far', isRunning)]);
      const sh = async (pod: string, container: string, script: string): Promise<string> =>
        (await node.podwire(['exec', pod, '-c', container, '--', 'sh', '-c', script])).stdout.trim();
      await sh('near', 'a', 'echo posix > /dev/shm/note; ipcmk -Q >/dev/null; ipcmk -M 4096 >/dev/null');
      const look = 'cat /dev/shm/note 2>/dev/null; ipcs -q | grep -c ^0x; ipcs -m | grep -c ^0x';
      t.equal(await sh('near', 'b', look), 'posix\n1\n1');
      t.equal(await sh('far', 'a', look), '0\n0');
      await node.podwire(['delete', 'pod', 'near', 'far']);
    },
  );

  t.test(
    'mounts: read-only, recursively too; what is mounted later, in the one way and the other',
    async (t) => {
      const folder = mkdtempSync('/tmp/podwire-mounts-');
      mkdirSync(join(folder, 'below'));
      mkdirSync(join(folder, 'later'));
      const lonely = mkdtempSync('/tmp/podwire-lonely-');
      for (const path of [folder, lonely]) await bindMount({ source: path, target: path });
      await run({ argv: ['mount', '--make-shared', folder] });
      await run({ argv: ['mount', '--make-private', lonely] });
      await mountTmpfs({ target: join(folder, 'below'), options: 'size=64k' });
      t.teardown(async () => {
        for (const path of [folder, lonely]) {
          await unmountAll(path);
          rmSync(path, { recursive: true, force: true });
        }
      });
      const at = (mountPath: string, more: object) => ({ name: 'h', mountPath, ...more });
      const containers = [
        {
          ...{ name: 'c', image: 'localhost/host', command: ['/bin/sh', '-c', sleeper] },
          volumeMounts: [
            at('/ro', { readOnly: true }),
            at('/rro', { readOnly: true, recursiveReadOnly: node.containerd ? 'Disabled' : 'Enabled' }),
            at('/private', {}),
            at('/slave', { mountPropagation: 'HostToContainer' }),
          ],
        },
        {
          ...{ name: 'p', image: 'localhost/host', command: ['/bin/sh', '-c', sleeper] },
          securityContext: { privileged: true },
          volumeMounts: [at('/both', { mountPropagation: 'Bidirectional' })],
        },
      ];
      const pod = hostPod('mounts', {}, { volumes: [{ name: 'h', hostPath: { path: folder } }] });
      await node.apply({ ...pod, spec: { ...(pod as { spec: object }).spec, containers } });
      await node.until('mounts', isRunning);
      const sh = async (container: string, script: string): Promise<string> =>
        (await node.podwire(['exec', 'mounts', '-c', container, '--', 'sh', '-c', script])).stdout.trim();
      const write = 'for f in ro ro/below rro rro/below; do touch /$f/x 2>/dev/null && echo $f; done; true';
      t.equal(
        await sh('c', write),
        node.containerd ? 'ro/below\nrro/below' : 'ro/below',
        'readOnly is the mount itself; recursiveReadOnly all below it',
      );
      await mountTmpfs({ target: join(folder, 'later'), options: 'size=64k' });
      writeFileSync(join(folder, 'later/note'), 'n');
      t.equal(await sh('c', 'cd /; ls private/later slave/later'), 'private/later:\n\nslave/later:\nnote');
      await sh('p', 'mkdir /both/up && mount -t tmpfs tmpfs /both/up && touch /both/up/from-below');
      t.ok(existsSync(join(folder, 'up/from-below')), 'a privileged container mounts for the machine');
      await node.podwire(['delete', 'pod', 'mounts']);
      const alone = { volumeMounts: [at('/x', { mountPropagation: 'HostToContainer' })] };
      await apply('lonely', 'true', alone, { volumes: [{ name: 'h', hostPath: { path: lonely } }] });
      const refusal = await node.until('lonely', (p) => waiting(p)?.reason === 'CreateContainerError');
      t.match(waiting(refusal)?.message, /is not a shared or slave mount/, 'never silently without');
      await node.podwire(['delete', 'pod', 'lonely']);
    },
  );
}
