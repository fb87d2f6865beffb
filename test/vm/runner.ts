// Runs test files that start VMs, each in network, process and mount namespaces of its own: when a file ends, however
// it ends, the kernel takes its VMs, links and daemons away. Prints progress, failures in full, and the count at the end.
// One file at a time: emulated VMs want all the cores there are.
import { type ChildProcess, spawn } from 'node:child_process';
import { globSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Parser, type Result } from 'tap-parser';
import { cacheFolder } from './image.ts';

const repo = join(import.meta.dirname, '../..');
/** Seconds a test file may take: several times what it takes on a quiet machine, for an emulated VM suffers most. */
export const fileTimeout = 3000;

const count = { passed: 0, failed: 0, skipped: 0 };
const began = performance.now();
let running: ChildProcess | undefined;
let interrupted = false;

/** Does `work` with a folder that is removed after it; then tells the count and sets the exit code. */
export async function runTests(work: (folder: string) => Promise<void>): Promise<void> {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, () => {
      interrupted = true;
      process.exitCode = 130;
      running?.kill('SIGKILL');
    });
  try {
    removeDeadRuns();
    const folder = mkdtempSync(join(cacheFolder(), `run-${process.pid}-`));
    try {
      await work(folder);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    if (interrupted) say('interrupted; nothing is left');
    else if (count.passed + count.failed === 0) fail('no test ran');
  } catch (error) {
    fail((error instanceof Error ? error.message : String(error)).slice(-3000));
  }
  if (count.failed > 0) process.exitCode ??= 1;
  const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : '';
  process.stdout.write(`${count.passed} passed, ${count.failed} failed${skipped}\n`);
}

/** Disks of runs that were ended by SIGKILL. */
function removeDeadRuns(): void {
  for (const name of readdirSync(cacheFolder())) {
    const pid = /^(?:run|making)-(\d+)/.exec(name)?.[1];
    if (pid && !statSync(`/proc/${pid}`, { throwIfNoEntry: false }))
      rmSync(join(cacheFolder(), name), { recursive: true, force: true });
  }
}

/** Test files below a folder of the repo; those that end as one of `chosen`, or all. */
export function filesOf(folder: string, chosen: readonly string[]): string[] {
  const all = globSync(`${folder}/**/*.test.ts`, { cwd: repo }).sort();
  return chosen.length === 0
    ? all
    : all.filter((file) => chosen.some((each) => file.endsWith(each.replace(/^\.\//, ''))));
}

/** Runs one file; not at all after an interrupt. */
export async function runFile(file: string, env: Record<string, string>): Promise<void> {
  if (interrupted) return;
  say(`${file}:`);
  const before = { ...count };
  const own = ['--net', '--pid', '--fork', '--mount-proc', '--kill-child'];
  // Process 1 must reap: qemu leaves its parent, and libvirt waits until an ended one is gone.
  const init = ['bash', '-c', '"$@" & wait $!', 'init'];
  const test = [process.execPath, join(repo, file)];
  const argv = ['--pdeathsig', 'KILL', '--', 'unshare', ...own, '--', ...init, ...test];
  const child = spawn('setpriv', argv, {
    cwd: repo,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TAP_TIMEOUT: String(fileTimeout), ...env },
  });
  running = child;
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString('utf8');
  });
  const limit = setTimeout(() => {
    fail(`${file}: no end after ${fileTimeout} s`);
    child.kill('SIGKILL');
  }, fileTimeout * 1000);
  const exit = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 1)));
  await countTap(child.stdout);
  const code = await exit;
  clearTimeout(limit);
  running = undefined;
  if (code !== 0 && count.failed === before.failed && !interrupted)
    fail(`${file} ended with exit code ${code}, though no test failed:\n${errors.slice(-4000)}`);
  else if (errors !== '' && code !== 0) process.stdout.write(errors.slice(-4000));
}

/** Adds up the assertions; prints a line for each test, as it ends, and failures in full. */
async function countTap(stream: NodeJS.ReadableStream): Promise<void> {
  const parser = new Parser();
  parser.on('pass', () => count.passed++);
  parser.on('fail', (result: Result) => {
    const { source: _, argv: __, ...told } = (result.diag ?? {}) as Record<string, unknown>;
    const diagnosis = JSON.stringify(told, null, 2).replaceAll('\\n', '\n');
    fail(`FAILED ${result.fullname || result.name}\n    ${diagnosis.replaceAll('\n', '\n    ')}`);
  });
  parser.on('skip', (result: Result) => {
    count.skipped++;
    say(`  skipped: ${result.fullname || result.name}: ${result.skip}`);
  });
  tellProgress(parser, 1);
  const complete = new Promise<void>((resolve) => parser.on('complete', () => resolve()));
  stream.on('data', (chunk: Buffer) => parser.write(chunk));
  stream.on('end', () => parser.end());
  await complete;
}

function tellProgress(parser: Parser, depth: number): void {
  parser.on('comment', (text: string) => {
    if (!/^# (Subtest|time=|bailout|failed|\{)/.test(text))
      say(`${'  '.repeat(depth)}${text.trim().slice(2)}`);
  });
  parser.on('child', (child: Parser) => {
    tellProgress(child, depth + 1);
    child.on('complete', (results) => {
      const time = results.time === null ? '' : ` (${((results.time ?? 0) / 1000).toFixed(1)} s)`;
      say(`${'  '.repeat(depth)}${results.ok ? 'ok    ' : 'not ok'} ${child.name}${time}`);
    });
  });
}

function fail(text: string): void {
  count.failed++;
  process.stdout.write(`${text}\n`);
}

/** A line of progress, with the seconds since the start. */
export function say(text: string): void {
  process.stdout.write(`[${((performance.now() - began) / 1000).toFixed(0).padStart(3)} s] ${text}\n`);
}
