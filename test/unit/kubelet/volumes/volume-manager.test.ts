// A volume that stands and whose new contents cannot be written: told once, the old stay whole, and it is tried again.
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Pod } from '../../../../lib/api/types.ts';
import { VolumeManager, type VolumeManagerOptions } from '../../../../lib/kubelet/volumes/volume-manager.ts';

t.test('new contents that could not be written are written later', async (t) => {
  let text = 'old';
  const told: string[] = [];
  const podsDir = t.testdir();
  const manager = new VolumeManager({
    podsDir,
    data: { configMap: async () => ({ data: { file: text } }) },
    node: {},
    events: { record: (_: Pod, { message }: { message: string }) => told.push(message) },
    limits: { watch: () => {}, forget: () => {} },
  } as unknown as VolumeManagerOptions);
  const pod = {
    metadata: { namespace: 'ns', name: 'pod', uid: 'uid' },
    spec: {
      volumes: [
        { name: 'v', configMap: { name: 'c' } },
        { name: 'unused', hostPath: { path: '/nonexistent', type: 'Directory' } },
      ],
      containers: [{ name: 'a', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
    },
  } as unknown as Pod;
  const volumes = await manager.setUp(pod);
  t.same([...volumes.keys()], ['v'], 'what no container mounts keeps nothing from starting');
  const { path } = volumes.get('v')!;
  const read = (): string => readFileSync(join(path, 'file'), 'utf8');
  t.same([read(), manager.retryMs('uid')], ['old', undefined]);
  text = 'new';
  mkdirSync(join(path, '..data_tmp', 'in-the-way'), { recursive: true }); // as good as a full disk
  await manager.setUp(pod);
  await manager.setUp(pod);
  t.same([read(), told.length], ['old', 1]);
  t.match(told[0], /MountVolume.SetUp failed for volume "v"/);
  t.type(manager.retryMs('uid'), 'number', 'nothing else would tell when it can be written');
  t.equal(manager.retryMs('another'), undefined);
  rmSync(join(path, '..data_tmp'), { recursive: true });
  await manager.setUp(pod);
  t.same([read(), manager.retryMs('uid')], ['new', undefined]);
});
