// 20,000 bent calls through the plugins' shared face, and 300 of the compiled executable: every answer is a valid result
// or a valid error. FUZZ_SEED repeats a run; case N of seed S is case 0 of seed S+N.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { run } from '../../../lib/exec/exec.ts';
import { plugins } from './fixture.ts';

t.setTimeout(200_000);
t.test('fuzz', async (t) => {
  const seed = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`FUZZ_SEED=${seed}`);
  const { outDir } = await plugins('compiled');
  const child = fileURLToPath(new URL('fuzz-child.ts', import.meta.url));
  const counts = {
    'in process': process.env.FUZZ_CASES ?? '20000',
    executed: process.env.FUZZ_RUNS ?? '300',
  };
  const { stdout } = await run({
    argv: [
      ...(['unshare', '--net', '--mount', '--uts', '--propagation', 'private'] as const),
      ...[process.execPath, child, String(seed), counts['in process'], counts.executed, join(outDir)],
    ],
    timeoutMs: 180_000,
  });
  const tallies = JSON.parse(stdout) as Record<string, { cases: number; byCode: object; faults: object[] }>;
  for (const [name, count] of Object.entries(counts)) {
    const { cases = 0, byCode = {}, faults = [] } = tallies[name] ?? {};
    t.equal(cases, Number(count), `${name}: all cases were run`);
    t.strictSame(faults, [], `${name}: every answer is a result or an error (seed ${seed})`);
    t.comment(`${name}: ${JSON.stringify(byCode)}`);
    const codes = Object.keys(byCode);
    t.ok(codes.includes('ok') && codes.length > 4, 'the cases reach into the plugins', { byCode });
  }
});
