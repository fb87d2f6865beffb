// kill -9 at any instant: whatever was acknowledged is there afterwards, and revisions go on from it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { openSqliteStore } from '../../../lib/store/sqlite.ts';

const writer = join(dirname(fileURLToPath(import.meta.url)), 'writer.ts');
const rounds = 12;

interface Known {
  values: Map<string, string>;
  revision: number;
  writes: number;
}

function learn(known: Known, text: string): void {
  // The last line may be cut: then its write was not told to anyone.
  const lines = text.split('\n').slice(0, -1);
  for (const line of lines) {
    const [what, key, ...rest] = line.split(' ');
    if (what === 'put') known.values.set(key!, rest[0]!);
    else known.values.delete(key!);
    known.revision = Number(rest.at(-1));
    known.writes++;
  }
}

async function runAndKill(path: string, afterMs: number): Promise<string> {
  const child = spawn(process.execPath, [writer, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const ended = once(child, 'close');
  await once(child.stdout, 'readable'); // it writes now
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  child.kill('SIGKILL');
  await ended;
  return text;
}

t.test(`${rounds} kills lose no acknowledged write`, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'podwire-crash-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'store.db');
  const known: Known = { values: new Map(), revision: 0, writes: 0 };
  for (let round = 0; round < rounds; round++) {
    const before = known.writes;
    learn(known, await runAndKill(path, Math.random() * 60));
    t.ok(known.writes > before, `round ${round}: it wrote`);
    const store = openSqliteStore({ path });
    const revision = await store.revision();
    // The one write that was under way may have been committed and not told.
    t.ok(
      revision === known.revision || revision === known.revision + 1,
      `revision ${revision} follows ${known.revision}`,
    );
    const { entries } = await store.list('/');
    const doubtful = entries.find((entry) => entry.revision > known.revision);
    const found = new Map(entries.map(({ key, value }) => [key, value]));
    const missing = [...known.values].filter(
      ([key, value]) => found.get(key) !== value && key !== doubtful?.key,
    );
    t.ok(
      missing.length <= (revision === known.revision || doubtful ? 0 : 1),
      'every acknowledged value is there',
    );
    await store.close();
    known.values = found;
    known.revision = revision;
  }
  const raw = new DatabaseSync(path);
  t.strictSame(Object.values(raw.prepare('PRAGMA integrity_check').get()!), ['ok']);
  const orphans = raw
    .prepare('SELECT count(*) AS n FROM kv LEFT JOIN log USING (revision) WHERE log.revision IS NULL')
    .get();
  t.equal(orphans?.n, 0, 'every key has its value');
  raw.close();
  t.comment(`${known.writes} acknowledged writes`);
});
