// What is wrong gets one clear message with the field and the value, the right exit code or event, and leaves nothing.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../../lib/exec/exec.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import {
  allCodes,
  hostPod,
  isRunning,
  leftovers,
  netnsNames,
  sleeper,
  startNode,
  type TestNode,
} from './harness.ts';

const container = { name: 'a', image: 'localhost/host', command: ['true'] };
const podWith = (over: object, spec: object = {}, metadata: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'bad', ...metadata },
  spec: { restartPolicy: 'Never', ...spec, containers: [{ ...container, ...over }] },
});

const refused = [
  {
    name: 'unknown field',
    pod: podWith({ imagee: 'x' }),
    says: /unknown field "spec\.containers\[0\]\.imagee".*"image"/,
  },
  {
    name: 'wrong type',
    pod: podWith({ ports: [{ containerPort: 'http' }] }),
    says: /spec\.containers\[0\]\.ports\[0\]\.containerPort.*"http"/,
  },
  {
    name: 'port out of range',
    pod: podWith({ ports: [{ containerPort: 70000 }] }),
    says: /spec\.containers\[0\]\.ports\[0\]\.containerPort: Invalid value: 70000: must be between 1 and 65535/,
  },
  {
    name: 'a name that leaves its folder',
    pod: podWith({}, {}, { name: '../../etc' }),
    says: /metadata\.name: Invalid value: "\.\.\/\.\.\/etc"/,
  },
  {
    name: 'a container name that does',
    pod: podWith({ name: '../x' }),
    says: /spec\.containers\[0\]\.name: Invalid value: "\.\.\/x"/,
  },
  {
    name: 'a volume name that does',
    pod: podWith({}, { volumes: [{ name: '..', emptyDir: {} }] }),
    says: /spec\.volumes\[0\]\.name: Invalid value: "\.\."/,
  },
  { name: 'a namespace that does', pod: podWith({}, {}, { namespace: '../..' }), says: /namespace/ },
  {
    name: 'a mount of no volume',
    pod: podWith({ volumeMounts: [{ name: 'nope', mountPath: '/x' }] }),
    says: /spec\.containers\[0\]\.volumeMounts\[0\]\.name: Not found: "nope"/,
  },
  {
    name: 'no containers',
    pod: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'bad' }, spec: { containers: [] } },
    says: /spec\.containers: Required value/,
  },
  {
    name: 'a bad quantity',
    pod: podWith({ resources: { limits: { memory: '64Megs' } } }),
    says: /spec\.containers\[0\]\.resources\.limits.*64Megs/,
  },
  {
    name: 'a bad restartPolicy',
    pod: podWith({}, { restartPolicy: 'Sometimes' }),
    says: /spec\.restartPolicy: Unsupported value: "Sometimes"/,
  },
  {
    name: 'a field that is not built yet',
    pod: podWith({}, { runtimeClassName: 'x' }),
    says: /spec\.runtimeClassName.*not supported/,
  },
  {
    name: 'an unknown kind',
    pod: { apiVersion: 'v1', kind: 'Pood', metadata: { name: 'bad' } },
    says: /Pood/,
  },
  {
    name: 'an unknown namespace',
    pod: podWith({}, {}, { namespace: 'nowhere' }),
    says: /namespaces "nowhere" not found/,
  },
];

