import t from 'tap';
import { bytes } from '../../../cmd/podwire/print/bytes.ts';
import {
  columnWidths,
  painter,
  renderBars,
  renderFields,
  renderTable,
} from '../../../cmd/podwire/print/text.ts';

t.test('a table', async (t) => {
  const rows = [
    ['web', '2/2', 'Running'],
    ['a-longer-name', '0/1', 'CrashLoopBackOff'],
  ];
  t.equal(
    renderTable(['NAME', 'READY', 'STATUS'], rows),
    [
      'NAME            READY   STATUS',
      'web             2/2     Running',
      'a-longer-name   0/1     CrashLoopBackOff',
      '',
    ].join('\n'),
  );
  t.equal(renderTable(['NAME'], [['x']], { noHeaders: true }), 'x\n');
  t.same(columnWidths([['a', 'bb'], ['ccc']]), [3, 2]);
});

t.test('fields', async (t) => {
  const text = renderFields([
    ['Name', 'web'],
    ['Labels', ['a=1', 'b=2']],
    ['Gone', undefined],
    ['Block', [['In', 'side']]],
    ['Longest Key', ''],
  ]);
  t.equal(
    text,
    [
      'Name:         web',
      'Labels:       a=1',
      '              b=2',
      'Block:',
      '  In:  side',
      'Longest Key:',
      '',
    ].join('\n'),
  );
});

t.test('bars share one time axis', async (t) => {
  const text = renderBars(
    [
      { name: 'container', start: 10, ms: 10 },
      { name: 'netns', start: 0, ms: 5 },
      { name: 'tiny', start: 20, ms: 0.01 },
    ],
    { width: 20, indent: '' },
  );
  t.equal(
    text,
    [
      'netns          5.0 ms  |█████               |',
      'container     10.0 ms  |         ██████████ |',
      'tiny           0.0 ms  |                   █|',
      '',
    ].join('\n'),
  );
});

t.test('colours only where wanted', async (t) => {
  t.equal(painter('plain')('red', 'x'), 'x');
  t.equal(painter('colour')('red', 'x'), '\u001b[31mx\u001b[0m');
});

for (const [count, wanted] of [
  [0, '0B'],
  [1023, '1023B'],
  [1536, '1.50KiB'],
  [50 * 1024 * 1024, '50.0MiB'],
  [700 * 1024 ** 3, '700GiB'],
] as const)
  t.test(`${count} bytes`, async (t) => {
    t.equal(bytes(count), wanted);
  });
