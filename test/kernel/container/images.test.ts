// Images for real: archives by skopeo and umoci, a registry on loopback, containers from them, removal to the last blob.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { chooseCapabilities } from '../../../lib/container/oci/capabilities.ts';
import { createImageStore, type ImageStore } from '../../../lib/container/image/store.ts';
import { runtimeDefaultSeccomp } from '../../../lib/container/oci/seccomp.ts';
import { compileSeccomp } from '../../../lib/container/oci/seccomp-bpf.ts';
import { run } from '../../../lib/exec/exec.ts';
import { loadFfi } from '../../../lib/exec/ffi.ts';
import { StepClock } from '../../../lib/exec/step-clock.ts';
import { mountTmpfs, unmount } from '../../../lib/kernel/mount.ts';
import { busyboxArchive, ended, makeNode, security } from './fixture.ts';

if (process.getuid?.() !== 0) t.bailout('needs root');
t.setTimeout(120_000);

const config = {
  Entrypoint: ['/bin/sh', '-c'],
  Cmd: ['echo from the image; id -u; id -g; id -G; pwd; echo $COLOUR; exit 4'],
  Env: ['PATH=/bin', 'COLOUR=red'],
  WorkingDir: '/home/app',
  User: 'app',
  StopSignal: 'SIGQUIT',
};
const filesOf = (store: string): string[] => [
  ...list(join(store, 'oci/blobs/sha256')),
  ...list(join(store, 'rootfs')),
  ...list(join(store, 'staging')),
];
const list = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

t.test(
  'a full disk while an image is unpacked: told, nothing is left of it, and it goes when there is room',
  async (t) => {
    const node = await makeNode('crun');
    const { images } = node.paths;
    mkdirSync(images, { recursive: true });
    await mountTmpfs({ target: images, options: 'size=2m,mode=0700' });
    t.teardown(async () => {
      await unmount(images);
      await node.remove();
    });
    const archive = join(t.testdir(), 'busybox.tar');
    busyboxArchive(archive, config, ['test/full:1']);
    const room = (size: string) => run({ argv: ['mount', '-o', `remount,size=${size}`, images] });
    for (const size of ['300k', '1m', '2m']) {
      await room(size); // the blobs do not fit, or the root that they are unpacked to
      await t.rejects(node.images.importArchive(archive), { message: /no space left/i }, size);
      t.same(
        [await node.images.status('test/full:1'), filesOf(images)],
        [undefined, []],
        `${size}: nothing of it`,
      );
    }
    await room('64m');
    t.match(await node.images.importArchive(archive), [{ ref: 'docker.io/test/full:1' }]);
    await node.images.remove('test/full:1');
  },
);

t.test('an archive becomes containers, and goes to the last blob', async (t) => {
  const node = await makeNode('crun');
  t.teardown(() => node.remove());
  const runtime = node.runtime();
  await runtime.recover();
  const archive = join(t.testdir(), 'busybox.tar');
  busyboxArchive(archive, config, ['test/busybox:1', 'localhost/other']);
  const lines: string[] = [];
  const images = await node.images.importArchive(archive, { onProgress: (line) => lines.push(line) });
  t.same(
    images.map(({ ref }) => ref),
    ['docker.io/test/busybox:1', 'localhost/other:latest'],
  );
  t.match(images[0], { id: /^sha256:[0-9a-f]{64}$/, sizeBytes: Number });
  t.equal(images[0]!.id, images[1]!.id);
  t.ok(
    lines.some((line) => /Copying|Getting/.test(line)),
    'progress is passed on',
  );
  t.same(list(join(node.paths.images, 'staging')), []);

  const root = await node.images.rootfs('test/busybox:1');
  t.match(root, { hostRoot: false, config: { StopSignal: 'SIGQUIT', User: 'app' } });
  const plain = node.config('', { image: 'test/busybox:1', command: [] });
  const id = await node.run(runtime, plain);
  t.match(await ended(runtime, id), { exitCode: 4, imageId: images[0]!.id });
  const said = node.log(plain).map((line) => line.split(' ').slice(3).join(' '));
  t.same(said, ['from the image', '1500', '1600', '1600 1700', '/home/app', 'red']);

  const changed = node.config('', {
    image: 'localhost/other',
    command: ['/bin/sh'],
    args: ['-c', 'echo x > /etc/new; ls /etc'],
    security: { ...security, runAsUser: 0 },
  });
  t.match(await ended(runtime, await node.run(runtime, changed)), { exitCode: 0 });
  t.notOk(existsSync(join(root.lower[0], 'etc/new')), 'the image is not written to');

  await node.images.remove('localhost/other');
  await t.rejects(node.images.remove('test/busybox:1'), {
    code: 'ImageInUse',
    message: /container main of Pod ns\/pod/,
  });
  for (const { id } of runtime.list()) await runtime.remove(id);
  await node.images.remove('test/busybox:1');
  t.same(filesOf(node.paths.images), []);
  t.same(
    (await node.images.list()).map(({ ref }) => ref),
    ['localhost/host:latest'],
  );
});

