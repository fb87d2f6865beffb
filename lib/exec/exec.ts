// The only place that starts a process, and where failures become typed errors (ExecError).
// Assumes: argv is an array (never a shell), the environment is explicit, every child has a time limit.
// Scales with the number of processes: a start costs 1.5-2 ms of the machine, so callers batch.
import type { Command, CommandResult, Exec, RawResult } from './command.ts';
import { ExecError } from './errors.ts';
import { posixSpawner } from './posix-spawn.ts';
import { runExeca } from './run-execa.ts';
import { runPosix } from './run-posix.ts';

export { baseEnv } from './base-env.ts';
export type { Command, CommandResult, Exec } from './command.ts';

/**
 * Runs a program to its end and gives its output.
 * @throws ExecError EXEC_NOT_FOUND (no such program), EXEC_FAILED (exit code or signal), EXEC_TIMEOUT, EXEC_ABORTED
 */
export const run: Exec = async (command) => {
  const timed = { ...command, timeoutMs: command.timeoutMs ?? 30_000 };
  const spawner = posixSpawner();
  return judge(timed, spawner ? await runPosix(spawner, timed) : await runExeca(timed));
};

/** The result of a command that ended as it may, or the error that tells how it did not. Pure. */
export function judge(command: Command & { timeoutMs: number }, result: RawResult): CommandResult {
  const { argv, okCodes = [0], timeoutMs } = command;
  const { stdout, stderr, exitCode, signal, cause } = result;
  const clean = !result.timedOut && !result.aborted && !result.notFound;
  if (clean && exitCode !== undefined && okCodes.includes(exitCode)) return { stdout, stderr, exitCode };
  const shown = argv.join(' ');
  const details = { argv, exitCode, signal, stdout, stderr, cause };
  if (result.notFound) {
    const message = `${argv[0]}: program not found (podwire doctor tells how to install it)`;
    throw new ExecError('EXEC_NOT_FOUND', message, details);
  }
  if (result.timedOut) throw new ExecError('EXEC_TIMEOUT', `${shown}: no end after ${timeoutMs} ms`, details);
  if (result.aborted) throw new ExecError('EXEC_ABORTED', `${shown}: aborted`, details);
  if (exitCode === undefined && signal === undefined && cause instanceof Error)
    throw new ExecError('EXEC_FAILED', `${shown}: could not be started: ${cause.message}`, details);
  const how = signal ? `ended by ${signal}` : `exit code ${exitCode ?? 'unknown'}`;
  const said = stderr.trim() || stdout.trim();
  throw new ExecError('EXEC_FAILED', `${shown}: ${how}${said ? `: ${said}` : ''}`, details);
}
