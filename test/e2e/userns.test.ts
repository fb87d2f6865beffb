// Pods with users of their own (hostUsers: false, ACCEPTANCE A 15): who they are inside, on the machine and on its disk,
// what they may do, and that their ids live as long as their sandbox, whoever dies meanwhile.
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { run } from '../../lib/exec/exec.ts';
import { cgroupProcs } from '../../lib/kernel/cgroup.ts';
import { listMounts, mountTmpfs, unmountAll } from '../../lib/kernel/mount.ts';
import {
  hostPod,
  isRunning,
  killAll,
  ownRuntimeOnly,
  sleeper,
  startNode,
  suiteRuntimes,
  type TestNode,
  type TestRuntime,
} from './harness.ts';

for (const runtime of suiteRuntimes)
  t.test(`users of its own by ${runtime}`, { skip: ownRuntimeOnly }, (t) => users(t, runtime));

const repo = join(import.meta.dirname, '../..');
const image = 'localhost/host';
const container = (name: string, script: string, more: object = {}): object => ({
  name,
  image,
  command: ['/bin/sh', '-c', script],
  ...more,
});
const podOf = (name: string, containers: object[], spec: object = {}): object => {
  const pod = hostPod(name, {}, { hostUsers: false, ...spec }) as { spec: object };
  return { ...pod, spec: { ...pod.spec, containers } };
};

/** First id of the range of a Pod's sandbox, as the machine's folder has it. */
function firstIds(node: TestNode): Map<string, number> {
  const folder = join(node.paths.userns, 'ids');
  const links = readdirSync(folder).map((name) => [readlinkSync(join(folder, name)), Number(name)] as const);
  const mine = links.filter(([owner]) => owner.startsWith(`${node.paths.sandboxes}/`));
  return new Map(
    mine.map(([owner, first]) => [
      owner
        .split('/')
        .at(-1)!
        .replace(/-[0-9a-f]{10}$/, ''),
      first,
    ]),
  );
}

function uidsOf(node: TestNode, pod: Pod): number[] {
  return cgroupProcs(`${node.paths.cgroup}/pod${pod.metadata.uid}`).flatMap((pid) => {
    const status = existsSync(`/proc/${pid}/status`) ? readFileSync(`/proc/${pid}/status`, 'utf8') : '';
    return (status.match(/^Uid:\s+(.*)$/m)?.[1] ?? '').split('\t').map(Number);
  });
}

const within =
  (first: number) =>
  (uid: number): boolean =>
    uid >= first && uid < first + 65536;

const containerIds = (pod: Pod): string[] =>
  (pod.status?.containerStatuses ?? []).map(({ containerID = '' }) => containerID.split('//')[1] ?? '');

