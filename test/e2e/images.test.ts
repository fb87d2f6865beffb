// Images with the real daemon: a registry that asks who one is, pull policies, and a Pod that goes while its image is pulled.
import { createServer, type AddressInfo } from 'node:net';
import t from 'tap';
import { noRegistry, startRegistry, user } from '../kernel/container/registry.ts';
import { until } from '../until.ts';
import { isRunning, startNode } from './harness.ts';

if (process.getuid?.() !== 0) t.bailout('needs root');
if (noRegistry) t.comment(`skipped: ${noRegistry}`);
t.setTimeout(400_000);

const imagePod = (name: string, image: string, more: object = {}, policy = 'IfNotPresent'): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: {
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'main', image, imagePullPolicy: policy, command: ['sleep', '1000'] }],
    ...more,
  },
});

t.test('images', { skip: noRegistry }, async (t) => {
  const node = await startNode(t);
  const registry = await startRegistry(t);
  const digest = await registry.push('team/app:1', {});
  const image = `${registry.host}/team/app:1`;
  const waiting = async (name: string, reason: string) => {
    const { status } = await node.until(
      name,
      (pod) => pod?.status?.containerStatuses?.[0]?.state?.waiting?.reason === reason,
    );
    return status?.containerStatuses?.[0]?.state?.waiting?.message ?? '';
  };

  t.test('without the Secret it is refused, with it it runs', async (t) => {
    await node.apply(imagePod('stranger', image));
    t.match(await waiting('stranger', 'ErrImagePull'), /authentication required|unauthorized/);
    t.match(await waiting('stranger', 'ImagePullBackOff'), /ErrImagePull: /);
    const auth = Buffer.from(`${user.username}:${user.password}`).toString('base64');
    const config = JSON.stringify({ auths: { [`${registry.host}/team`]: { auth } } });
    await node.apply({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'login' },
      type: 'kubernetes.io/dockerconfigjson',
      stringData: { '.dockerconfigjson': config },
    });
    await node.apply(imagePod('friend', image, { imagePullSecrets: [{ name: 'login' }] }));
    const { status } = await node.until('friend', isRunning);
    t.match(status?.containerStatuses?.[0]?.imageID, new RegExp(digest));
    await node.apply(imagePod('present', image, {}, 'Never'));
    await node.until('present', isRunning);
    await node.apply(imagePod('again', image, {}, 'Always'));
    t.match(
      await waiting('again', 'ErrImagePull'),
      /authentication required|unauthorized/,
      'Always asks each time',
    );
    await node.apply(imagePod('absent', `${registry.host}/team/app:2`, {}, 'Never'));
    t.match(await waiting('absent', 'ErrImageNeverPull'), /pull policy of Never/);
  });

  t.test('a Pod that is deleted does not wait for its image', async (t) => {
    const sockets = new Set<{ destroy(): void }>();
    const silent = createServer((socket) => sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    await node.apply(imagePod('waits', `127.0.0.1:${(silent.address() as AddressInfo).port}/never:1`));
    t.ok(await until(() => sockets.size > 0));
    t.equal((await node.podwire(['delete', 'pod', 'waits', '--timeout=60s'])).exitCode, 0);
  });
});
