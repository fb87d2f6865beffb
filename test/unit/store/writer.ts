// The victim of crash.test.ts: writes as fast as it can, and says on stdout what was acknowledged.
// Lines: `put KEY VALUE REVISION` and `del KEY REVISION`. Ends only by being killed.
import { writeSync } from 'node:fs';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';

const path = process.argv[2]!;
const store = openSqliteStore({ path });
const say = (line: string): void => void writeSync(1, `${line}\n`);
const keys = Array.from({ length: 20 }, (_, at) => `/k/${at}`);
for (let turn = 0; ; turn++) {
  const key = keys[turn % keys.length]!;
  const durability = turn % 3 === 0 ? 'disk' : 'process';
  const old = await store.get(key);
  if (old && turn % 7 === 0) {
    const { revision } = await store.delete(key, { expected: old.revision, durability });
    say(`del ${key} ${revision}`);
  } else {
    const value = `${process.pid}-${turn}-${'x'.repeat(turn % 5000)}`;
    const entry = old
      ? await store.update(key, value, { expected: old.revision, durability })
      : await store.create(key, value, { durability });
    say(`put ${key} ${value} ${entry.revision}`);
  }
  if (turn % 50 === 49) await store.compact((await store.revision()) - 20);
}
