import t from 'tap';
import { parseCpu } from '../../../bench/lib/cpu.ts';
import { parseSmapsRollup, sumMemory } from '../../../bench/lib/memory.ts';
import { pool } from '../../../bench/lib/pool.ts';
import { createProgress } from '../../../bench/lib/progress.ts';
import {
  meanOfLeast,
  pairedRatio,
  ratio,
  rotated,
  summarize,
  summarizeSteps,
} from '../../../bench/lib/stats.ts';
import { figure, formatTable } from '../../../bench/lib/table.ts';

const summaries = [
  { name: 'one value', values: [7], median: 7, min: 7, max: 7 },
  { name: 'odd number', values: [3, 1, 2], median: 2, min: 1, max: 3 },
  { name: 'even number: mean of the middle two', values: [10, 1, 4, 2], median: 3, min: 1, max: 10 },
  { name: 'compared as numbers, not as text', values: [100, 9, 20], median: 20, min: 9, max: 100 },
];
for (const c of summaries)
  t.test(`summarize: ${c.name}`, async (t) => {
    const given = [...c.values];
    t.same(summarize(given), { n: c.values.length, median: c.median, min: c.min, max: c.max });
    t.same(given, c.values, 'the values are left as they were');
  });

t.test('summarize: nothing has no median', async (t) => {
  t.throws(() => summarize([]), RangeError);
});

t.test('ratio', async (t) => {
  t.equal(ratio(summarize([30]), summarize([60])), 0.5);
  t.equal(ratio(summarize([30]), undefined), undefined);
  t.equal(ratio(summarize([30]), summarize([0])), undefined);
});

t.test('pairedRatio: of each round, so that a slow round slows both', async (t) => {
  t.equal(pairedRatio([9, 90, 18], [10, 100, 20]), 0.9);
  t.equal(pairedRatio([9, 90, 1], [10, 100, 20]), 0.9, 'one odd round does not count');
  t.throws(() => pairedRatio([], []), RangeError);
  t.throws(() => pairedRatio([1, 2], [1]), RangeError);
});

t.test('meanOfLeast', async (t) => {
  t.equal(meanOfLeast([500, 1, 3, 2, 4, 1, 3, 2, 4, 5], 0.9), 25 / 9);
  t.equal(meanOfLeast([4], 0.9), 4);
  t.throws(() => meanOfLeast([], 0.9), RangeError);
});

t.test(
  'summarizeSteps: medians by name, in order of beginning; a repeated step counts with its sum',
  async (t) => {
    const runs = [
      [
        { name: 'cni', start: 5, ms: 10 },
        { name: 'netns', start: 1, ms: 2 },
        { name: 'mount', start: 2, ms: 1 },
        { name: 'mount', start: 8, ms: 2 },
      ],
      [
        { name: 'netns', start: 3, ms: 4 },
        { name: 'cni', start: 7, ms: 20 },
      ],
    ];
    t.same(summarizeSteps(runs), [
      { name: 'netns', runs: 2, start: 2, ms: 3 },
      { name: 'mount', runs: 1, start: 2, ms: 3 },
      { name: 'cni', runs: 2, start: 6, ms: 15 },
    ]);
  },
);

const rotations: Array<{ by: number; want: string[] }> = [
  { by: 0, want: ['a', 'b', 'c'] },
  { by: 1, want: ['b', 'c', 'a'] },
  { by: 5, want: ['c', 'a', 'b'] },
];
for (const c of rotations)
  t.test(`rotated by ${c.by}`, async (t) => t.same(rotated(['a', 'b', 'c'], c.by), c.want));
t.test('rotated: nothing', async (t) => t.same(rotated([], 3), []));

const figures = [
  { value: 0.534, want: '0.53' },
  { value: 4.2149, want: '4.21' },
  { value: 45.25, want: '45.3' },
  { value: 1312.4, want: '1312' },
];
for (const c of figures) t.test(`figure ${c.value}`, async (t) => t.equal(figure(c.value), c.want));

t.test('formatTable: names left, figures right, empty cells', async (t) => {
  t.equal(
    formatTable(
      ['peer', 'ms', 'ratio'],
      [
        ['podwire', '40.1', '0.53'],
        ['podman', '195', undefined],
      ],
    ),
    '  peer       ms  ratio\n  ───────  ────  ─────\n  podwire  40.1   0.53\n  podman    195\n',
  );
});

t.test('parseSmapsRollup', async (t) => {
  const text =
    '55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:    1948 kB\nPss:     420 kB\nPss_Dirty:  100 kB\n';
  t.same(parseSmapsRollup(text), { rss: 1948 * 1024, pss: 420 * 1024 });
  t.throws(() => parseSmapsRollup('Rss: 1 kB\n'), /Pss/);
});

t.test('sumMemory', async (t) => {
  const one = { pid: 1, command: 'pause', argv: '/pause', rss: 10, pss: 4 };
  t.same(sumMemory([one, { ...one, pid: 2, rss: 5 }]), { processes: 2, rss: 15, pss: 8 });
  t.same(sumMemory([]), { processes: 0, rss: 0, pss: 0 });
});

t.test('pool: never more under way than allowed, and all done', async (t) => {
  let under = 0;
  let most = 0;
  const done: number[] = [];
  await pool([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
    under++;
    most = Math.max(most, under);
    await new Promise(setImmediate);
    under--;
    done.push(item);
  });
  t.equal(most, 3);
  t.same(done.sort(), [1, 2, 3, 4, 5, 6, 7]);
});

t.test('pool: a failure stops what is not begun, waits for what is, and is thrown', async (t) => {
  const ended: number[] = [];
  const work = async (item: number): Promise<void> => {
    await new Promise(setImmediate);
    if (item === 1) throw new Error('first');
    await new Promise(setImmediate);
    ended.push(item);
  };
  await t.rejects(pool([1, 2, 3, 4], 2, work), /first/);
  t.same(ended, [2]);
});

t.test('progress: rewritten on a terminal, phases only elsewhere', async (t) => {
  const written = (onTerminal: boolean): string => {
    let text = '';
    const progress = createProgress({ write: (more) => (text += more) }, onTerminal);
    progress.phase('start');
    progress.tick('1/20');
    progress.note('podman: not installed');
    return text;
  };
  t.equal(written(false), 'start\npodman: not installed\n');
  t.equal(written(true), '\r\x1b[Kstart\r\x1b[Kstart: 1/20\r\x1b[Kpodman: not installed\nstart');
});

t.test('parseCpu: own and children, whatever the program is called', async (t) => {
  const stat = '42 (odd) name (x) S 1 42 42 0 -1 4194560 900 800 0 0 12 3 40 5 20 0 1 0 5551 1000 200';
  t.same(parseCpu(stat), { own: 150, children: 450 });
  t.throws(() => parseCpu('42 (cut) S 1'), /no times/);
});
