// The log reader: parsing, joining, tail of files larger than a block, since, limits, following to the end.
import { appendFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  type LogOptions,
  parseLogLine,
  readLogLines,
  readLogs,
  timeKey,
} from '../../../lib/container/logs.ts';
import { until } from '../../until.ts';

const time = (second: number): string =>
  `2026-01-02T03:04:${String(second).padStart(2, '0')}.000000007+00:00`;
const whole = (second: number, text: string, stream = 'stdout'): string =>
  `${time(second)} ${stream} F ${text}\n`;
const part = (second: number, text: string, stream = 'stdout'): string =>
  `${time(second)} ${stream} P ${text}\n`;

async function read(options: LogOptions): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of readLogs(options)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const lines = [
  {
    name: 'a whole line',
    raw: `${time(1)} stdout F a b`,
    want: { stream: 'stdout', text: 'a b', partial: false },
  },
  { name: 'a part', raw: `${time(1)} stderr P a`, want: { stream: 'stderr', text: 'a', partial: true } },
  {
    name: 'more tags',
    raw: `${time(1)} stdout F:x y`,
    want: { stream: 'stdout', text: 'y', partial: false },
  },
  {
    name: 'an empty line',
    raw: `${time(1)} stdout F `,
    want: { stream: 'stdout', text: '', partial: false },
  },
  {
    name: 'an empty line without its space',
    raw: `${time(1)} stdout F`,
    want: { stream: 'stdout', text: '', partial: false },
  },
  { name: 'another stream', raw: `${time(1)} stdin F x`, want: undefined },
  { name: 'another tag', raw: `${time(1)} stdout X x`, want: undefined },
  { name: 'nothing of it', raw: 'garbage', want: undefined },
];
for (const c of lines)
  t.test(`parse ${c.name}`, async (t) => {
    const parsed = parseLogLine(Buffer.from(c.raw));
    t.same(
      parsed && { stream: parsed.stream, text: parsed.text.toString(), partial: parsed.partial },
      c.want,
    );
  });

const joined =
  part(1, 'one ') +
  part(2, 'ERR ', 'stderr') +
  part(3, 'two ') +
  whole(4, 'err', 'stderr') +
  whole(5, 'three');
const texts = [
  { name: 'everything', log: whole(1, 'a') + whole(2, 'b', 'stderr'), options: {}, want: 'a\nb\n' },
  { name: 'interleaved parts', log: joined, options: {}, want: 'ERR err\none two three\n' },
  { name: 'a line that never ended', log: whole(1, 'a') + part(2, 'b'), options: {}, want: 'a\nb' },
  { name: 'times', log: whole(1, 'a'), options: { timestamps: true }, want: `${time(1)} a\n` },
  { name: 'the last line', log: whole(1, 'a') + whole(2, 'b'), options: { tailLines: 1 }, want: 'b\n' },
  { name: 'no last line', log: whole(1, 'a'), options: { tailLines: 0 }, want: '' },
  { name: 'more last lines than there are', log: whole(1, 'a'), options: { tailLines: 9 }, want: 'a\n' },
  {
    name: 'the last line with all its parts',
    log: whole(1, 'a') + part(2, 'b') + part(2, 'c') + whole(3, 'd'),
    options: { tailLines: 1 },
    want: 'bcd\n',
  },
  {
    name: 'since a second',
    log: whole(1, 'a') + whole(2, 'b'),
    options: { sinceTime: '2026-01-02T03:04:02Z' },
    want: 'b\n',
  },
  {
    name: 'since a nanosecond, in another time zone',
    log: whole(1, 'a') + whole(2, 'b'),
    options: { sinceTime: '2026-01-02T05:04:01.000000008+02:00' },
    want: 'b\n',
  },
  {
    name: 'so many bytes',
    log: whole(1, 'abc') + whole(2, 'def'),
    options: { limitBytes: 5 },
    want: 'abc\nd',
  },
  { name: 'an empty log', log: '', options: { tailLines: 3 }, want: '' },
  { name: 'an empty line', log: whole(1, '') + whole(2, 'x'), options: {}, want: '\nx\n' },
  { name: 'broken lines are left out', log: `garbage\n${whole(1, 'a')}`, options: {}, want: 'a\n' },
];
for (const c of texts)
  t.test(`read ${c.name}`, async (t) => {
    const path = join(t.testdir(), 'log');
    writeFileSync(path, c.log);
    t.equal(await read({ path, ...c.options }), c.want);
  });