async function users(t: Test, runtime: TestRuntime): Promise<void> {
  const outside = mkdtempSync('/tmp/podwire-userns-');
  t.teardown(async () => {
    await unmountAll(outside);
    rmSync(outside, { recursive: true, force: true });
  });
  // As a machine with systemd has it: what is unmounted below a copy of a shared mount would be unmounted here, too.
  const shared = join(outside, 'shared');
  mkdirSync(shared);
  await mountTmpfs({ target: shared, options: 'mode=0755' });
  await run({ argv: ['mount', '--make-shared', shared] });
  mkdirSync(join(shared, 'below'));
  await mountTmpfs({ target: join(shared, 'below'), options: 'mode=0755' });
  const files = join(outside, 'files');
  mkdirSync(files);
  for (const [name, owner] of [
    ['root', 0],
    ['ann', 1000],
  ] as const) {
    writeFileSync(join(files, name), name);
    chownSync(join(files, name), owner, owner);
  }

  const node = await startNode(t, { podCidr: '10.208.0.0/24', runtime });
  const sh = async (pod: string, script: string, name = 'root'): Promise<string> => {
    const { stdout, stderr } = await node.podwire(['exec', pod, '-c', name, '--', 'sh', '-c', script]);
    return (stdout + stderr).trim();
  };
  await node.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'cm' }, data: { k: 'v' } });
  await node.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'sec' }, data: { k: 'dg==' } });
  const volumeMounts = [
    ...['disk', 'memory', 'files', 'shared'].map((name) => ({ name, mountPath: `/v/${name}` })),
    { name: 'files', mountPath: '/v/ann', subPath: 'ann', readOnly: true },
    { name: 'cm', mountPath: '/v/cm' },
    { name: 'sec', mountPath: '/v/sec', readOnly: true },
    { name: 'api', mountPath: '/v/api' },
  ];
  const volumes = [
    { name: 'disk', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory' } },
    { name: 'files', hostPath: { path: files } },
    { name: 'shared', hostPath: { path: shared } },
    { name: 'cm', configMap: { name: 'cm' } },
    { name: 'sec', secret: { secretName: 'sec' } },
    { name: 'api', downwardAPI: { items: [{ path: 'n', fieldRef: { fieldPath: 'metadata.name' } }] } },
  ];
  await node.apply(
    podOf(
      'own',
      [
        container('root', sleeper, { volumeMounts }),
        container('ann', sleeper, { volumeMounts, securityContext: { runAsUser: 1000, runAsGroup: 1000 } }),
      ],
      {
        initContainers: [container('first', 'echo init > /v/disk/init', { volumeMounts })],
        securityContext: {
          fsGroup: 2000,
          sysctls: [
            { name: 'net.ipv4.ping_group_range', value: '0 7' },
            { name: 'kernel.shm_rmid_forced', value: '1' },
          ],
        },
        volumes,
      },
    ),
  );
  const pod = await node.until('own', isRunning);
  const first = firstIds(node).get('own') ?? 0;

  await t.test('who they are', async (t) => {
    t.ok(first >= 65536 && first % 65536 === 0);
    const seen = await sh('own', 'id -u; cat /proc/self/uid_map /proc/self/gid_map');
    const map = ['0', `${first}`, '65536'];
    t.same(seen.split(/\s+/), ['0', ...map, ...map]);
    const uids = uidsOf(node, pod);
    t.ok(uids.length >= 3 * 4, 'pause, and the two containers');
    t.ok(uids.includes(first) && uids.includes(first + 1000));
    t.ok(uids.every(within(first)), 'nobody else');
  });

  await t.test('whose the files are', async (t) => {
    const own = '/ /etc /dev/shm /etc/hosts /etc/resolv.conf /etc/hostname /dev/termination-log';
    const others =
      '/v/disk /v/disk/init /v/memory /v/files/root /v/files/ann /v/ann /v/cm/k /v/sec/k /v/api/n';
    t.same((await sh('own', `stat -Lc %u:%g ${own}`)).split('\n'), Array(7).fill('0:0'));
    t.same((await sh('own', `stat -Lc %u:%g ${others}`)).split('\n'), [
      ...['0:2000', '0:2000', '0:2000', '0:0', '1000:1000', '1000:1000'],
      ...['0:2000', '0:2000', '0:2000'],
    ]);
    t.equal(
      await sh('own', 'echo x > /v/disk/x && echo x > /v/memory/x && touch /v/disk/mine; id -u', 'ann'),
      '1000',
    );
    t.match(await sh('own', 'touch /v/files/x; touch /v/sec/x', 'ann'), /Permission denied[\s\S]*Read-only/);
    t.equal(await sh('own', 'touch /v/files/made /made /dev/shm/made && stat -c %u /made'), '0');
    t.equal(
      statSync(join(files, 'made')).uid,
      0,
      'on the disk it is as it would be without a user namespace',
    );
    const volume = join(node.paths.pods, pod.metadata.uid, 'volumes/kubernetes.io~empty-dir/disk');
    const owners = ['init', 'x', 'mine'].map((name) => statSync(join(volume, name)).uid);
    t.same(owners, [0, 1000, 1000]);
    t.ok(
      listMounts(shared).includes(join(shared, 'below')),
      "what is mounted below a volume still is, on the machine's side",
    );
  });

  await t.test('what they may', async (t) => {
    t.equal(
      await sh('own', 'hostname; cat /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shm_rmid_forced'),
      'own\n0\t7\n1',
    );
    t.equal(
      await sh('own', 'python3 -c \'import socket; socket.create_server(("", 80)); print("bound")\''),
      'bound',
    );
    t.match(await sh('own', 'ls /sys/class/net; ls -d /dev/mqueue'), /^eth0\nlo\n\/dev\/mqueue$/);
    const terminal = `${join(repo, 'bin/podwire')} --root ${node.paths.root} exec -it own -c ann -- sh -c "tty; id -u"`;
    const { stdout } = await run({ argv: ['script', '-qefc', terminal, join(outside, 'typescript')] });
    t.match(stdout, /\/dev\/(pts\/\d+|console)\r+\n1000\r+\n/);
    t.match(await sh('own', 'chown 70000 /made'), /Invalid argument/, 'there are 65536 of them');
    const script = 'cat /proc/self/uid_map /proc/1/comm';
    await node.podwire([
      'debug',
      'own',
      '-c',
      'looks',
      `--image=${image}`,
      '--target=root',
      '--',
      'sh',
      '-c',
      script,
    ]);
    await node.until('own', (p) => p?.status?.ephemeralContainerStatuses?.[0]?.state?.terminated);
    const { stdout: looked } = await node.podwire(['logs', 'own', '-c', 'looks']);
    t.match(looked, new RegExp(`^\\s*0\\s+${first}\\s+65536\\s+sh$`, 'm'), 'an ephemeral container, too');
  });

  await t.test('a Pod that ends, and one with all that is privileged', async (t) => {
    const last = 'echo out; echo err > /dev/stderr; echo last > /dev/termination-log';
    await node.apply(
      podOf('ends', [container('c', last, { securityContext: { runAsUser: 1000 } })], {
        restartPolicy: 'Never',
      }),
    );
    const ended = await node.until(
      'ends',
      (p) => p?.status?.phase === 'Succeeded' || p?.status?.phase === 'Failed',
    );
    t.match(ended.status?.containerStatuses?.[0]?.state?.terminated, { exitCode: 0, message: 'last\n' });
    t.same((await node.podwire(['logs', 'ends'])).stdout.split('\n').sort(), ['', 'err', 'out']);
    await node.until('ends', () => !firstIds(node).has('ends')); // they go with its sandbox, a moment later

    const securityContext = { privileged: true };
    const spec = { shareProcessNamespace: true };
    await node.apply(
      podOf(
        'all',
        [
          container('root', sleeper, { securityContext }),
          container('proc', sleeper, { securityContext: { procMount: 'Unmasked' } }),
        ],
        spec,
      ),
    );
    const all = await node.until('all', isRunning);
    const other = firstIds(node).get('all') ?? 0;
    t.ok(other >= 65536 && other !== first, 'ids of its own');
    t.ok(uidsOf(node, all).every(within(other)));
    t.match(
      await sh(
        'all',
        'mount -t tmpfs none /mnt && hostname changed && hostname; ip link add v0 type veth && echo made',
      ),
      /^changed\nmade$/,
    );
    t.match(await sh('all', 'cat /proc/1/comm'), /^(catatonit|sleep)$/);
    t.equal(await sh('all', 'mount | grep " on /proc/" | wc -l', 'proc'), '0', 'nothing covers any of /proc');
    t.match(await sh('all', 'echo 1 > /proc/sys/kernel/printk'), /denied/i, "the machine's is not theirs");
  });

  await t.test('what cannot be is told, and nothing runs', async (t) => {
    const cases = [
      {
        name: 'sys',
        more: { volumeMounts: [{ name: 'v', mountPath: '/v' }] },
        says: /\/sys: hostUsers: false needs the owners of its files mapped, .* on sysfs/,
      },
      {
        name: 'far',
        more: { securityContext: { runAsUser: 65536 } },
        says: /has the ids 0 to 65535, and it would run as 65536/,
      },
    ];
    for (const { name, more, says } of cases) {
      const volumes = [{ name: 'v', hostPath: { path: '/sys' } }];
      await node.apply(podOf(name, [container('c', sleeper, more)], { volumes }));
      const waiting = await node.until(name, (p) =>
        /^CreateContainer/.test(p?.status?.containerStatuses?.[0]?.state?.waiting?.reason ?? ''),
      );
      t.match(waiting.status?.containerStatuses?.[0]?.state?.waiting?.message, says);
    }
  });

  await t.test('restarts: of a container, of podwired, of the sandbox', async (t) => {
    await node.apply(podOf('again', [container('c', sleeper)]));
    await node.until('again', isRunning);
    await sh('again', 'kill -TERM 1', 'c');
    await node.until('again', (p) => isRunning(p) && p?.status?.containerStatuses?.[0]?.restartCount === 1);
    t.equal(await sh('again', 'id -u', 'c'), '0');
    await node.kill9();
    await node.up();
    const adopted = await node.until('own', isRunning);
    t.same(containerIds(adopted), containerIds(pod), 'the same containers');
    t.equal(firstIds(node).get('own'), first);
    t.equal(await sh('own', 'stat -c %u /v/files/ann; id -u', 'ann'), '1000\n1000');
    killAll(node.pausePids(adopted));
    const replaced = await node.until(
      'own',
      (p) => isRunning(p) && containerIds(p!).every((id) => !containerIds(pod).includes(id)),
      40,
    );
    const next = firstIds(node).get('own') ?? 0;
    t.ok(uidsOf(node, replaced).every(within(next)));
    t.match(
      await sh('own', 'stat -c %u /v/disk/x /v/disk/init'),
      /^1000\n0$/,
      'what they wrote is still theirs',
    );
  });

  await node.podwire(['delete', 'pod', 'own', 'ends', 'all', 'sys', 'far', 'again']);
  t.equal(firstIds(node).size, 0, 'all ids are free');
  const left = [...readdirSync(node.paths.userns), ...listMounts(node.paths.userns)];
  t.notOk(left.some((path) => containerIds(pod).some((id) => path.includes(id))));
}
