// Archives told by their content, skopeo's arguments and errors, the table of names.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { dockerImages, ociImages, openArchive, parseHeader } from '../../../lib/container/image/archive.ts';
import { blobPath, imageFiles } from '../../../lib/container/image/layout.ts';
import { RefTable } from '../../../lib/container/image/refs.ts';
import { createImageStore } from '../../../lib/container/image/store.ts';
import { readableError, skopeoArgv } from '../../../lib/container/image/skopeo.ts';

function tarOf(dir: string, files: Record<string, string>): string {
  const root = join(dir, 'tree');
  mkdirSync(root);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
  execFileSync('tar', ['-cf', join(dir, 'x.tar'), '-C', root, ...Object.keys(files)]);
  return join(dir, 'x.tar');
}

const manifest = JSON.stringify([{ RepoTags: ['nginx:1'] }, { RepoTags: null }]);
const index = JSON.stringify({
  manifests: [{ annotations: { 'org.opencontainers.image.ref.name': 'latest' } }],
});
const archives: ReadonlyArray<{ name: string; files: Record<string, string>; want: string }> = [
  { name: 'docker', files: { big: 'x'.repeat(3000), 'manifest.json': manifest }, want: 'docker-archive' },
  { name: 'oci', files: { 'oci-layout': '{}', 'index.json': index }, want: 'oci-archive' },
  {
    name: 'both tables, as newer docker saves',
    files: { 'index.json': index, 'manifest.json': manifest },
    want: 'docker-archive',
  },
];
for (const c of archives)
  t.test(`archive: ${c.name}`, async (t) => {
    const dir = t.testdir();
    const path = tarOf(dir, c.files);
    t.equal((await openArchive(path, join(dir, 'scratch'))).kind, c.want);
    writeFileSync(join(dir, 'x.tgz'), gzipSync(readFileSync(path)));
    const packed = await openArchive(join(dir, 'x.tgz'), join(dir, 'scratch'));
    t.match(packed, { kind: c.want, path: join(dir, 'scratch') });
  });

t.test('what is no archive', async (t) => {
  const dir = t.testdir({ text: 'hello '.repeat(200), empty: '' });
  const other = tarOf(dir, { readme: 'x' });
  for (const [path, message] of [
    [join(dir, 'text'), /cannot be read as an image archive: no tar header at byte 0/],
    [join(dir, 'empty'), /holds neither manifest.json .* nor index.json/],
    [other, /holds neither manifest.json .* nor index.json/],
    [join(dir, 'absent'), /ENOENT/],
  ] as const)
    await t.rejects(openArchive(path, join(dir, 's')), { code: 'InvalidArchive', message });
  const broken = tarOf(t.testdir({}), { 'manifest.json': '{' });
  await t.rejects(openArchive(broken, join(dir, 's')), {
    code: 'InvalidArchive',
    message: /table of contents is broken/,
  });
});

t.test('names inside archives', async (t) => {
  t.same(dockerImages(JSON.parse(manifest)), [
    { selector: '@0', names: ['nginx:1'] },
    { selector: '@1', names: [] },
  ]);
  t.same(ociImages(JSON.parse(index)), [{ selector: '', names: [] }], 'a bare tag is no name');
  const two = {
    manifests: [
      {
        annotations: {
          'io.containerd.image.name': 'docker.io/library/a:1',
          'org.opencontainers.image.ref.name': '1',
        },
      },
      { annotations: { 'org.opencontainers.image.ref.name': 'b:2' } },
    ],
  };
  t.same(ociImages(two), [
    { selector: '1', names: ['docker.io/library/a:1'] },
    { selector: 'b:2', names: ['b:2'] },
  ]);
  t.throws(() => ociImages({}));
  t.throws(() => dockerImages({}));
});

t.test('a tar header needs its checksum', async (t) => {
  t.equal(parseHeader(Buffer.alloc(512, 1)), undefined);
});

t.test('skopeo', async (t) => {
  t.equal(
    skopeoArgv({ source: 'docker://localhost:5000/x:1', target: '/s', insecure: true }).join(' '),
    'skopeo --insecure-policy copy --src-tls-verify=false docker://localhost:5000/x:1 oci:/s:image',
  );
  t.notMatch(skopeoArgv({ source: 'docker://x/y', target: '/s', insecure: false }).join(' '), /tls-verify/);
  t.equal(
    readableError(['warning', 'time="2026" level=fatal msg="reading \\"x\\": manifest unknown"']),
    'reading "x": manifest unknown',
  );
  t.equal(readableError(['plain words']), 'plain words');
  t.equal(readableError([]), '');
});

t.test('digests become paths, and so must be digests', async (t) => {
  const files = imageFiles('/i');
  const digest = `sha256:${'0'.repeat(64)}`;
  t.equal(blobPath(files, digest), `/i/oci/blobs/sha256/${'0'.repeat(64)}`);
  t.equal(files.root(digest), `/i/rootfs/sha256-${'0'.repeat(64)}`);
  for (const bad of ['', 'sha256:../../x', 'md5:00', `${digest}/..`]) {
    t.throws(() => blobPath(files, bad), { message: /is no digest/ });
    t.throws(() => files.root(bad), { message: /is no digest/ });
  }
});

t.test('the table of names sees what another process wrote', async (t) => {
  const path = join(t.testdir(), 'images', 'refs.json');
  const one = new RefTable(path);
  const other = new RefTable(path);
  const image = (ref: string) => ({ ref, id: 'sha256:x', sizeBytes: 1, pulledAt: '2026-01-01T00:00:00Z' });
  one.set(image('b'));
  one.set(image('a'));
  t.same(
    other.list().map(({ ref }) => ref),
    ['a', 'b'],
  );
  other.delete('b');
  t.equal(one.get('b'), undefined);
  t.same(one.get('a'), image('a'));
});

t.test('localhost/host is built in', async (t) => {
  const store = createImageStore({ paths: { images: join(t.testdir(), 'i') } });
  t.match(await store.status('localhost/host'), { ref: 'localhost/host:latest', id: '' });
  t.match(await store.pull('localhost/host'), { id: '' });
  t.match(await store.rootfs('localhost/host:latest'), { id: '', lower: ['/'], hostRoot: true });
  await t.rejects(store.remove('localhost/host'), { code: 'ImageInUse' });
  t.same(
    (await store.list()).map(({ ref }) => ref),
    ['localhost/host:latest'],
  );
});

t.test('images that are not there', async (t) => {
  const store = createImageStore({ paths: { images: join(t.testdir(), 'i') } });
  t.equal(await store.status('nginx'), undefined);
  await t.rejects(store.rootfs('nginx'), { code: 'ErrImageNeverPull', message: /nginx is not present/ });
  await t.rejects(store.remove('nginx'), { code: 'ImageNotFound' });
  await t.rejects(store.pull('../x'), { code: 'InvalidImageName' });
  await t.rejects(store.pull('localhost/nothing'), { code: 'ErrImagePull', message: /image import/ });
});
