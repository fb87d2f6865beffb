// The victim of full.test.ts: fills the disk that its store stands on, and tells by one line of JSON what still went.
import { rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';
import type { StoreError } from '../../../lib/store/store.ts';

const path = process.argv[2]!;
const filler = `${path}.filler`;
const told: Record<string, unknown> = {};
const size = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
const outcome = async (work: () => Promise<unknown>): Promise<string> => {
  try {
    await work();
    return 'ok';
  } catch (error) {
    return (error as StoreError).code;
  }
};
/** Takes all that is left of the disk. */
const fillUp = (): void => {
  for (let block = 1 << 20; block >= 4096; block >>= 1)
    try {
      for (;;) writeFileSync(filler, Buffer.alloc(block), { flag: 'a' });
    } catch {
      // smaller ones may still fit
    }
};

writeFileSync(filler, Buffer.alloc(16 << 20));
let store = openSqliteStore({ path });
told.ballast = size(`${path}.ballast`);
const value = 'x'.repeat(20_000);
const keys: string[] = [];
const createAll = async (): Promise<StoreError> => {
  for (;;) {
    const key = `/k/${keys.length}`;
    try {
      await store.create(key, value);
      keys.push(key);
    } catch (error) {
      return error as StoreError;
    }
  }
};
await createAll();
fillUp();
const refused = await createAll();
told.create = refused.code;
told.message = refused.message;
const revisionOf = async (key: string) => ({ expected: (await store.get(key))!.revision });
const [first, second] = [keys.shift()!, keys.shift()!];
told.status = await outcome(async () =>
  store.update(first, value, { ...(await revisionOf(first)), durability: 'process' }),
);
told.update = await outcome(async () => store.update(first, value, await revisionOf(first)));
told.ballastAfter = size(`${path}.ballast`);
fillUp(); // somebody else takes what was given back and not used
told.delete = await outcome(async () => store.delete(second, await revisionOf(second)));
told.deleteMany = await outcome(async () => {
  for (const key of keys.splice(0, keys.length / 2)) await store.delete(key, await revisionOf(key));
});
const before = await store.revision();
await store.close();
fillUp();
told.opened = await outcome(async () => {
  store = openSqliteStore({ path });
});
told.revisionKept = (await store.revision()) === before;
truncateSync(filler, size(filler) - (8 << 20)); // a person helped a little
told.deleteAll = await outcome(async () => {
  for (const key of keys) await store.delete(key, await revisionOf(key));
});
keys.length = 0;
told.createAgain = await outcome(() => store.create('/new', value));
rmSync(filler);
await store.compact(await store.revision());
told.ballastRefilled = size(`${path}.ballast`);
await store.close();
fillUp();
told.openedFullAgain = await outcome(() => openSqliteStore({ path }).close());
process.stdout.write(JSON.stringify(told));
