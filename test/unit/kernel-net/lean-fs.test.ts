// lib/kernel/lean-fs.ts and lean-path.ts beside the real node:fs and node:path: the same results, the same errors.
import * as real from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import * as lean from '../../../lib/kernel/lean-fs.ts';
import * as leanPath from '../../../lib/kernel/lean-path.ts';
import { loadLibc } from '../../../lib/kernel/libc.ts';

type Fs = typeof real;
type Told = { value: unknown } | { code: string | undefined; syscall: string | undefined };

function tell(work: () => unknown): Told {
  try {
    return { value: work() };
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    return { code, syscall };
  }
}

const at = (dir: string, name: string): string => path.join(dir, name);
const long = 'x'.repeat(4096) + 'y'.repeat(5000);
const acts: Array<[name: string, act: (fs: Fs, dir: string) => unknown]> = [
  ['a file', (fs, dir) => fs.readFileSync(at(dir, 'file'), 'utf8')],
  ['an empty file', (fs, dir) => fs.readFileSync(at(dir, 'empty'), 'utf8')],
  ['a long file', (fs, dir) => fs.readFileSync(at(dir, 'long'), 'utf8') === long],
  ['letters of several bytes', (fs, dir) => fs.readFileSync(at(dir, 'letters'), 'utf8')],
  ['no file', (fs, dir) => fs.readFileSync(at(dir, 'none'), 'utf8')],
  ['a folder for a file', (fs, dir) => fs.readFileSync(dir, 'utf8')],
  ['through a file', (fs, dir) => fs.readFileSync(at(dir, 'file/x'), 'utf8')],
  ['bytes', (fs, dir) => fs.readFileSync(at(dir, 'file')).toString()],
  ['a file of /proc', (fs) => fs.readFileSync('/proc/sys/kernel/ostype', 'utf8')],
  ['there', (fs, dir) => [fs.existsSync(dir), fs.existsSync(at(dir, 'none'))]],
  ['may be run', (fs) => fs.accessSync('/bin/sh', fs.constants.X_OK)],
  ['is not there to be run', (fs) => fs.accessSync('/none', fs.constants.X_OK)],
  ['write', (fs, dir) => fs.writeFileSync(at(dir, 'new'), 'ä text', { mode: 0o640 })],
  ['write over', (fs, dir) => fs.writeFileSync(at(dir, 'file'), 'short')],
  ['write into what is there', (fs, dir) => fs.writeFileSync(at(dir, 'file'), 'AB', { flag: 'r+' })],
  ['write into what is not there', (fs, dir) => fs.writeFileSync(at(dir, 'none'), 'AB', { flag: 'r+' })],
  ['write nothing', (fs, dir) => fs.writeFileSync(at(dir, 'nothing'), '')],
  ['append', (fs, dir) => fs.appendFileSync(at(dir, 'file'), '+', { mode: 0o600 })],
  ['link', (fs, dir) => fs.linkSync(at(dir, 'file'), at(dir, 'second'))],
  ['link to what is there', (fs, dir) => fs.linkSync(at(dir, 'file'), at(dir, 'empty'))],
  ['unlink', (fs, dir) => fs.unlinkSync(at(dir, 'file'))],
  ['unlink nothing', (fs, dir) => fs.unlinkSync(at(dir, 'none'))],
  ['rename', (fs, dir) => fs.renameSync(at(dir, 'file'), at(dir, 'empty'))],
  ['rename nothing', (fs, dir) => fs.renameSync(at(dir, 'none'), at(dir, 'empty'))],
  ['rm', (fs, dir) => fs.rmSync(at(dir, 'file'))],
  ['rm nothing', (fs, dir) => fs.rmSync(at(dir, 'none'))],
  [
    'rm by force',
    (fs, dir) => [at(dir, 'file'), at(dir, 'none')].map((one) => fs.rmSync(one, { force: true })),
  ],
  ['rm a folder by force', (fs, dir) => fs.rmSync(at(dir, 'folder'), { force: true })],
  ['rm a folder, all of it', (fs, dir) => fs.rmSync(at(dir, 'folder'), { force: true, recursive: true })],
  ['mkdir', (fs, dir) => void fs.mkdirSync(at(dir, 'a/b'), { recursive: true, mode: 0o700 })],
  ['mkdir where one is', (fs, dir) => void fs.mkdirSync(dir, { recursive: true })],
  ['readdir', (fs, dir) => fs.readdirSync(dir).sort()],
  ['readlink', (fs, dir) => fs.readlinkSync(at(dir, 'way'))],
  ['readlink of a file', (fs, dir) => fs.readlinkSync(at(dir, 'file'))],
  ['realpath', (fs, dir) => path.relative(fs.realpathSync(dir), fs.realpathSync(at(dir, 'way')))],
  ['realpath of nothing', (fs, dir) => fs.realpathSync(at(dir, 'none'))],
  ['stat', (fs, dir) => kinds(fs.statSync(at(dir, 'file')))],
  ['stat of a folder', (fs, dir) => kinds(fs.statSync(dir))],
  ['stat of nothing', (fs, dir) => fs.statSync(at(dir, 'none'))],
  ['stat of nothing, quietly', (fs, dir) => fs.statSync(at(dir, 'none'), { throwIfNoEntry: false })],
  ['the same file', (fs) => fs.statSync('/proc/self/ns/net').ino],
  ['a device', (fs) => withFd(fs, '/dev/null', (fd) => kinds(fs.fstatSync(fd)))],
  ['a filesystem', (fs) => fs.statfsSync('/proc').type],
  [
    'read in pieces',
    (fs, dir) =>
      withFd(fs, at(dir, 'long'), (fd) => {
        const into = Buffer.alloc(6);
        return [fs.readSync(fd, into, 0, 4, null), fs.readSync(fd, into, 2, 3, 7), into.toString()];
      }),
  ],
  ['a closed descriptor', (fs) => fs.closeSync(12345)],
  ['a text with NUL', (fs, dir) => fs.existsSync(at(dir, 'a\0b'))],
];

