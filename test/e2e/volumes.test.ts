// Volumes of real Pods, of every kind: what is in them, who may read it, what reaches a running container, and that
// nothing leads out of them (ACCEPTANCE A 22-24); environments that speak of the same objects (A 17).
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { Event, Pod } from '../../lib/api/types.ts';
import { listMounts } from '../../lib/kernel/mount.ts';
import { until } from '../until.ts';
import { hostPod, isRunning, sleep, sleeper, startNode, type TestNode } from './harness.ts';

const image = 'localhost/host';
const shell = (name: string, script: string, more: object = {}): object => ({
  name,
  image,
  command: ['/bin/sh', '-c', script],
  ...more,
});
/** A Pod of these containers. */
const podOf = (name: string, containers: object[], spec: object = {}): { spec: object; metadata: object } => {
  const pod = hostPod(name, {}, spec) as { spec: object; metadata: object };
  return { ...pod, spec: { ...pod.spec, containers } };
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');

class Helper {
  readonly node: TestNode;
  constructor(node: TestNode) {
    this.node = node;
  }
  /** Runs a Pod to its end and gives its log. */
  async output(pod: { metadata: object }): Promise<string> {
    const { name } = pod.metadata as { name: string };
    await this.node.apply(pod);
    await this.node.until(name, (p) => p?.status?.phase === 'Succeeded' || p?.status?.phase === 'Failed');
    const { stdout, stderr } = await this.node.podwire(['logs', name]);
    await this.node.podwire(['delete', 'pod', name]);
    return (stdout + stderr).trim();
  }
  async sh(pod: string, script: string, container = 'c'): Promise<string> {
    const { stdout, stderr } = await this.node.podwire([
      'exec',
      pod,
      '-c',
      container,
      '--',
      'sh',
      '-c',
      script,
    ]);
    return (stdout + stderr).trim();
  }
  /** Polls until a script in the Pod says it. */
  async says(pod: string, script: string, want: string): Promise<void> {
    let said = '';
    const isSaid = async () => {
      said = await this.sh(pod, script);
      return said === want;
    };
    if (!(await until(isSaid)))
      throw new Error(`${pod}: ${script}: said ${JSON.stringify(said)}, not ${JSON.stringify(want)}`);
  }
  async object(kind: 'ConfigMap' | 'Secret', name: string, content: object): Promise<void> {
    await this.node.apply({ apiVersion: 'v1', kind, metadata: { name }, ...content });
  }
  async event(pod: string, reason: string, text: string): Promise<string> {
    let found: Event | undefined;
    const isTold = async () => {
      const { items } = await this.node.client.list('events', { namespace: 'default' });
      found = items.find(
        (one) => one.involvedObject.name === pod && one.reason === reason && one.message?.includes(text),
      );
      return found;
    };
    if (!(await until(isTold))) throw new Error(`${pod}: no event ${reason} with ${text}`);
    return found?.message ?? '';
  }
}

t.test('volumes', async (t) => {
  const node = await startNode(t, { podCidr: '10.207.0.0/24' });
  const help = new Helper(node);

  const owners = [
    { name: 'root', uid: 0, security: {} },
    { name: 'non-root', uid: 1001, security: { runAsUser: 1001 } },
    { name: 'non-root-in-a-group', uid: 1001, security: { runAsUser: 1001, fsGroup: 4321 } },
  ];
  for (const { name, uid, security } of owners)
    t.test(`emptyDir on disk and in memory, as ${name}: 0644, 0666, 0777`, async (t) => {
      const script = `for v in disk memory; do stat -c "%a %g" /$v; stat -f -c %T /$v | grep -c tmpfs
        for m in 0644 0666 0777; do
          echo content > /$v/f$m && chmod $m /$v/f$m && stat -c "%a %u %g" /$v/f$m && cat /$v/f$m
        done; done`;
      const pod = podOf(
        `owner-${name}`,
        [
          shell('c', script, {
            volumeMounts: [
              { name: 'disk', mountPath: '/disk' },
              { name: 'memory', mountPath: '/memory' },
            ],
          }),
        ],
        {
          restartPolicy: 'Never',
          securityContext: security,
          volumes: [
            { name: 'disk', emptyDir: {} },
            { name: 'memory', emptyDir: { medium: 'Memory' } },
          ],
        },
      );
      const group = 'fsGroup' in security ? security.fsGroup : 0;
      const mode = group === 0 ? '777' : '2777';
      const files = ['644', '666', '777'].map((m) => `${m} ${uid} ${group}\ncontent`).join('\n');
      t.equal(await help.output(pod), `${mode} ${group}\n0\n${files}\n${mode} ${group}\n1\n${files}`);
    });

  t.test(
    'configMap, secret, downwardAPI, projected: contents, modes, and changes that reach a container',
    async (t) => {
      await help.object('ConfigMap', 'conf', {
        data: { a: '1', 'b.txt': 'two' },
        binaryData: { bin: base64('\0\x01') },
      });
      await help.object('Secret', 'sec', { data: { password: base64('s3cret') } });
      const mount = (name: string) => ({ name, mountPath: `/${name}` });
      const volumes = [
        { name: 'conf', configMap: { name: 'conf' } },
        {
          name: 'items',
          configMap: {
            name: 'conf',
            defaultMode: 0o600,
            items: [
              { key: 'a', path: 'x/y/a', mode: 0o400 },
              { key: 'b.txt', path: 'b' },
            ],
          },
        },
        { name: 'sec', secret: { secretName: 'sec', defaultMode: 0o400 } },
        { name: 'nothing', secret: { secretName: 'not-there', optional: true } },
        {
          name: 'down',
          downwardAPI: {
            items: [
              { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
              { path: 'name', fieldRef: { fieldPath: 'metadata.name' } },
              {
                path: 'cpu',
                resourceFieldRef: { containerName: 'c', resource: 'limits.cpu', divisor: '1m' },
              },
              {
                path: 'mem',
                resourceFieldRef: { containerName: 'c', resource: 'limits.memory', divisor: '1Mi' },
              },
            ],
          },
        },
        {
          name: 'all',
          projected: {
            defaultMode: 0o440,
            sources: [
              { configMap: { name: 'conf', items: [{ key: 'a', path: 'conf/a' }] } },
              { secret: { name: 'sec', items: [{ key: 'password', path: 'sec/pw', mode: 0o600 }] } },
              { downwardAPI: { items: [{ path: 'uid', fieldRef: { fieldPath: 'metadata.uid' } }] } },
            ],
          },
        },
      ];
      const container = shell('c', sleeper, {
        resources: { limits: { cpu: '1250m', memory: '64Mi' } },
        volumeMounts: volumes.map(({ name }) => mount(name)),
      });
      const pod = podOf('data', [container], { volumes });
      pod.metadata = { name: 'data', labels: { app: 'x', tier: 'y' } };
      await node.apply(pod);
      const running = await node.until('data', isRunning);
      const { uid } = running.metadata;
      const cases: [name: string, script: string, want: string][] = [
        [
          'all keys of a ConfigMap',
          'ls /conf; cat /conf/a; stat -Lc %a /conf/b.txt; od -An -tx1 /conf/bin',
          'a\nb.txt\nbin\n1644\n 00 01',
        ],
        [
          'chosen keys with modes',
          'cd /items; find . -name "..*" -prune -o -type l -print; stat -Lc %a x/y/a b',
          './b\n./x\n400\n600',
        ],
        [
          'a Secret, in memory',
          'cat /sec/password; stat -Lc " %a" /sec/password; stat -f -c %T /sec',
          's3cret 400\ntmpfs',
        ],
        ['an optional one that is not there', 'ls /nothing', ''],
        [
          'fields and resources',
          'cat /down/labels; echo; cat /down/name /down/cpu; echo; cat /down/mem',
          'app="x"\ntier="y"\ndata1250\n64',
        ],
        [
          'projected',
          'cat /all/conf/a /all/sec/pw /all/uid; stat -Lc " %a" /all/conf/a /all/sec/pw',
          `1s3cret${uid} 440\n 600`,
        ],
        [
          'none of them can be written',
          'for v in conf sec down all; do touch /$v/x 2>/dev/null && echo $v; done; true',
          '',
        ],
      ];
      for (const [name, script, want] of cases)
        await t.test(name, async (t) => t.equal(await help.sh('data', script), want));

      await t.test('a change of the objects, and of the labels', async (t) => {
        await help.object('ConfigMap', 'conf', { data: { a: 'changed', new: 'n' } });
        await help.says('data', 'cat /conf/a /conf/new; ls /conf', 'changedna\nnew');
        t.equal(await help.sh('data', 'cat /all/conf/a'), 'changed');
        await help.object('Secret', 'sec', { data: { password: base64('n3w') } });
        await help.says('data', 'cat /sec/password /all/sec/pw', 'n3wn3w');
        await help.object('Secret', 'not-there', { data: { now: base64('it is') } });
        await help.says('data', 'cat /nothing/*', 'it is');
        await node.client.patch(
          'pods',
          { namespace: 'default', name: 'data' },
          { metadata: { labels: { app: 'z' } } },
        );
        await help.says('data', 'head -1 /down/labels', 'app="z"');
      });

      await t.test(
        'also after the daemon was killed; and what is removed stays in running containers',
        async () => {
          await node.kill9();
          await node.up();
          await help.object('ConfigMap', 'conf', { data: { a: 'after' } });
          await help.says('data', 'cat /conf/a', 'after');
          await node.podwire(['delete', 'configmap', 'conf']);
          await help.event('data', 'FailedMount', 'configmap "conf" not found');
          await help.says('data', 'cat /conf/a', 'after');
        },
      );

      await t.test('nothing is left after the Pod', async (t) => {
        t.ok(listMounts(join(node.paths.pods, uid)).length > 0, 'there was something');
        await node.podwire(['delete', 'pod', 'data']);
        t.notOk(existsSync(join(node.paths.pods, uid)));
        t.strictSame(listMounts(join(node.paths.pods, uid)), []);
      });
    },
  );

  t.test('what is missing holds the Pod, and it goes on when it appears', async (t) => {
    const volumes = [{ name: 'v', configMap: { name: 'late', items: [{ key: 'k', path: 'k' }] } }];
    const container = shell('c', sleeper, { volumeMounts: [{ name: 'v', mountPath: '/v' }] });
    await node.apply(podOf('waits', [container], { volumes }));
    const told = await help.event('waits', 'FailedMount', 'late');
    t.equal(told, 'MountVolume.SetUp failed for volume "v" : configmap "late" not found');
    const pod = await node.until('waits', (p) => p !== undefined);
    t.match(pod.status?.containerStatuses?.[0]?.state, { waiting: { reason: 'ContainerCreating' } });
    await help.object('ConfigMap', 'late', { data: { other: 'x' } });
    await help.event('waits', 'FailedMount', 'configmap references non-existent config key: k');
    await help.object('ConfigMap', 'late', { data: { k: 'here' } });
    await node.until('waits', isRunning);
    t.equal(await help.sh('waits', 'cat /v/k'), 'here');
    await node.podwire(['delete', 'pod', 'waits']);
  });

  t.test('environment: fields, resources, ConfigMaps, Secrets', async (t) => {
    await help.object('ConfigMap', 'env', { data: { A: 'a', 'dotted.key': 'd' } });
    await help.object('Secret', 'envs', { data: { TOKEN: base64('t0ken') } });
    const from = (valueFrom: object, name: string) => ({ name, valueFrom });
    const container = shell(
      'c',
      'tr "\\0" "\\n" < /proc/1/environ | grep ^T_ | LC_ALL=C sort' /* a shell drops names that it could not use */,
      {
        resources: { limits: { memory: '32Mi' }, requests: { cpu: '100m' } },
        envFrom: [
          { prefix: 'T_', configMapRef: { name: 'env' } },
          { prefix: 'T_', secretRef: { name: 'envs' } },
          { configMapRef: { name: 'absent', optional: true } },
        ],
        env: [
          from({ configMapKeyRef: { name: 'env', key: 'A' } }, 'T_KEY'),
          from({ secretKeyRef: { name: 'envs', key: 'TOKEN' } }, 'T_SECRET'),
          from({ secretKeyRef: { name: 'envs', key: 'none', optional: true } }, 'T_NONE'),
          from({ resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } }, 'T_MEM'),
          from({ resourceFieldRef: { resource: 'requests.cpu', divisor: '1m' } }, 'T_CPU'),
          from({ fieldRef: { fieldPath: 'metadata.namespace' } }, 'T_NS'),
          { name: 'T_ALL', value: '$(T_KEY)-$(T_SECRET)-$(T_NONE)-$(T_A)' },
          { name: 'T_A', value: 'own' },
        ],
      },
    );
    t.equal(
      await help.output(podOf('env', [container], { restartPolicy: 'Never' })),
      [
        'T_A=own',
        'T_ALL=a-t0ken-$(T_NONE)-a',
        'T_CPU=100',
        'T_KEY=a',
        'T_MEM=32',
        'T_NS=default',
        'T_SECRET=t0ken',
        'T_TOKEN=t0ken',
        'T_dotted.key=d',
      ].join('\n'),
    );
  });

  t.test(
    'an environment that speaks of what is not there: CreateContainerConfigError, until it is',
    async (t) => {
      const container = shell('c', sleeper, {
        env: [{ name: 'X', valueFrom: { secretKeyRef: { name: 'later', key: 'x' } } }],
      });
      await node.apply(podOf('noenv', [container]));
      const reason = (p: Pod | undefined) => p?.status?.containerStatuses?.[0]?.state?.waiting;
      const waiting = await node.until('noenv', (p) => reason(p)?.reason === 'CreateContainerConfigError');
      t.equal(reason(waiting)?.message, 'secret "later" not found');
      await help.event('noenv', 'Failed', 'Error: secret "later" not found');
      await node.podwire(['create', 'secret', 'generic', 'later', '--from-literal=y=topsecret']);
      await node.until('noenv', (p) => reason(p)?.message === "couldn't find key x in Secret default/later");
      await help.object('Secret', 'later', { stringData: { x: 'topsecret' } });
      await node.until('noenv', isRunning);
      t.equal(await help.sh('noenv', 'echo $X'), 'topsecret');
      const describe = await node.podwire(['describe', 'pod', 'noenv']);
      const events = JSON.stringify((await node.client.list('events')).items);
      const log = readFileSync(join(node.paths.logs, 'podwired.log'), 'utf8');
      const secret = (await node.podwire(['describe', 'secret', 'later'])).stdout;
      t.match(secret, /x: {2}9 bytes/);
      const texts = { describe: describe.stdout, secret, events, log };
      for (const [where, text] of Object.entries(texts))
        t.notMatch(text, /topsecret|dG9wc2VjcmV0/, `no secret in ${where}`);
      await node.podwire(['delete', 'pod', 'noenv']);
    },
  );

  t.test('subPath and subPathExpr, and no way out of the volume', async (t) => {
    await help.object('ConfigMap', 'files', { data: { one: 'first', two: 'second' } });
    const at = (mountPath: string, more: object) => ({ name: 'v', mountPath, ...more });
    const volumes = [
      { name: 'v', emptyDir: {} },
      { name: 'c', configMap: { name: 'files' } },
    ];
    const prepare = shell(
      'prepare',
      'cd /v; mkdir -p real/deep; echo data > real/deep/file; ln -s real link; ln -s / root; ln -s ../../../../.. up; ln -s real/deep/file flink',
      { volumeMounts: [at('/v', {})] },
    );
    const good = shell('good', sleeper, {
      env: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
      volumeMounts: [
        at('/deep', { subPath: 'real/deep' }),
        at('/through', { subPath: 'link/deep' }),
        at('/file', { subPath: 'flink' }),
        at('/made', { subPath: 'not/there/yet' }),
        at('/expr', { subPathExpr: '$(POD)' }),
        at('/ro', { subPath: 'real', readOnly: true }),
        { name: 'c', mountPath: '/etc/only-one', subPath: 'one' },
      ],
    });
    const bad = [
      ['root', 'root', 'root is a link to an absolute path'],
      ['below', 'root/etc', 'root is a link to an absolute path'],
      ['up', 'up/etc', 'leads out of the volume'],
    ] as const;
    const containers = [
      good,
      ...bad.map(([name, subPath]) => shell(name, sleeper, { volumeMounts: [at('/x', { subPath })] })),
    ];
    await node.apply(podOf('sub', containers, { volumes, initContainers: [prepare] }));
    const status = (p: Pod | undefined, name: string) =>
      p?.status?.containerStatuses?.find((one) => one.name === name)?.state;
    const restarts = (p: Pod | undefined) =>
      p?.status?.containerStatuses?.find((one) => one.name === 'good')?.restartCount;
    const pod = await node.until(
      'sub',
      (p) =>
        status(p, 'good')?.running &&
        bad.every(([name]) => status(p, name)?.waiting?.reason === 'CreateContainerConfigError'),
    );
    for (const [name, , why] of bad)
      t.match(
        status(pod, name)?.waiting?.message,
        new RegExp(`^failed to prepare subPath for volumeMount "v" of container "${name}": .*${why}`),
      );
    const cases: [string, string][] = [
      ['cat /deep/file /through/file /file', 'data\ndata\ndata'],
      ['touch /made/x /expr/y && stat -c %a /made', '777'],
      ['touch /ro/x 2>&1 | grep -c "Read-only"', '1'],
      ['cat /etc/only-one; ls -d /etc/only-one/.. 2>&1 | grep -c "Not a dir"', 'first1'],
    ];
    for (const [script, want] of cases) t.equal(await help.sh('sub', script, 'good'), want);
    const volume = join(node.paths.pods, pod.metadata.uid, 'volumes/kubernetes.io~empty-dir/v');
    t.ok(existsSync(join(volume, 'not/there/yet/x')) && existsSync(join(volume, 'sub/y')));
    await help.object('ConfigMap', 'files', { data: { one: 'changed' } });
    await sleep(300);
    t.equal(
      await help.sh('sub', 'cat /etc/only-one', 'good'),
      'first',
      'a subPath is not updated, as in Kubernetes',
    );
    await help.sh('sub', 'kill -TERM 1', 'good');
    await node.until('sub', (p) => status(p, 'good')?.running && restarts(p) === 1);
    const after = await help.sh('sub', 'cat /etc/only-one /deep/file', 'good');
    t.equal(after, 'changeddata', 'the next container has it');
    await node.podwire(['delete', 'pod', 'sub', '--grace-period=1']);
    t.notOk(existsSync(join(node.paths.pods, pod.metadata.uid)));
  });

  t.test('hostPath of every type', async (t) => {
    const folder = mkdtempSync('/tmp/podwire-hostpath-');
    mkdirSync(join(folder, 'dir'));
    writeFileSync(join(folder, 'file'), 'f');
    const server = createServer().listen(join(folder, 'socket'));
    t.teardown(() => {
      server.close();
      rmSync(folder, { recursive: true, force: true });
    });
    const path = (name: string): string => join(folder, name);
    const good = [
      ['any', path('made-by-any'), ''],
      ['dir', path('dir'), 'Directory'],
      ['dirmake', path('new/dir'), 'DirectoryOrCreate'],
      ['file', path('file'), 'File'],
      ['filemake', path('newfile'), 'FileOrCreate'],
      ['socket', path('socket'), 'Socket'],
      ['char', '/dev/null', 'CharDevice'],
    ] as const;
    const block = readdirSync('/dev', { withFileTypes: true }).find((entry) => entry.isBlockDevice());
    if (!block) t.comment('no block device in /dev: type BlockDevice is seen refusing only');
    const present = [...good, ...(block ? ([['block', `/dev/${block.name}`, 'BlockDevice']] as const) : [])];
    const volumesOf = (list: readonly (readonly [string, string, string])[]) =>
      list.map(([name, at, type]) => ({ name, hostPath: { path: at, type } }));
    const mountsOf = (list: readonly (readonly [string, string, string])[]) =>
      list.map(([name]) => ({ name, mountPath: `/h/${name}` }));
    const script =
      'cd /h; stat -c "%n %F" any dir dirmake file filemake socket char; test ! -e block -o -b block || echo no block';
    const container = shell('c', script, { volumeMounts: mountsOf(present) });
    t.equal(
      await help.output(podOf('types', [container], { restartPolicy: 'Never', volumes: volumesOf(present) })),
      'any directory\ndir directory\ndirmake directory\nfile regular file\nfilemake regular empty file\nsocket socket\nchar character special file',
    );
    const bad = [
      ['Directory', path('file'), 'is not a directory'],
      ['DirectoryOrCreate', path('file'), 'is not a directory'],
      ['File', path('dir'), 'is not a file'],
      ['FileOrCreate', path('no/such/dir'), 'does not exist'],
      ['Socket', path('file'), 'is not a socket file'],
      ['CharDevice', path('file'), 'is not a character device'],
      ['BlockDevice', '/dev/null', 'is not a block device'],
      ['Directory', path('absent'), 'is not a directory'],
    ] as const;
    await Promise.all(
      bad.map(async ([type, at, why], index) => {
        const name = `bad-${index}`;
        const one = shell('c', sleeper, { volumeMounts: [{ name: 'h', mountPath: '/h' }] });
        await node.apply(podOf(name, [one], { volumes: [{ name: 'h', hostPath: { path: at, type } }] }));
        t.match(await help.event(name, 'FailedMount', 'hostPath type check failed'), why, `${type} ${at}`);
        await node.podwire(['delete', 'pod', name]);
      }),
    );
    t.notOk(existsSync(path('absent')), 'what is only checked is not made');
  });

  t.test('a disk emptyDir over its sizeLimit evicts the Pod; one in memory is full', async (t) => {
    const volumes = [
      { name: 'disk', emptyDir: { sizeLimit: '1Mi' } },
      { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
    ];
    const script = `head -c 2097152 /dev/zero > /memory/f 2>/dev/null; stat -c %s /memory/f; head -c 3145728 /dev/zero > /disk/f; ${sleeper}`;
    const container = shell('c', script, {
      volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/${name}` })),
    });
    await node.apply(podOf('big', [container], { volumes }));
    const pod = await node.until('big', (p) => p?.status?.phase === 'Failed');
    t.match(pod.status, {
      reason: 'Evicted',
      message: 'Usage of EmptyDir volume "disk" exceeds the limit "1Mi". ',
    });
    await help.event('big', 'Evicted', 'exceeds the limit');
    t.equal((await node.podwire(['logs', 'big'])).stdout.trim(), '1048576');
    await node.podwire(['delete', 'pod', 'big']);
  });
});
