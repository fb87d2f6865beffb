// Who the process is, and reading an image's files without being led out of it.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readInRoot, resolveInRoot, resolveUser, type UserRequest } from '../../../lib/container/oci/user.ts';

const passwd = 'root:x:0:0:root:/root:/bin/sh\napp:x:1500:1600::/:\nbroken line\nbad:x:-1:zz::\n';
const group = 'root:x:0:\napps:x:1600:\nextra:x:1700:app,other\nmore:x:1800:app\n';
const base: UserRequest = { supplementalGroups: [], imageUser: '', passwd, group };

const cases: ReadonlyArray<{ name: string; ask: Partial<UserRequest>; want: [number, number, number[]] }> = [
  { name: 'nothing said is root', ask: {}, want: [0, 0, []] },
  { name: 'nothing said, no files', ask: { passwd: '', group: '' }, want: [0, 0, []] },
  { name: 'a name brings its groups', ask: { imageUser: 'app' }, want: [1500, 1600, [1700, 1800]] },
  { name: 'a uid that has a name', ask: { imageUser: '1500' }, want: [1500, 1600, [1700, 1800]] },
  { name: 'a uid without a name', ask: { imageUser: '77' }, want: [77, 0, []] },
  { name: 'a name and a group', ask: { imageUser: 'app:extra' }, want: [1500, 1700, [1800]] },
  { name: 'numbers', ask: { imageUser: '5:6' }, want: [5, 6, []] },
  {
    name: 'runAsUser wins over USER and its group',
    ask: { imageUser: 'app:extra', runAsUser: 7 },
    want: [7, 0, []],
  },
  { name: 'runAsUser of a known uid', ask: { runAsUser: 1500 }, want: [1500, 1600, [1700, 1800]] },
  { name: 'runAsGroup wins', ask: { imageUser: 'app', runAsGroup: 9 }, want: [1500, 9, [1700, 1800]] },
  {
    name: 'supplemental groups, none twice',
    ask: { imageUser: 'app', supplementalGroups: [1700, 5] },
    want: [1500, 1600, [1700, 1800, 5]],
  },
];
for (const c of cases)
  t.test(c.name, async (t) => {
    const [uid, gid, additionalGids] = c.want;
    t.same(resolveUser({ ...base, ...c.ask }), { uid, gid, additionalGids });
  });

for (const [imageUser, message] of [
  ['nobody', /user "nobody" is not in the image's \/etc\/passwd/],
  ['app:nogroup', /group "nogroup" is not in the image's \/etc\/group/],
  ['99999999999', /user "99999999999"/],
  ['-1', /user "-1"/],
] as const)
  t.test(`refuses ${imageUser}`, async (t) => {
    t.throws(() => resolveUser({ ...base, imageUser }), { name: 'RangeError', message });
  });

t.test('links are followed inside the root only', async (t) => {
  const root = join(t.testdir(), 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  mkdirSync(join(root, 'real'));
  writeFileSync(join(root, '..', 'secret'), 'secret');
  writeFileSync(join(root, 'real/passwd'), 'inside');
  symlinkSync('/real/passwd', join(root, 'etc/absolute'));
  symlinkSync('../real/passwd', join(root, 'etc/relative'));
  symlinkSync('../../../../secret', join(root, 'etc/escape'));
  symlinkSync('/../secret', join(root, 'etc/escape2'));
  symlinkSync('loop', join(root, 'etc/loop'));
  symlinkSync('/real', join(root, 'etc/folder'));
  t.equal(readInRoot(root, '/etc/absolute'), 'inside');
  t.equal(readInRoot(root, '/etc/relative'), 'inside');
  t.equal(readInRoot(root, '/etc/folder/passwd'), 'inside');
  t.equal(readInRoot(root, '/etc/escape'), '');
  t.equal(readInRoot(root, '/etc/escape2'), '');
  t.equal(readInRoot(root, '/../secret'), '');
  t.equal(readInRoot(root, '/etc/loop'), '');
  t.equal(readInRoot(root, '/etc/none'), '');
  t.equal(readInRoot(root, '/etc'), '', 'a folder is no text');
  t.equal(resolveInRoot(root, '/etc/folder/../real/passwd'), '/real/passwd');
});
