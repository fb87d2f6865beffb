// A file that is replaced is the old one or the whole new one, also where the disk takes only a part of it.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readIfThere, replaceFile } from '../../../lib/kernel/files.ts';

t.test('what is written is there whole, with its mode and nothing beside it', async (t) => {
  const dir = t.testdir({ record: 'old' });
  const path = join(dir, 'record');
  replaceFile(path, 'zwölf', { mode: 0o640 });
  t.equal(readFileSync(path, 'utf8'), 'zwölf');
  t.equal(statSync(path).mode & 0o777, 0o640);
  t.same(readdirSync(dir), ['record']);
});

t.test('a disk that takes only a part of it is an error, and the old record stays', async (t) => {
  const dir = t.testdir({ record: 'old' });
  const path = join(dir, 'record');
  // A limit of a process' file size behaves as a disk with 4 KiB left: a short write first, then an error.
  const script = `
    process.on('SIGXFSZ', () => {});
    const { replaceFile } = await import(${JSON.stringify(join(import.meta.dirname, '../../../lib/kernel/files.ts'))});
    try { replaceFile(${JSON.stringify(path)}, 'x'.repeat(6000)); } catch (error) { console.log(error.code); }`;
  const limited = ['--fsize=4096', process.execPath, '--input-type=module', '-e', script];
  t.equal(execFileSync('prlimit', limited, { encoding: 'utf8' }).trim(), 'EFBIG');
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.same(readdirSync(dir), ['record'], 'no half of it is left');
});

t.test('what cannot be put in place leaves no temporary file', async (t) => {
  const dir = t.testdir({ record: {} });
  t.throws(() => replaceFile(join(dir, 'record'), 'x'), { code: 'EISDIR' });
  t.same(readdirSync(dir), ['record']);
});

t.test('not there is told apart from not readable', async (t) => {
  const dir = t.testdir({ file: 'text' });
  t.equal(readIfThere(join(dir, 'file')), 'text');
  t.equal(readIfThere(join(dir, 'none')), undefined);
  t.throws(() => readIfThere(dir), { code: 'EISDIR' });
  t.equal(readIfThere(dir, ['EISDIR']), undefined);
  writeFileSync(join(dir, 'file'), '');
  t.equal(readIfThere(join(dir, 'file')), '');
});
