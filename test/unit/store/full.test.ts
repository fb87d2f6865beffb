// A full disk: what is new is refused by a name, what exists can still be changed and deleted, and a restart works.
// The disk is a small tmpfs in a user namespace of a child, so no root is needed.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { ballastBytes } from '../../../lib/store/ballast.ts';

const inSmallDisk = (dir: string): string[] => [
  '-Urm',
  'sh',
  '-c',
  `mount -t tmpfs -o size=40m tmpfs '${dir}' && exec "$@"`,
  'sh',
];
const probe = spawnSync('unshare', [...inSmallDisk(t.testdir()), 'true']);
const skip = probe.status !== 0 && `no small disk can be mounted here: ${probe.stderr}`;

t.test('a full disk', { skip }, async (t) => {
  const dir = t.testdir();
  const child = [process.execPath, join(import.meta.dirname, 'full-child.ts'), join(dir, 'store.db')];
  const said = execFileSync('unshare', [...inSmallDisk(dir), ...child], { encoding: 'utf8' });
  const got = JSON.parse(said) as Record<string, unknown>;
  t.equal(got.ballast, ballastBytes, 'room is held back from the first opening on');
  t.same(got.create, 'STORE_FULL');
  t.match(got.message, /store\.db: the disk is full/);
  t.same(got.status, 'STORE_FULL', 'what can wait does not take the room held back');
  t.equal(got.update, 'ok', 'a wish is written');
  t.equal(got.delete, 'ok');
  t.equal(got.ballastAfter, 0, 'by the room held back');
  t.equal(got.deleteMany, 'ok', 'what deletions leave is room for the next');
  t.equal(got.opened, 'ok', 'a full disk is no hindrance to a start');
  t.equal(got.revisionKept, true);
  t.equal(got.deleteAll, 'ok', 'everything can go with a little room');
  t.equal(got.createAgain, 'ok', 'and then there is room again');
  t.equal(got.openedFullAgain, 'ok');
  t.equal(got.ballastRefilled, ballastBytes, 'when there is room the reserve is made again');
});
