// Starts a program that outlives this process: own session, output appended to a file, adopted by init when we exit.
// Assumes the log's folder exists. One process; unlike start-stop-daemon it can tell at once that the child has died.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { ExecError } from './errors.ts';

export interface DetachedProcess {
  readonly pid: number;
  /** Resolves when it ends while we still live: the exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  /** No longer keeps this process from exiting. */
  release(): void;
}

/** @throws ExecError EXEC_NOT_FOUND, EXEC_FAILED; or the log file's error */
export async function startDetached(command: {
  readonly argv: readonly [string, ...string[]];
  readonly logFile: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
}): Promise<DetachedProcess> {
  const [file, ...args] = command.argv;
  const log = openSync(command.logFile, 'a', 0o600);
  try {
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: command.cwd ?? '/',
      env: command.env ?? process.env,
    });
    const ended = new Promise<number | string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? code ?? 1));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return { pid: child.pid!, ended, release: () => child.unref() };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const code = missing ? 'EXEC_NOT_FOUND' : 'EXEC_FAILED';
    throw new ExecError(code, `${file}: could not be started: ${(error as Error).message}`, {
      argv: command.argv,
      cause: error,
    });
  } finally {
    closeSync(log);
  }
}
