// Ranges of ids for Pods with a user namespace: which are free, who has them, and that none is lost or given twice.
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { freeIds, freeRange, sweepIds, takeIds, usedByMachine } from '../../../lib/sandbox/id-ranges.ts';

const machines = [
  { name: 'nothing but the lowest', users: [''], subordinate: [''], used: [0] },
  {
    name: 'users and groups with high ids',
    users: ['root:x:0:0::/:/bin/sh\nann:x:65536:1::/:\n', 'big:x:4294967294:\n\n#comment\n+::::::\n'],
    subordinate: [],
    used: [0, 1, 65535],
  },
  {
    name: 'subordinate ids that begin anywhere',
    users: [],
    subordinate: ['ann:100000:65536\nbob:165536:65536\n', 'ann:524288:1\nbad:x:y\nnone:1000000:0\n'],
    used: [0, 1, 2, 3, 8],
  },
];
for (const { name, used, ...files } of machines)
  t.test(`the machine has ${name}`, async (t) => {
    t.same(
      [...usedByMachine(files)].sort((a, b) => a - b),
      used,
    );
  });

t.test('the lowest that is free', async (t) => {
  t.same(freeRange(new Set([0, 1, 3])), { first: 131072, length: 65536 });
  t.equal(freeRange(new Set(Array.from({ length: 65536 }, (_, at) => at))), undefined);
});

t.test('taken and given back', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'podwire-ids-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const etc = join(root, 'etc');
  mkdirSync(etc);
  writeFileSync(join(etc, 'subuid'), 'ann:131072:65536\n');
  const mine = { userns: join(root, 'userns'), sandboxes: join(root, 'a') };
  const others = { ...mine, sandboxes: join(root, 'b') };
  const [one, two, three] = ['a/one', 'b/two', 'a/three'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];

  t.equal(takeIds(mine, one, etc).first, 65536);
  t.equal(takeIds(others, two, etc).first, 3 * 65536, "another node's, and past the machine's own");
  const third = takeIds(mine, three, etc);
  t.equal(third.first, 4 * 65536);
  const folder = join(root, 'userns/ids');
  t.equal(readlinkSync(join(folder, '196608')), two);

  freeIds(mine, third, two);
  t.equal(readdirSync(folder).length, 3, 'only its owner gives it back');
  freeIds(mine, third, three);
  freeIds(mine, third, three);
  t.same(readdirSync(folder).sort(), ['196608', '65536']);
  t.equal(takeIds(mine, three, etc).first, third.first, 'and it is given again');

  sweepIds(mine, new Set([one]));
  t.same(
    readdirSync(folder).sort(),
    ['196608', '65536'],
    'what a dead sandbox of this node had; nobody else loses',
  );
  sweepIds({ ...mine, userns: join(root, 'nowhere') }, new Set());
});
