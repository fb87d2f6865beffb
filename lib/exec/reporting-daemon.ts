// Starts a program that turns itself into a daemon and then reports one line on file descriptor 3 (conmon does).
// Assumes it closes or keeps nothing of ours: its output goes to a file, for a pipe would be held open for ever.
// One process start and one socket pair for each; both are closed when the line is there.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { ExecError } from './errors.ts';
import { baseEnv } from './exec.ts';

export interface ReportingDaemon {
  readonly argv: readonly [string, ...string[]];
  /** Added to the base environment; the program must be told itself to report on descriptor 3. */
  readonly env?: Readonly<Record<string, string>>;
  /** What it writes before it is a daemon. */
  readonly outputFile: string;
  readonly timeoutMs?: number;
}

export type StartReportingDaemon = (daemon: ReportingDaemon) => Promise<string>;

/**
 * Resolves with the line when it is there and the program's first process has ended (its daemon lives on).
 * @throws ExecError EXEC_NOT_FOUND, EXEC_FAILED (it ended and said nothing on 3), EXEC_TIMEOUT
 */
export const startReportingDaemon: StartReportingDaemon = (daemon) => {
  const { argv, timeoutMs = 60_000 } = daemon;
  const [file, ...args] = argv;
  return new Promise((resolve, reject) => {
    const output = openSync(daemon.outputFile, 'w', 0o600);
    const child = spawn(file, args, {
      stdio: ['ignore', output, output, 'pipe'],
      env: { ...baseEnv(), ...daemon.env },
    });
    closeSync(output);
    const report = child.stdio[3] as Readable;
    let text = '';
    let exited: number | undefined;
    let over = false;

    const finish = (act: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      report.destroy();
      act();
    };
    const fail = (
      code: 'EXEC_NOT_FOUND' | 'EXEC_FAILED' | 'EXEC_TIMEOUT',
      said: string,
      cause?: unknown,
    ): void =>
      finish(() => {
        const stderr = readFileSync(daemon.outputFile, 'utf8');
        const message = `${file}: ${said}${stderr ? `: ${stderr.trim()}` : ''}`;
        reject(new ExecError(code, message, { argv, exitCode: exited, stderr, cause }));
      });
    const look = (): void => {
      const end = text.indexOf('\n');
      if (end >= 0 && exited !== undefined) finish(() => resolve(text.slice(0, end)));
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
      if (!text.includes('\n'))
        fail('EXEC_FAILED', `ended and reported nothing (exit code ${exited ?? 'unknown'})`);
    });
    child.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT')
        return fail('EXEC_NOT_FOUND', 'program not found (podwire doctor tells how to install it)', cause);
      fail('EXEC_FAILED', cause.message, cause);
    });
    child.on('exit', (code) => {
      exited = code ?? -1;
      look();
    });
  });
};
