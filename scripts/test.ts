// `npm test`: unit tests, then with root the tests against the real kernel and the real daemon; nothing may be left over.
// Assumes scripts/setup.mjs has run. Prints a line a file, failures in full, and the count alone on the last line.
// Arguments choose files: node scripts/test.ts test/unit/cli
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, globSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type FinalResults, Parser, type Result } from 'tap-parser';
import { hybridMounts } from './hybrid-cgroups.ts';
import { machineState, stateDifference } from './machine-state.ts';

const repo = dirname(dirname(fileURLToPath(import.meta.url)));

interface Phase {
  readonly name: string;
  readonly folder: string;
  readonly needsRoot: boolean;
  readonly jobs: number;
  /** Seconds a file may take. */
  readonly timeout: number;
}

const unit: Phase = { name: 'unit', folder: 'test/unit', needsRoot: false, jobs: 2, timeout: 120 };
const kernel: Phase = { name: 'kernel', folder: 'test/kernel', needsRoot: true, jobs: 1, timeout: 300 };
const e2e: Phase = { name: 'e2e', folder: 'test/e2e', needsRoot: true, jobs: 1, timeout: 600 };
const cluster: Phase = { name: 'cluster', folder: 'test/cluster', needsRoot: true, jobs: 1, timeout: 600 };

/** One step after another; the lanes of a step side by side, for much of the time they wait. Only e2e uses the machine's own network. */
const steps: readonly (readonly (readonly Phase[])[])[] = [[[unit]], [[e2e], [kernel, cluster]]];

interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

const total: Count = { passed: 0, failed: 0, skipped: 0 };
const isRoot = process.getuid?.() === 0;
const running = new Set<ChildProcess>();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    for (const child of running) child.kill(name);
    process.exitCode = 130;
  });

async function main(chosen: readonly string[]): Promise<void> {
  const undo = isRoot ? hybridMounts(say) : () => {};
  const before = machineState();
  for (const lanes of steps) await Promise.all(lanes.map((lane) => runLane(lane, chosen)));
  if (isRoot) await checkLeftOvers(before);
  undo();
  if (total.failed > 0 && process.exitCode === undefined) process.exitCode = 1;
  if (total.passed + total.failed === 0) process.exitCode ??= 1;
  const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
  process.stdout.write(`${total.passed} passed, ${total.failed} failed${skipped}\n`);
}

async function runLane(lane: readonly Phase[], chosen: readonly string[]): Promise<void> {
  for (const phase of lane) {
    const files = filesOf(phase, chosen);
    if (files.length === 0 || process.exitCode === 130) continue;
    if (phase.needsRoot && !isRoot)
      say(`${phase.name}: ${files.length} files not run: they need root (sudo npm test)`);
    else await runPhase(phase, files);
  }
}

function filesOf(phase: Phase, chosen: readonly string[]): string[] {
  const files = globSync(`${phase.folder}/**/*.test.ts`, { cwd: repo }).sort();
  return chosen.length === 0
    ? files
    : files.filter((file) => chosen.some((each) => file.startsWith(each.replace(/^\.\//, ''))));
}

/** Runs tap over the files and reads its TAP as it comes. */
async function runPhase(phase: Phase, files: readonly string[]): Promise<void> {
  const began = performance.now();
  const count: Count = { passed: 0, failed: 0, skipped: 0 };
  say(`${phase.name}: ${files.length} files`);
  mkdirSync(join(repo, 'dist'), { recursive: true });
  const flags = [
    '--reporter=tap',
    '--disable-coverage',
    `--jobs=${phase.jobs}`,
    `--timeout=${phase.timeout}`,
  ];
  const child = spawn(join(repo, 'node_modules/.bin/tap'), ['run', ...flags, ...files], {
    cwd: repo,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${join(repo, 'node_modules/.bin')}:${process.env.PATH}`, FORCE_COLOR: '0' },
  });
  running.add(child);
  const log = createWriteStream(join(repo, `dist/test-${phase.name}.tap`));
  child.stdout.pipe(log);
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  const exit = new Promise<number>((resolve) =>
    child.on('close', (code, signal) => resolve(signal ? 1 : (code ?? 1))),
  );
  await countTap(child.stdout, count);
  const code = await exit;
  running.delete(child);
  if (code !== 0 && count.failed === 0) {
    count.failed++;
    say(`${phase.name}: tap ended with exit code ${code}, though no test failed:`);
  }
  if (code !== 0)
    process.stdout.write(Buffer.concat(errors).toString('utf8').split('\n').slice(-60).join('\n'));
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  say(`${phase.name}: ${count.passed} passed, ${count.failed} failed (${seconds} s)`);
  for (const key of ['passed', 'failed', 'skipped'] as const) total[key] += count[key];
}

/** Adds up the assertions (a subtest's own line is not one), prints files and failures. */
async function countTap(stream: NodeJS.ReadableStream, count: Count): Promise<void> {
  const parser = new Parser();
  parser.on('pass', () => count.passed++);
  parser.on('fail', (result: Result) => {
    count.failed++;
    process.stdout.write(failureText(result));
  });
  for (const event of ['skip', 'todo'] as const)
    parser.on(event, (result: Result) => {
      count.skipped++;
      const reason = result.skip || result.todo;
      say(`  ${event} ${result.fullname || result.name}${typeof reason === 'string' ? `: ${reason}` : ''}`);
    });
  parser.on('child', (child: Parser) => {
    child.on('complete', (results: FinalResults) => {
      say(
        `  ${results.ok ? 'ok    ' : 'not ok'} ${child.name} (${results.time === null ? '' : `${Math.round(results.time ?? 0)} ms`})`,
      );
    });
  });
  const complete = new Promise<void>((resolve) => parser.on('complete', () => resolve()));
  stream.on('data', (chunk: Buffer) => parser.write(chunk));
  stream.on('end', () => parser.end());
  await complete;
}

function failureText(result: Result): string {
  const diagnosis = result.diag ? `\n${JSON.stringify(result.diag, null, 2)}` : '';
  return `FAILED ${result.fullname || result.name}${diagnosis.replaceAll('\\n', '\n').replaceAll('\n', '\n    ')}\n`;
}

/** The kernel cleans up behind a deleted namespace, on a busy machine for long: what is still there after a minute was left behind. */
async function checkLeftOvers(before: readonly string[]): Promise<void> {
  const deadline = performance.now() + 60_000;
  let difference = stateDifference(before, machineState());
  while (difference.some(isFault) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    difference = stateDifference(before, machineState());
  }
  const faults = difference.filter(isFault);
  for (const line of difference) if (!isFault(line)) say(`note: ${line}`);
  if (faults.length === 0) {
    total.passed++;
    return say('the machine is as it was found');
  }
  total.failed++;
  process.stdout.write(
    `FAILED the machine is not as it was found:\n${faults.map((line) => `    ${line}\n`).join('')}`,
  );
}

/** Somebody else's Pods may end while the tests run; links, tables and mounts of the machine may not go with them. */
const isFault = (line: string): boolean =>
  !/^gone: (process|cgroup|namespace|folder|mount \/run\/netns)/.test(line);

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

await main(process.argv.slice(2));
