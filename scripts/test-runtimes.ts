// `npm run test:runtimes`: whole suites of the daemon over each runtime that they do not run over anyway; what is about
// podwire's own runtime alone says so and is skipped. Assumes root, runc, containerd and busybox-static. About 6 minutes.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const repo = join(import.meta.dirname, '..');
const suites = ['lifecycle', 'init', 'probes', 'hooks', 'volumes', 'static', 'containers', 'security'];
const files = suites.map((name) => `test/e2e/${name}.test.ts`);
const chosen = process.argv.slice(2);

for (const runtime of chosen.length > 0 ? chosen : ['runc', 'containerd']) {
  process.stdout.write(`${runtime}:\n`);
  const env = { ...process.env, PODWIRE_TEST_RUNTIME: runtime };
  const { status } = spawnSync(process.execPath, [join(repo, 'scripts/test.ts'), ...files], {
    stdio: 'inherit',
    env,
  });
  if (status !== 0) process.exitCode = 1;
}
