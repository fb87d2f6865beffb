// Starts a program that turns itself into a daemon and then reports one line on file descriptor 3 (conmon does).
// Assumes it closes or keeps nothing of ours: its output goes to a file, for a pipe would be held open for ever.
// One process start and one socket pair for each; both are closed when the line is there.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { ExecError } from './errors.ts';
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
export const startReportingDaemon: StartReportingDaemon = (daemon) => {
  const spawner = posixSpawner();
  return spawner ? startByPosixSpawn(spawner, daemon) : startByNode(daemon);
};

async function startByPosixSpawn(spawner: PosixSpawner, daemon: ReportingDaemon): Promise<string> {
  const { argv, timeoutMs = 60_000 } = daemon;
  const file = findProgram(argv[0]);
  if (!file)
    throw failed(daemon, 'EXEC_NOT_FOUND', 'program not found (podwire doctor tells how to install it)');
  const output = openSync(daemon.outputFile, 'w', 0o600);
  const report = spawner.pipe();
  const env = { ...baseEnv(), ...daemon.env };
  const pid = spawner.start({ file, argv, env, cwd: daemon.cwd, fds: ['null', output, output, report.write] });
  closeSync(output);
  closeSync(report.write);
  const pipe = new Socket({ fd: report.read, readable: true, writable: false });
  if (pid < 0) {
    pipe.destroy();
    throw failed(daemon, 'EXEC_FAILED', `could not be started: errno ${-pid}`);
  }
  const line = await firstLine(pipe, timeoutMs);
  pipe.destroy();
  if (line === 'timeout') process.kill(pid, 'SIGKILL');
  const { exitCode } = await spawner.wait(pid);
  if (line === 'timeout') throw failed(daemon, 'EXEC_TIMEOUT', `said nothing for ${timeoutMs} ms`);
  if (line === 'closed')
    throw failed(
      daemon,
      'EXEC_FAILED',
      `ended and reported nothing (exit code ${exitCode ?? 'unknown'})`,
      exitCode,
    );
  return line.text;
}

function firstLine(pipe: Socket, timeoutMs: number): Promise<{ text: string } | 'closed' | 'timeout'> {
  return new Promise((resolve) => {
    let text = '';
    const timer = setTimeout(() => resolve('timeout'), timeoutMs);
    const done = (result: { text: string } | 'closed'): void => {
      clearTimeout(timer);
      resolve(result);
    };
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const end = text.indexOf('\n');
      if (end >= 0) done({ text: text.slice(0, end) });
    });
    pipe.on('error', () => {}); // 'close' follows
    pipe.on('close', () => done('closed'));
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

const startByNode: StartReportingDaemon = (daemon) => {
  const { argv, timeoutMs = 60_000 } = daemon;
  const [file, ...args] = argv;
  return new Promise((resolve, reject) => {
    const output = openSync(daemon.outputFile, 'w', 0o600);
    const child = spawn(file, args, {
      stdio: ['ignore', output, output, 'pipe'],
      env: { ...baseEnv(), ...daemon.env },
      cwd: daemon.cwd,
    });
    closeSync(output);
    const report = child.stdio[3] as Readable;
    let text = '';
    let exited: number | undefined;
    let closed = false;
    let over = false;

    const finish = (act: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      report.destroy();
      act();
    };
    const fail = (code: Parameters<typeof failed>[1], said: string): void =>
      finish(() => reject(failed(daemon, code, said, exited)));
    const look = (): void => {
      if (exited === undefined) return;
      const end = text.indexOf('\n');
      if (end >= 0) finish(() => resolve(text.slice(0, end)));
      else if (closed) fail('EXEC_FAILED', `ended and reported nothing (exit code ${exited})`);
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail('EXEC_TIMEOUT', `said nothing for ${timeoutMs} ms`);
    }, timeoutMs);

    report.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      look();
    });
    report.on('error', () => {}); // 'close' follows
    report.on('close', () => {
      closed = true;
      look();
    });
    child.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT')
        return fail('EXEC_NOT_FOUND', 'program not found (podwire doctor tells how to install it)');
      fail('EXEC_FAILED', cause.message);
    });
    child.on('exit', (code) => {
      exited = code ?? -1;
      look();
    });
  });
};
