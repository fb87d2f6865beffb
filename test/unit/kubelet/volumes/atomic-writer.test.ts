// Contents change all at once, links and all; nothing of the old is left, and nothing leads out.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isWritten, writeAtomically } from '../../../../lib/kubelet/volumes/atomic-writer.ts';
import type { Payload } from '../../../../lib/kubelet/volumes/volume.ts';

const payload = (files: Record<string, string>, mode = 0o644): Payload =>
  new Map(Object.entries(files).map(([path, text]) => [path, { data: Buffer.from(text), mode }]));
const visible = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => !name.startsWith('..'))
    .sort();
const hidden = (dir: string): string[] => readdirSync(dir).filter((name) => name.startsWith('..'));

t.test('first write, change, equal, less', async (t) => {
  const dir = t.testdir();
  t.notOk(isWritten(dir));
  t.equal(writeAtomically(dir, payload({ a: '1', 'x/y/b': '2' })), true);
  t.ok(isWritten(dir));
  t.strictSame(visible(dir), ['a', 'x']);
  t.equal(readFileSync(join(dir, 'x/y/b'), 'utf8'), '2');
  t.equal(readlinkSync(join(dir, 'a')), '..data/a');
  const first = readlinkSync(join(dir, '..data'));
  t.equal(writeAtomically(dir, payload({ a: '1', 'x/y/b': '2' })), false, 'nothing to do');
  t.equal(readlinkSync(join(dir, '..data')), first);
  t.equal(writeAtomically(dir, payload({ a: '1', 'x/y/b': '2' }, 0o600)), true, 'another mode');
  t.equal(statSync(join(dir, 'a')).mode & 0o777, 0o600);
  t.equal(writeAtomically(dir, payload({ a: 'new', c: '3' })), true);
  t.strictSame(visible(dir), ['a', 'c']);
  t.equal(readFileSync(join(dir, 'a'), 'utf8'), 'new');
  t.equal(hidden(dir).length, 2, '..data and what it links to');
  t.notOk(existsSync(join(dir, first)));
  writeAtomically(dir, payload({}));
  t.strictSame(visible(dir), []);
});

t.test('who reads while it changes sees one or the other, never both', async (t) => {
  const dir = t.testdir();
  writeAtomically(dir, payload({ a: '1', b: '1' }));
  const before = join(dir, readlinkSync(join(dir, '..data')));
  const [a] = [readFileSync(join(before, 'a'), 'utf8')];
  writeAtomically(dir, payload({ a: '2', b: '2' }));
  t.equal(a, '1');
  t.equal(readFileSync(join(dir, 'a'), 'utf8') + readFileSync(join(dir, 'b'), 'utf8'), '22');
});

t.test('what a crash left is taken away', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, '..2020_01_01_00_00_00.000.abcdef'));
  symlinkSync('..2020', join(dir, '..data_tmp'));
  symlinkSync('..gone', join(dir, '..data'));
  t.notOk(isWritten(dir));
  writeAtomically(dir, payload({ a: '1' }));
  t.equal(hidden(dir).length, 2);
  t.equal(readFileSync(join(dir, 'a'), 'utf8'), '1');
});

t.test('what cannot be written leaves the old as it was, and nothing else', async (t) => {
  const dir = t.testdir();
  writeAtomically(dir, payload({ a: '1' }));
  t.throws(() => writeAtomically(dir, payload({ a: '2', 'a/b': '3' })), { code: /EEXIST|ENOTDIR/ });
  t.equal(readFileSync(join(dir, 'a'), 'utf8'), '1');
  t.equal(hidden(dir).length, 2);
});

t.test('fsGroup: the group reads, folders hand it on', async (t) => {
  const gid = process.getgid?.() ?? 0;
  const dir = t.testdir();
  writeAtomically(dir, payload({ 'd/a': '1' }, 0o400), { gid });
  t.equal(statSync(join(dir, 'd/a')).mode & 0o7777, 0o440);
  t.equal(statSync(join(dir, 'd')).mode & 0o7777, 0o2755);
  t.equal(statSync(join(dir, 'd/a')).gid, gid);
  t.equal(writeAtomically(dir, payload({ 'd/a': '1' }, 0o400), { gid }), false);
});

for (const path of ['../a', '/a', 'a/../b', '..a', 'a//b', './a'])
  t.test(`refuses ${path}`, async (t) => {
    const dir = t.testdir();
    t.throws(() => writeAtomically(dir, payload({ [path]: 'x' })), RangeError);
    t.strictSame(readdirSync(dir), []);
    t.ok(lstatSync(dir).isDirectory());
  });
