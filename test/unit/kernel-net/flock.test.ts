// flock(2): one holder at a time, by the C library and by the program, and free again when the work failed.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { withFileLock } from '../../../lib/kernel/flock.ts';

const isFree = (file: string): boolean => spawnSync('flock', ['-n', file, 'true']).status === 0;

for (const way of ['C library', 'program'] as const)
  t.test(`by the ${way}`, async (t) => {
    const file = join(t.testdir(), 'lock');
    const script = `
      import { withFileLock } from ${JSON.stringify(join(import.meta.dirname, '../../../lib/kernel/flock.ts'))};
      import { spawnSync } from 'node:child_process';
      const [file] = process.argv.slice(1);
      console.log(await withFileLock(file, () => spawnSync('flock', ['-n', file, 'true']).status));
    `;
    const env = { ...process.env, ...(way === 'program' ? { PODWIRE_NO_FFI: '1' } : {}) };
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, file], {
      env,
      encoding: 'utf8',
    });
    t.equal(stdout, '1\n', `nobody else gets it meanwhile ${stderr}`);
    t.ok(isFree(file), 'and it goes with its holder');
  });

t.test('given up in time, given back after a failure', async (t) => {
  const file = join(t.testdir(), 'lock');
  await withFileLock(file, async () => {});
  const held = withFileLock(file, () => {
    t.notOk(isFree(file));
    throw new Error('the work failed');
  });
  await t.rejects(held, { message: 'the work failed' });
  t.ok(isFree(file));
  t.equal(
    await withFileLock(file, () => withFileLock(file, () => 1, 20).catch((error) => error.code)),
    'EBUSY',
  );
});