const kinds = (status: {
  isFile(): boolean;
  isDirectory(): boolean;
  isCharacterDevice(): boolean;
  mode: number;
}) => [status.isFile(), status.isDirectory(), status.isCharacterDevice(), status.mode];

function withFd<T>(fs: Fs, file: string, work: (fd: number) => T): T {
  const fd = fs.openSync(file, 'r');
  try {
    return work(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** Files of the folder, with modes and contents. */
const shown = (dir: string): unknown =>
  real
    .readdirSync(dir, { withFileTypes: true, recursive: true })
    .map((one) => [
      path.relative(dir, path.join(one.parentPath, one.name)),
      real.lstatSync(path.join(one.parentPath, one.name)).mode,
      one.isFile() ? real.readFileSync(path.join(one.parentPath, one.name), 'utf8') : '',
    ])
    .sort();

const fill = (t: Test): string =>
  t.testdir({
    file: 'a text\n',
    empty: '',
    long,
    letters: 'äöü €'.repeat(1500),
    folder: { inner: 'x' },
    way: t.fixture('symlink', 'file'),
  });

t.ok(loadLibc(), 'the C library can be called here: else node:fs would be compared with itself');
for (const [name, act] of acts)
  t.test(name, async (t) => {
    const mine = await new Promise((resolve) => {
      void t.test('lean', async (t) => {
        const dir = fill(t);
        resolve([tell(() => act(lean as unknown as Fs, dir)), shown(dir)]);
      });
    });
    const theirs = await new Promise((resolve) => {
      void t.test('real', async (t) => {
        const dir = fill(t);
        resolve([tell(() => act(real, dir)), shown(dir)]);
      });
    });
    t.strictSame(mine, theirs);
  });

const joins = [
  [],
  [''],
  ['a', 'b'],
  ['/a/', '/b'],
  ['/', '..', 'x'],
  ['a', '..'],
  ['..', 'a'],
  ['a//b/./c'],
  ['/a/b/'],
];
const paths = ['', '/', 'a', '/a', 'a/', '/a/b', '/a/b/', 'a/b/c.txt', '/a/b/c'];
t.test('paths', async (t) => {
  for (const parts of joins) t.equal(leanPath.join(...parts), path.join(...parts), JSON.stringify(parts));
  for (const one of paths) {
    t.equal(leanPath.basename(one), path.basename(one), `basename ${one}`);
    t.equal(leanPath.dirname(one), path.dirname(one), `dirname ${one}`);
  }
  t.equal(leanPath.delimiter, path.delimiter);
});
