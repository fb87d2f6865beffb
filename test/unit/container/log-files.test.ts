// One log in several files: their names, putting aside by size and count, and reading right over all of them.
import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { hasLog, nextStamp, removeLog, sortOlder } from '../../../lib/container/log-files.ts';
import { rotateLog } from '../../../lib/container/log-rotation.ts';
import { type LogOptions, readLogs } from '../../../lib/container/logs.ts';

const line = (second: number, text: string, tag = 'F'): string =>
  `2026-01-02T03:04:${String(second).padStart(2, '0')}.000000007+00:00 stdout ${tag} ${text}\n`;

async function read(options: LogOptions): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of readLogs(options)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

t.test('which files are of a log', async (t) => {
  const names = ['1.log', '1.log.20260102-030406', '1.log.20260102-030405', '1.log.20260102-030405.gz'];
  const others = ['1.log.20260102-030405.gz.tmp', '11.log.20260102-030405', '1.log.x', '0.log', '1.log.tmp'];
  t.same(sortOlder('1.log', [...names, ...others]), [
    { name: '1.log.20260102-030405.gz', stamp: '20260102-030405', compressed: true },
    { name: '1.log.20260102-030406', stamp: '20260102-030406', compressed: false },
  ]);
});

const stamps = [
  { name: 'the first', newest: undefined, want: '20260102-030405' },
  { name: 'a later one', newest: '20260102-030404', want: '20260102-030405' },
  { name: 'in the same second', newest: '20260102-030405', want: '20260102-030406' },
  { name: 'after the clock was set back', newest: '20261231-235959', want: '20270101-000000' },
];
for (const c of stamps)
  t.test(`the time in its name: ${c.name}`, async (t) =>
    t.equal(nextStamp(c.newest, new Date('2026-01-02T03:04:05.678Z')), c.want),
  );

/** Two older files and the one being written; a long line begins in one and ends in the next. */
function threeFiles(t: Test): string {
  const path = join(t.testdir(), '0.log');
  writeFileSync(`${path}.20260102-030410.gz`, gzipSync(line(1, 'a') + line(2, 'b') + line(3, 'c1 ', 'P')));
  writeFileSync(`${path}.20260102-030420`, line(4, 'c2') + line(5, 'd'));
  writeFileSync(path, line(6, 'e') + line(7, 'f'));
  return path;
}
const whole = ['a\n', 'b\n', 'c1 c2\n', 'd\n', 'e\n', 'f\n'];

t.test('reads right over all of them', async (t) => {
  const path = threeFiles(t);
  t.equal(await read({ path }), whole.join(''));
  for (const tailLines of [0, 1, 2, 3, 4, 5, 6, 7])
    t.equal(
      await read({ path, tailLines }),
      whole.slice(6 - Math.min(6, tailLines)).join(''),
      `tail ${tailLines}`,
    );
  t.equal(await read({ path, sinceTime: '2026-01-02T03:04:05Z' }), 'd\ne\nf\n');
  t.equal(await read({ path, limitBytes: 5 }), 'a\nb\nc');
  t.match(await read({ path, timestamps: true, tailLines: 5 }), /^2026-01-02T03:04:02\S+ b\n/);
});

t.test('a log whose writer never came back to it', async (t) => {
  const path = threeFiles(t);
  renameSync(path, `${path}.20260102-030430`);
  t.equal(await hasLog(path), true);
  t.equal(await read({ path }), whole.join(''));
  t.equal(await read({ path, follow: true, tailLines: 3, isFinished: () => true }), 'd\ne\nf\n');
  await removeLog(path);
  t.same(readdirSync(join(path, '..')), []);
  t.equal(await hasLog(path), false);
});

t.test('put aside by size, kept by count', async (t) => {
  const path = join(t.testdir(), '0.log');
  const limits = { maxBytes: 40, maxFiles: 3 };
  const reopen = async () => writeFileSync(path, '');
  const now = () => new Date('2026-01-02T03:04:05Z');
  writeFileSync(path, 'small');
  t.equal(await rotateLog({ path, limits, reopen, now }), false);
  for (const text of ['one', 'two', 'three']) {
    writeFileSync(path, line(1, text));
    t.equal(await rotateLog({ path, limits, reopen, now }), true, text);
  }
  t.same(readdirSync(join(path, '..')).sort(), [
    '0.log',
    '0.log.20260102-030406.gz',
    '0.log.20260102-030407',
  ]);
  t.equal(await read({ path }), 'two\nthree\n');
});

t.test('a writer that cannot be reached keeps its file', async (t) => {
  const path = join(t.testdir(), '0.log');
  const limits = { maxBytes: 10, maxFiles: 3 };
  const reopen = () => Promise.reject(new Error('ENXIO'));
  writeFileSync(path, line(1, 'one'));
  await t.rejects(rotateLog({ path, limits, reopen }), { code: 'LOG_ROTATION', message: /ENXIO/ });
  t.same(readdirSync(join(path, '..')), ['0.log']);
  t.equal(await read({ path }), 'one\n');
});

t.test('one that was put aside by a daemon that died is begun anew', async (t) => {
  const path = join(t.testdir(), '0.log');
  const reopen = async () => writeFileSync(path, '');
  t.equal(await rotateLog({ path, limits: { maxBytes: 10, maxFiles: 3 }, reopen }), false);
  t.ok(existsSync(path));
});

t.test('who follows sees what came and went between two looks', async (t) => {
  const path = threeFiles(t);
  let text = '';
  let finished = false;
  for await (const chunk of readLogs({ path, follow: true, tailLines: 1, isFinished: () => finished })) {
    text += chunk;
    if (text !== 'f\n') continue;
    renameSync(path, `${path}.20260102-030430`);
    writeFileSync(`${path}.20260102-030431`, line(8, 'g'));
    writeFileSync(path, line(9, 'h'));
    finished = true;
  }
  t.equal(text, 'f\ng\nh\n');
});
