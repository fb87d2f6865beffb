// --runtime-endpoint: what is said of an address that is none, of a socket where nobody is, and of one that speaks no CRI v1.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openCri } from '../../../lib/cri/open.ts';
import { nodePaths } from '../../../lib/kernel/paths.ts';
import { FakeRuntime } from './fake-runtime.ts';

const folder = mkdtempSync(join(tmpdir(), 'podwire-cri-open-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'file');
writeFileSync(file, '');
const open = (endpoint: string) => openCri({ endpoint, paths: nodePaths(folder), warn: () => {} });

for (const { endpoint, code, says } of [
  {
    endpoint: 'tcp://127.0.0.1:1',
    code: 'BAD_RUNTIME_ENDPOINT',
    says: /expected a unix socket, e\.g\. unix:/,
  },
  { endpoint: 'containerd.sock', code: 'BAD_RUNTIME_ENDPOINT', says: /expected a unix socket/ },
  {
    endpoint: `unix://${folder}/none`,
    code: 'RUNTIME_UNAVAILABLE',
    says: /there is no such socket; is the runtime running/,
  },
  { endpoint: file, code: 'RUNTIME_UNAVAILABLE', says: /this is no socket/ },
])
  t.test(endpoint, async (t) => {
    await t.rejects(open(endpoint), { code, message: says });
  });

t.test('a server without the CRI', async (t) => {
  const fake = await FakeRuntime.start(t, { events: false, services: ['ImageService'] });
  await t.rejects(open(fake.socket), {
    code: 'RUNTIME_TOO_OLD',
    message: /does not know Version of CRI v1: is its CRI plugin disabled/,
  });
});

t.test('one that is ready', async (t) => {
  const fake = await FakeRuntime.start(t, { events: true });
  const { version, runtime, images } = await open(fake.socket);
  t.equal(version, 'fake://1');
  t.equal(runtime.notReady(), undefined);
  await t.rejects(images.status('localhost/host'), {
    code: 'InvalidImageName',
    message: /only podwire's own runtime/,
  });
  await t.rejects(images.importArchive('/x.tar'), { message: /ctr -n k8s\.io images import \/x\.tar/ });
  await t.rejects(images.pull('localhost/x'), { code: 'ErrImagePull', message: /no registry/ });
  await runtime.close();
});