t.test('names: none needs one, one given names it, several images cannot share it', async (t) => {
  const dir = t.testdir();
  const store = createImageStore({ paths: { images: join(dir, 'images') } });
  busyboxArchive(join(dir, 'a.tar'), config, []);
  await t.rejects(store.importArchive(join(dir, 'a.tar')), { code: 'InvalidImageName', message: /give one/ });
  await t.rejects(store.importArchive(join(dir, 'a.tar'), { ref: '../x' }), { code: 'InvalidImageName' });
  await t.rejects(store.importArchive(join(dir, 'a.tar'), { ref: 'localhost/host' }), { code: 'ImageInUse' });
  t.match(await store.importArchive(join(dir, 'a.tar'), { ref: 'me/x:2' }), [{ ref: 'docker.io/me/x:2' }]);
  // A colon in a path is syntax to skopeo; here it is a path.
  symlinkSync(join(dir, 'a.tar'), join(dir, 'with:colon@0.tar'));
  t.match(await store.importArchive(join(dir, 'with:colon@0.tar'), { ref: 'me/x:3' }), [
    { ref: 'docker.io/me/x:3' },
  ]);
  t.same(list(join(dir, 'images/staging')), []);
});

t.test('an oci-archive, also one that carries its name', async (t) => {
  const dir = t.testdir();
  busyboxArchive(join(dir, 'a.tar'), config);
  const copy = (target: string) =>
    run({ argv: ['skopeo', '--insecure-policy', 'copy', `docker-archive:${join(dir, 'a.tar')}`, target] });
  await copy(`oci-archive:${join(dir, 'named.tar')}:localhost/named:7`);
  await copy(`oci-archive:${join(dir, 'bare.tar')}`);
  const store = createImageStore({ paths: { images: join(dir, 'images') } });
  t.match(await store.importArchive(join(dir, 'named.tar')), [{ ref: 'localhost/named:7' }]);
  t.match(await store.importArchive(join(dir, 'bare.tar'), { ref: 'bare' }), [
    { ref: 'docker.io/library/bare:latest' },
  ]);
  const inspected = await run({
    argv: ['skopeo', 'inspect', '--format', '{{.Os}}', `oci:${join(dir, 'images/oci')}:localhost/named:7`],
  });
  t.equal(inspected.stdout.trim(), 'linux', 'others can read the layout');
});