t.test('the tail of a file of many blocks is the same as its end', async (t) => {
  const path = join(t.testdir(), 'log');
  // Lengths from 0 to 2000 put line ends at every place of a block, also at its very edges.
  const all = Array.from({ length: 2000 }, (_, at) => `${at} ${'x'.repeat((at * 37) % 2001)}`);
  writeFileSync(path, all.map((text) => whole(1, text)).join(''));
  for (const tailLines of [1, 2, 63, 64, 65, 500, 1999, 2000, 2001])
    t.equal(
      await read({ path, tailLines }),
      all
        .slice(-tailLines)
        .map((text) => `${text}\n`)
        .join(''),
      `${tailLines}`,
    );
});

t.test('one line larger than several blocks', async (t) => {
  const path = join(t.testdir(), 'log');
  const long = 'y'.repeat(200_000);
  writeFileSync(path, whole(1, 'a') + whole(2, long) + whole(3, 'b'));
  t.equal(await read({ path, tailLines: 2 }), `${long}\nb\n`);
  t.equal(await read({ path }), `a\n${long}\nb\n`);
});

t.test(
  'following sees what is appended, and ends when the container is finished and all is read',
  async (t) => {
    const path = join(t.testdir(), 'log');
    writeFileSync(path, whole(1, 'first'));
    let finished = false;
    const seen: string[] = [];
    for await (const line of readLogLines({ path, follow: true, isFinished: () => finished })) {
      seen.push(line.text.toString());
      if (seen.length === 1) setTimeout(() => appendFileSync(path, whole(2, 'second').slice(0, 20)), 5);
      if (seen.length === 1) setTimeout(() => appendFileSync(path, whole(2, 'second').slice(20)), 10);
      if (seen.length === 2) {
        appendFileSync(path, whole(3, 'last'));
        finished = true;
      }
    }
    t.same(seen, ['first\n', 'second\n', 'last\n']);
  },
);

t.test('following goes on in the file that takes the place of a full one, and loses nothing', async (t) => {
  const path = join(t.testdir(), 'log');
  writeFileSync(path, whole(1, 'first'));
  let finished = false;
  const seen: string[] = [];
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  // As conmon does: a new file is written beside it and renamed.
  const replace = (second: number, text: string): void => {
    writeFileSync(`${path}.tmp`, whole(second, text));
    renameSync(`${path}.tmp`, path);
  };
  for await (const line of readLogLines({ path, follow: true, isFinished: () => finished })) {
    seen.push(line.text.toString());
    if (seen.length === 1)
      setTimeout(() => {
        appendFileSync(path, whole(2, 'end of the old'));
        replace(3, 'new');
      }, 20);
    if (seen.length === 3) setTimeout(() => appendFileSync(path, whole(4, 'more')), 20);
    if (seen.length === 4) {
      replace(5, 'the last one of a container that has ended');
      finished = true;
    }
  }
  t.same(
    seen.map((text) => text.trim()),
    ['first', 'end of the old', 'new', 'more', 'the last one of a container that has ended'],
  );
  t.equal(descriptors(), before, 'no file stays open');
});

t.test('following ends at once when aborted', async (t) => {
  const path = join(t.testdir(), 'log');
  writeFileSync(path, whole(1, 'first'));
  const endsBeforeTheSlowLook = async (): Promise<boolean> => {
    const abort = new AbortController();
    const started = performance.now();
    for await (const _ of readLogLines({ path, follow: true, signal: abort.signal }))
      setTimeout(() => abort.abort(), 5);
    return performance.now() - started < 900;
  };
  t.ok(await until(endsBeforeTheSlowLook));
});

t.test('no such log', async (t) => {
  await t.rejects(read({ path: join(t.testdir(), 'nothing') }), { code: 'LOG_NOT_FOUND' });
});

t.test('times compare as texts', async (t) => {
  t.equal(timeKey('2026-01-01T00:00:00Z'), timeKey('2026-01-01T01:00:00.0+01:00'));
  t.ok(timeKey('2026-01-01T00:00:00.1Z') > timeKey('2026-01-01T00:00:00.099999999Z'));
  t.ok(timeKey('0999-01-01T00:00:00Z') < timeKey('2026-01-01T00:00:00Z'));
});