t.test('refused at the door', async (t) => {
  const node = await startNode(t, { podCidr: '10.203.0.0/29' });
  for (const c of refused)
    await t.test(c.name, async (t) => {
      const { exitCode, stderr, stdout } = await node.podwire(['apply', '-f', '-'], JSON.stringify(c.pod));
      t.equal(exitCode, 1, stdout);
      t.match(stderr, c.says);
      t.notMatch(stderr, /\n\s+at .*\.ts|\.mjs:\d+/, 'no stack trace');
    });

  await t.test('a manifest that is no YAML names line and column', async (t) => {
    const { exitCode, stderr } = await node.podwire(
      ['apply', '-f', '-'],
      'apiVersion: v1\nkind: [Pod\nmetadata: {',
    );
    t.equal(exitCode, 1);
    t.match(stderr, /line \d+/);
  });
  await t.test('a file that is not there', async (t) => {
    const { exitCode, stderr } = await node.podwire(['apply', '-f', '/nonexistent/pod.yaml']);
    t.equal(exitCode, 1);
    t.match(stderr, /\/nonexistent\/pod\.yaml/);
  });
  t.same((await node.client.list('pods')).items, [], 'nothing was stored');

  await t.test('an image that is not there', async (t) => {
    const pod = podWith({ image: 'example.invalid/no/such:1', imagePullPolicy: 'Never' });
    await node.apply(pod);
    await node.until(
      'bad',
      (p) => p?.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull',
    );
    t.match(await eventsOf(node), /Failed .*"example\.invalid\/no\/such:1" is not present/);
    await node.podwire(['delete', 'pod', 'bad']);
  });

  await t.test('a registry that does not answer', async (t) => {
    await node.apply(podWith({ image: '127.0.0.1:1/no/such:1' }));
    await node.until('bad', (p) =>
      /ErrImagePull|ImagePullBackOff/.test(p?.status?.containerStatuses?.[0]?.state?.waiting?.reason ?? ''),
    );
    t.match(await eventsOf(node), /Failed to pull image "127\.0\.0\.1:1\/no\/such:1"/);
    await node.podwire(['delete', 'pod', 'bad']);
  });

  await t.test('a command that does not exist', async (t) => {
    await node.apply(podWith({ command: ['/no/such/program'] }));
    const pod = await node.until('bad', (p) => p?.status?.phase === 'Failed');
    t.match(pod.status?.containerStatuses?.[0]?.state?.terminated, {
      reason: 'StartError',
      exitCode: 128,
      message: /no\/such\/program/,
    });
    t.match(await eventsOf(node), /Failed .*\/no\/such\/program/);
    await node.podwire(['delete', 'pod', 'bad']);
  });

  await t.test(
    'an exhausted subnet: the Pod waits with an event, and comes up when an address is free',
    async (t) => {
      // A /29 has 8 addresses: network, broadcast, the gateway, and five for Pods.
      const names = ['x1', 'x2', 'x3', 'x4', 'x5'];
      for (const name of names) await node.apply(hostPod(name, { a: sleeper }));
      const pods = await Promise.all(names.map((name) => node.until(name, isRunning)));
      t.equal(new Set(pods.map((pod) => pod.status?.podIP)).size, names.length);
      await node.apply(hostPod('x6', { a: sleeper }));
      await node.until('x6', async () => /FailedCreatePodSandBox.*10\.203\.0\./.test(await eventsOf(node)));
      t.same(
        netnsNames().filter((name) => name.startsWith('x6-')),
        [],
        'the failed sandbox left nothing',
      );
      await node.podwire(['delete', 'pod', 'x1']);
      await node.until('x6', isRunning);
      await node.podwire(['delete', 'pod', '--all']);
    },
  );
  t.same(readdirSync(node.paths.sandboxes), []);
});

t.test('a machine without crun: podwired does not start, and says what is missing', async (t) => {
  const root = mkdtempSync('/tmp/podwire-e2e-');
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  // In a mount namespace of its own, something that is no program stands in the place of each crun there is.
  const hide = 'for p in $(which -a crun); do mount --bind /dev/null "$p"; done; exec "$@"';
  const up = [join(import.meta.dirname, '../../bin/podwire'), '--root', root, 'up'];
  const { exitCode, stderr } = await run({
    argv: ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', hide, 'sh', ...up],
    okCodes: allCodes,
  });
  t.equal(exitCode, 1);
  t.match(stderr, /crun: program not found.*podwire doctor/);
  t.same(leftovers(nodePaths(root)), []);
});

async function eventsOf(node: TestNode): Promise<string> {
  const { items } = await node.client.list('events', { namespace: 'default' });
  return items.map((event) => `${event.reason} ${event.message}`).join('\n');
}
