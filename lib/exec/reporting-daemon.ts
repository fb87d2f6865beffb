// Starts a program that turns itself into a daemon and then reports one line on file descriptor 3 (conmon does).
// Assumes it closes or keeps nothing of ours: its output goes to a file, for a pipe would be held open for ever.
// One process start and one socket pair for each; both are closed when the line is there.
import { spawn as nodeSpawn, type StdioOptions } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExecError, messageOf } from './errors.ts';
import { baseEnv } from './base-env.ts';
import { findProgram } from './find-program.ts';
import { type PosixSpawner, posixSpawner } from './posix-spawn.ts';

export interface ReportingDaemon {
  readonly argv: readonly [string, ...string[]];
  /** Added to the base environment; the program must be told itself to report on descriptor 3. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it writes before it is a daemon. */
  readonly outputFile: string;
  /** Its working folder: what it may drop files into. */
  readonly cwd: string;
  readonly timeoutMs?: number;
}

export type StartReportingDaemon = (daemon: ReportingDaemon) => Promise<string>;

/**
 * Resolves with the line when it is there and the program's first process has ended (its daemon lives on).
 * @throws ExecError EXEC_NOT_FOUND, EXEC_FAILED (it ended and said nothing on 3), EXEC_TIMEOUT
 */
export const startReportingDaemon: StartReportingDaemon = (daemon) =>
  startReportingDaemonBy(posixSpawner(), daemon);

/** By Node itself where there is no spawner. */
export async function startReportingDaemonBy(
  spawner: PosixSpawner | undefined,
  daemon: ReportingDaemon,
): Promise<string> {
  const { timeoutMs = 60_000 } = daemon;
  const { report, wait, kill } = spawner ? spawn(spawner, daemon) : await spawnByNode(daemon);
  const limit = new AbortController();
  const over = sleep(timeoutMs, undefined, { signal: limit.signal }).catch(() => {});
  const told = firstLine(report).then(async (line) => ({ line, exitCode: await wait() }));
  try {
    const result = await Promise.race([told, over]);
    if (!result) {
      kill(); // it is not reaped yet, so the pid is still its own; `told` goes on and reaps it
      throw failed(daemon, 'EXEC_TIMEOUT', `no report and no end after ${timeoutMs} ms`);
    }
    const { line, exitCode } = result;
    if (line !== undefined) return line;
    const said = `ended and reported nothing (exit code ${exitCode ?? 'unknown'})`;
    throw failed(daemon, 'EXEC_FAILED', said, exitCode);
  } finally {
    limit.abort();
    report.destroy();
  }
}

interface Spawned {
  /** Our end of its descriptor 3. */
  readonly report: Readable;
  /** Resolves with its exit code when it has ended and is reaped. */
  wait(): Promise<number | undefined>;
  kill(): void;
}

function spawn(spawner: PosixSpawner, daemon: ReportingDaemon): Spawned {
  const { argv, cwd } = daemon;
  const file = findProgram(argv[0]);
  if (!file) throw failed(daemon, 'EXEC_NOT_FOUND', notFound);
  const output = openSync(daemon.outputFile, 'w', 0o600);
  const open = [output];
  let reader: Socket | undefined;
  try {
    const report = spawner.pipe();
    open.push(report.write);
    reader = new Socket({ fd: report.read, readable: true, writable: false });
    const fds = ['null', output, output, report.write] as const;
    const pid = spawner.start({ file, argv, env: { ...baseEnv(), ...daemon.env }, cwd, fds });
    if (pid > 0)
      return {
        report: reader,
        wait: async () => (await spawner.wait(pid)).exitCode,
        kill: () => process.kill(pid, 'SIGKILL'),
      };
    throw new Error(`errno ${-pid}`);
  } catch (error) {
    reader?.destroy();
    throw failed(daemon, 'EXEC_FAILED', `could not be started: ${messageOf(error)}`);
  } finally {
    for (const fd of open) closeSync(fd);
  }
}

async function spawnByNode(daemon: ReportingDaemon): Promise<Spawned> {
  const { argv, cwd, env } = daemon;
  const [file, ...args] = argv;
  const output = openSync(daemon.outputFile, 'w', 0o600);
  try {
    const stdio: StdioOptions = ['ignore', output, output, 'pipe'];
    const child = nodeSpawn(file, args, { stdio, env: { ...baseEnv(), ...env }, cwd });
    const ended = new Promise<number | undefined>((resolve) => {
      child.once('exit', (code) => resolve(code ?? undefined));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    const kill = (): void => void child.kill('SIGKILL');
    return { report: child.stdio[3] as Readable, wait: () => ended, kill };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw failed(daemon, 'EXEC_NOT_FOUND', notFound);
    throw failed(daemon, 'EXEC_FAILED', `could not be started: ${messageOf(error)}`);
  } finally {
    closeSync(output);
  }
}

const notFound = 'program not found (podwire doctor tells how to install it)';

/** Undefined when the pipe was closed before there was one. */
function firstLine(pipe: Readable): Promise<string | undefined> {
  return new Promise((resolve) => {
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const end = text.indexOf('\n');
      if (end >= 0) resolve(text.slice(0, end));
    });
    pipe.on('error', () => {}); // 'close' follows
    pipe.on('close', () => resolve(undefined));
  });
}

function failed(
  daemon: ReportingDaemon,
  code: 'EXEC_NOT_FOUND' | 'EXEC_FAILED' | 'EXEC_TIMEOUT',
  said: string,
  exitCode?: number,
): ExecError {
  const stderr = existsSync(daemon.outputFile) ? readFileSync(daemon.outputFile, 'utf8') : '';
  const message = `${daemon.argv[0]}: ${said}${stderr ? `: ${stderr.trim()}` : ''}`;
  return new ExecError(code, message, { argv: daemon.argv, exitCode, stderr });
}
