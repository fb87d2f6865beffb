// Static Pods: a file in /etc/podwire/manifests runs without anybody asking the API, which shows it all the same.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stringify } from 'yaml';
import type { Pod } from '../../lib/api/types.ts';
import { until } from '../until.ts';
import { hostPod, isRunning, sleep, sleeper, startNode } from './harness.ts';

t.test('static Pods follow their files', async (t) => {
  const node = await startNode(t, { podCidr: '10.204.0.0/24', flags: ['--node-name', 'n1'] });
  const file = join(node.paths.manifests, 'web.yaml');
  const write = (script: string): void => {
    const pod = hostPod('web', { a: script }) as { spec: { containers: object[] } };
    const readinessProbe = { exec: { command: ['true'] }, periodSeconds: 1, timeoutSeconds: 60 };
    pod.spec.containers = pod.spec.containers.map((container) => ({ ...container, readinessProbe }));
    writeFileSync(file, node.fitted(stringify(pod)));
  };
  const isReady = (pod: Pod | undefined) => pod?.status?.containerStatuses?.[0]?.ready;

  write(`echo first; ${sleeper}`);
  const first = await node.until('web-n1', isRunning);
  t.match(first.metadata.annotations, { 'kubernetes.io/config.source': 'file' });
  const says = (text: string) => until(async () => (await node.podwire(['logs', 'web-n1'])).stdout === text);
  t.ok(await says('first\n'));
  t.equal((await node.podwire(['exec', 'web-n1', '--', 'sh', '-c', 'exit 3'])).exitCode, 3);

  await t.test('a mirror that is deleted comes back; the Pod did not stop', async (t) => {
    await node.client.delete('pods', { namespace: 'default', name: 'web-n1' });
    const again = await node.until(
      'web-n1',
      (pod) => isRunning(pod) && pod?.metadata.uid !== first.metadata.uid,
    );
    t.equal(
      again.status?.containerStatuses?.[0]?.containerID,
      first.status?.containerStatuses?.[0]?.containerID,
    );
  });

  await t.test('the daemon is killed: the same Pod goes on', async (t) => {
    const before = await node.until('web-n1', isReady);
    await node.kill9();
    await node.up();
    const again = await node.until('web-n1', isReady);
    t.same(again.status, before.status, 'nothing about it has changed, not even for a moment');
    t.equal(
      again.status?.containerStatuses?.[0]?.containerID,
      first.status?.containerStatuses?.[0]?.containerID,
    );
  });

  await t.test('one that is over is not run again by the next daemon', async (t) => {
    const once = join(node.paths.manifests, 'once.yaml');
    const ran = join(node.paths.root, 'ran');
    const pod = hostPod('once', { a: 'echo >> /ran/times' }, { restartPolicy: 'Never' }) as {
      spec: { volumes: object[]; containers: { volumeMounts: object[] }[] };
    };
    mkdirSync(ran);
    pod.spec.volumes = [{ name: 'ran', hostPath: { path: ran } }];
    pod.spec.containers[0]!.volumeMounts = [{ name: 'ran', mountPath: '/ran' }];
    writeFileSync(once, node.fitted(stringify(pod)));
    await node.until('once-n1', (found) => found?.status?.phase === 'Succeeded');
    await node.kill9();
    await node.up();
    await sleep(700);
    await node.until('once-n1', (found) => found?.status?.phase === 'Succeeded');
    t.equal(readFileSync(join(ran, 'times'), 'utf8'), '\n', 'it ran once');
    rmSync(once);
    await node.until('once-n1', (found) => found === undefined);
  });

  await t.test('a bad file is passed over, the others go on', async (t) => {
    writeFileSync(join(node.paths.manifests, 'bad.yaml'), 'kind: Pod\nspec: [');
    writeFileSync(
      join(node.paths.manifests, 'other.yaml'),
      node.fitted(stringify(hostPod('other', { a: sleeper }))),
    );
    t.ok(await node.until('other-n1', isRunning));
  });

  await t.test('a changed file is a new Pod', async (t) => {
    write(`echo second; ${sleeper}`);
    await node.until(
      'web-n1',
      (pod) =>
        isRunning(pod) &&
        pod?.status?.podIP !== undefined &&
        pod.spec.containers[0]?.command?.[2]?.includes('second'),
    );
    t.ok(await says('second\n'));
  });

  await t.test('a removed file ends its Pod', async (t) => {
    rmSync(file);
    t.equal(await node.until('web-n1', (pod) => pod === undefined), undefined);
  });
});
