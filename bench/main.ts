// npm run bench: makes the cell, measures in it, prints tables, writes bench/results/TIME.json, and cleans up.
// Assumes root and Linux with util-linux and catatonit. Also on Ctrl-C and on failure the machine is left as found;
// what is new on it at the end is said.
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { messageOf, PodwireError } from '../lib/exec/errors.ts';
import { run } from '../lib/exec/exec.ts';
import { findProgram } from '../lib/exec/find-program.ts';
import { measure, peerKinds, type Report, reportFile } from './inside.ts';
import { cellEmpty, enterCell, isOurs, makeCellFolder, staleCells, sweep } from './lib/cell.ts';
import { takeFootprint, whatIsNew } from './lib/footprint.ts';
import { createProgress, type Progress } from './lib/progress.ts';
import { type Options, parseOptions } from './options.ts';
import { showMeasurement, showSteps, showVerdicts, verdicts } from './report.ts';

const cellVariable = 'PODWIRE_BENCH_CELL';
const terminalVariable = 'PODWIRE_BENCH_TERMINAL';
const resultsFolder = fileURLToPath(new URL('results', import.meta.url));
const argv = process.argv.slice(2);
const options = parseOptions(argv);
const inCell = process.env[cellVariable];

try {
  if (inCell) {
    await measure(options, inCell, createProgress(process.stderr, process.env[terminalVariable] === '1'));
    process.exit(0); // peers may have left handles open; the cell ends with us
  }
  process.exitCode = await outside(createProgress(process.stderr, process.stderr.isTTY === true));
} catch (error) {
  process.stderr.write(`\nbench: ${messageOf(error)}\n`);
  process.exit(1);
}

async function outside(progress: Progress): Promise<number> {
  if (process.getuid?.() !== 0)
    throw new PodwireError('NOT_ROOT', 'must run as root: it makes namespaces, mounts and cgroups');
  if (options.installPeers) await installPeers(options, progress);
  for (const program of ['catatonit', 'unshare', 'setpriv', 'busybox'])
    if (!findProgram(program))
      throw new PodwireError(
        'PROGRAM_MISSING',
        `${program}: program not found; apt-get install ${packageOf(program)}`,
      );
  for (const stale of staleCells()) {
    progress.note(`removing what a killed bench left: ${stale}`);
    await sweep(stale, { libpod: false, keep: false });
  }
  const [load = 0] = loadavg();
  if (load > 0.5) progress.note(`the machine is not quiet (load ${load.toFixed(2)}): figures will scatter`);
  const before = await takeFootprint();
  const { code, report } = await measureInCell(
    progress,
    before.cgroup?.every((path) => !path.includes('libpod')) ?? true,
  );
  if (report) show(report);
  tellLeft(whatIsNew(before, await takeFootprint()));
  if (!report) return code || 1;
  return options.check && verdicts(report.measurements).some(({ reached }) => !reached) ? 1 : 0;
}

/** Others may work on the machine meanwhile; ours would carry one of our names. */
function tellLeft(left: readonly string[]): void {
  const [ours, others] = [left.filter((text) => isOurs(text)), left.filter((text) => !isOurs(text))];
  if (ours.length > 0)
    process.stderr.write(`left by the bench:\n${ours.map((text) => `  ${text}\n`).join('')}`);
  else process.stderr.write('Nothing of the bench is left on the machine.\n');
  if (others.length > 0)
    process.stderr.write(
      `new since the start, by others: ${others.slice(0, 5).join(', ')}${others.length > 5 ? ` and ${others.length - 5} more` : ''}\n`,
    );
}

/** @returns the exit code, and the results if it came to that */
async function measureInCell(
  progress: Progress,
  libpod: boolean,
): Promise<{ code: number; report?: Report }> {
  const folder = makeCellFolder();
  let stopped: NodeJS.Signals | undefined;
  try {
    const session = await enterCell([process.execPath, fileURLToPath(import.meta.url), ...argv], {
      [cellVariable]: folder,
      [terminalVariable]: process.stderr.isTTY ? '1' : '0',
    });
    session.onStdout((chunk) => process.stdout.write(chunk));
    session.onStderr((chunk) => process.stderr.write(chunk));
    const stop = (signal: NodeJS.Signals): void => {
      stopped ??= signal;
      session.kill();
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
    const code = await session.exit;
    const remaining = await cellEmpty(folder);
    if (remaining.length > 0) progress.note(`processes that will not end: ${remaining.join(' ')}`);
    progress.phase(stopped ? `${stopped}: cleaning up` : 'cleaning up');
    progress.note('');
    if (stopped) return { code: stopped === 'SIGINT' ? 130 : 143 };
    if (code !== 0 || !existsSync(reportFile(folder))) return { code: code || 1 };
    return { code, report: keepReport(folder) };
  } finally {
    await sweep(folder, { libpod, keep: options.keep });
    if (options.keep) progress.note(`kept: ${folder}`);
  }
}

function keepReport(folder: string): Report {
  const report = JSON.parse(readFileSync(reportFile(folder), 'utf8')) as Report;
  mkdirSync(resultsFolder, { recursive: true });
  const kept = `${resultsFolder}/${report.when.replaceAll(':', '-').replace(/\.\d+/, '')}.json`;
  copyFileSync(reportFile(folder), kept);
  process.stderr.write(`results: ${kept}\n`);
  return report;
}

function show(report: Report): void {
  const { machine, peers, measurements, steps } = report;
  const shown = Object.entries({ ...machine, ...peers }).map(([name, value]) => `  ${name}: ${value}\n`);
  const parts = [
    `measured on\n${shown.join('')}`,
    ...measurements.map(showMeasurement),
    ...steps.map(showSteps),
  ];
  const goals = verdicts(measurements);
  if (goals.length > 0) parts.push(`goals\n${showVerdicts(goals)}`);
  process.stdout.write(`\n${parts.join('\n')}\n`);
}

async function installPeers({ peers }: Options, progress: Progress): Promise<void> {
  const wanted = [...new Set(peers.flatMap((name) => peerKinds[name].missing()))];
  if (wanted.length === 0) return;
  progress.phase(`installing ${wanted.join(' ')} (they stay installed)`);
  await run({
    argv: ['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...wanted],
    env: { DEBIAN_FRONTEND: 'noninteractive' },
    timeoutMs: 600_000,
  });
}

function packageOf(program: string): string {
  return { unshare: 'util-linux', setpriv: 'util-linux', busybox: 'busybox-static' }[program] ?? program;
}
