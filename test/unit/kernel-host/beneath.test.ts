// Nothing below a folder leads out of it, whatever its links say.
import { closeSync, mkdirSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { openBeneath, pathOfFd } from '../../../lib/kernel/beneath.ts';

/** Where a path leads, relative to the root. */
function leads(root: string, path: string, createMode?: number): string {
  const fd = openBeneath(root, path, createMode === undefined ? {} : { createMode });
  try {
    return readlinkSync(pathOfFd(fd)).slice(root.length);
  } finally {
    closeSync(fd);
  }
}

const root = (t: Test): string => {
  const dir = join(t.testdir({ outside: 'secret', v: { a: { b: { file: 'x' } } } }), 'v');
  const link = (target: string, name: string): void => symlinkSync(target, join(dir, name));
  link('a/b', 'in');
  link('b/../b/file', 'a/chain');
  link('/etc', 'abs');
  link('../outside', 'up');
  link('a/../../outside', 'updown');
  link('loop', 'loop');
  return dir;
};

const good = [
  ['', ''],
  ['.', ''],
  ['a/b', '/a/b'],
  ['a//b/./file', '/a/b/file'],
  ['in', '/a/b'],
  ['in/file', '/a/b/file'],
  ['a/chain', '/a/b/file'],
] as const;
for (const [path, want] of good)
  t.test(`${JSON.stringify(path)} leads to ${want}`, async (t) => t.equal(leads(root(t), path), want));

const bad = [
  ['abs', 'PATH_ESCAPES'],
  ['abs/passwd', 'PATH_ESCAPES'],
  ['up', 'PATH_ESCAPES'],
  ['updown', 'PATH_ESCAPES'],
  ['..', 'PATH_ESCAPES'],
  ['a/../..', 'PATH_ESCAPES'],
  ['/a', 'PATH_ESCAPES'],
  ['loop', 'PATH_ESCAPES'],
  ['none', 'ENOENT'],
  ['a/b/file/x', 'ENOTDIR'],
] as const;
for (const [path, code] of bad)
  t.test(`${path} is refused`, async (t) => t.throws(() => leads(root(t), path), { code }));

t.test('makes what is missing, with its mode, and nothing outside', async (t) => {
  const dir = root(t);
  t.equal(leads(dir, 'in/new/deep', 0o777), '/a/b/new/deep');
  t.equal(statSync(join(dir, 'a/b/new/deep')).mode & 0o777, 0o777);
  t.throws(() => leads(dir, 'up/new', 0o777), { code: 'PATH_ESCAPES' });
  mkdirSync(join(dir, 'c'));
  writeFileSync(join(dir, 'c/f'), '');
  t.throws(() => leads(dir, 'c/f/g', 0o777), { code: 'ENOTDIR' });
});

t.test('a folder that becomes a link and back, again and again, leads nowhere else', async (t) => {
  const dir = root(t);
  mkdirSync(join(dir, 'real/sub'), { recursive: true });
  symlinkSync('..', join(dir, 'trap'));
  // Exchanges the folder and the link as fast as it can, as a container would that wants out.
  const flip = `
    const { renameSync } = require('node:fs');
    const at = (name) => ${JSON.stringify(`${dir}/`)} + name;
    for (;;) for (const [from, to] of [['real', 'x'], ['trap', 'real'], ['real', 'trap'], ['x', 'real']])
      renameSync(at(from), at(to));`;
  const flipper = new Worker(flip, { eval: true });
  const seen = { inside: 0, refused: 0, absent: 0 };
  const isDone = (): boolean => seen.inside > 0 && seen.refused + seen.absent > 0;
  const began = Date.now();
  // On a busy machine the two may take long to meet.
  for (let ms = 0; ms < 1500 || (!isDone() && ms < 30_000); ms = Date.now() - began) {
    try {
      const led = leads(dir, 'real/sub');
      if (!/^\/(real|x)\/sub$/.test(led)) t.fail(`it led to ${led}`);
      seen.inside++;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'PATH_ESCAPES') seen.refused++;
      else if (code === 'ENOENT') seen.absent++;
      else throw error;
    }
    if (seen.inside % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await flipper.terminate();
  t.ok(isDone(), JSON.stringify(seen));
});