/** A registry that serves one image of a store, and counts what it is asked for. */
function serve(store: string, asked: string[]): Promise<Server> {
  const blob = (digest: string) => readFileSync(join(store, 'oci/blobs', digest.replace(':', '/')));
  const index = JSON.parse(readFileSync(join(store, 'oci/index.json'), 'utf8'));
  const { digest, mediaType } = index.manifests[0];
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    asked.push(url);
    const name = url.match(/^\/v2\/team\/app\/(manifests|blobs)\/(.+)$/);
    if (url === '/v2/') return void response.end('{}');
    if (!name || (name[1] === 'manifests' && name[2] !== '1' && name[2] !== digest)) {
      response.writeHead(404, { 'content-type': 'application/json' });
      return void response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
    }
    const wanted = name[1] === 'manifests' ? digest : name[2]!;
    const body = blob(wanted);
    response.writeHead(200, {
      'content-type': name[1] === 'manifests' ? mediaType : 'application/octet-stream',
      'content-length': body.length,
      'docker-content-digest': wanted,
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

t.test('a registry', async (t) => {
  const dir = t.testdir();
  const source = createImageStore({ paths: { images: join(dir, 'source') } });
  busyboxArchive(join(dir, 'a.tar'), config);
  const [original] = await source.importArchive(join(dir, 'a.tar'));
  const asked: string[] = [];
  const server = await serve(join(dir, 'source'), asked);
  t.teardown(() => server.close());
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const target: ImageStore = createImageStore({ paths: { images: join(dir, 'target') } });

  t.test('two pulls of one name at once are one fetch', async (t) => {
    const pulled = await Promise.all([target.pull(`${host}/team/app:1`), target.pull(`${host}/team/app:1`)]);
    t.match(pulled[0], { ref: `${host}/team/app:1`, id: original!.id });
    t.equal(pulled[0], pulled[1]);
    t.equal(asked.filter((url) => url.endsWith('/manifests/1')).length, 1);
    t.ok(existsSync(join((await target.rootfs(`${host}/team/app:1`)).lower[0], 'bin/busybox')));
  });

  t.test('a pull by digest', async (t) => {
    t.match(await target.pull(`${host}/team/app@${original!.id}`), { id: original!.id });
  });

  t.test('what is not there, and a registry that is not there', async (t) => {
    await t.rejects(target.pull(`${host}/team/app:nosuch`), {
      code: 'ErrImagePull',
      message: /manifest unknown/,
    });
    await t.rejects(target.pull('127.0.0.1:1/team/app:1'), {
      code: 'ErrImagePull',
      message: /connection refused/,
    });
    t.same(list(join(dir, 'target/staging')), []);
  });

  t.test('a fetch that a crash cut off is swept', async (t) => {
    symlinkSync('/nowhere', join(dir, 'target/staging/half'));
    await target.recover();
    t.same(list(join(dir, 'target/staging')), []);
  });
});

const noFfi = loadFfi() ? false : 'this Node has no node:ffi';
t.test('the compiled seccomp program is the one that crun compiles', { skip: noFfi }, async (t) => {
  const node = await makeNode('crun');
  t.teardown(() => node.remove());
  const choice = { privileged: false, capabilitiesAdd: ['SYS_ADMIN'], capabilitiesDrop: ['MKNOD'] };
  const names = ['SYS_ADMIN', 'CHOWN', 'NET_RAW'];
  for (const capabilities of [chooseCapabilities(choice, names).granted, []]) {
    const profile = runtimeDefaultSeccomp(capabilities, process.arch);
    const ours = compileSeccomp(profile, join(node.paths.root, 'scratch'));
    const theirs = await compiledByCrun(node, profile);
    t.ok(ours && ours.length > 1000);
    t.ok(Buffer.from(ours!, 'base64').equals(theirs), `${theirs.length} bytes`);
  }
});

/** Makes a container by crun alone, without our annotation, and takes the program that it kept. */
async function compiledByCrun(node: Awaited<ReturnType<typeof makeNode>>, profile: unknown): Promise<Buffer> {
  const runtime = node.runtime();
  const request = {
    sandbox: node.sandbox,
    podUid: node.podUid,
    namespace: 'ns',
    podName: 'pod',
    config: node.config('sleep 9'),
    clock: new StepClock(),
  };
  const id = await runtime.create(request);
  const bundle = join(node.paths.containers, id);
  const spec = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'));
  spec.linux.seccomp = profile;
  spec.linux.cgroupsPath += '-crun';
  spec.annotations = {};
  const config = join(bundle, 'crun.json');
  writeFileSync(config, JSON.stringify(spec));
  const root = ['--root', join(node.paths.root, 'crun')];
  try {
    // Without pipes: the container would hold them open.
    execFileSync('crun', [...root, 'create', '--bundle', bundle, '--config', config, 'probe'], {
      stdio: 'ignore',
    });
    return readFileSync(join(node.paths.root, 'crun/probe/seccomp.bpf'));
  } finally {
    execFileSync('crun', [...root, 'delete', '--force', 'probe']);
    await runtime.remove(id);
    await runtime.close();
  }
}
