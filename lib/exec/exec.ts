// The only place that starts a process, and where failures become typed errors (ExecError).
// Assumes: argv is an array (never a shell), the environment is explicit, every child has a time limit.
// Scales with the number of processes: a start costs 1.5-2 ms of the machine, so callers batch.
import { execa } from 'execa';
import { ExecError } from './errors.ts';

export interface Command {
  /** Program and arguments; the program is looked up in PATH when it has no slash. */
  readonly argv: readonly [string, ...string[]];
  /** Text for standard input; without it standard input is /dev/null. */
  readonly input?: string;
  /** Added to the base environment (PATH and LC_ALL=C, nothing else). */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Milliseconds; 30 000 unless told. The child gets SIGKILL when it is over. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Exit codes that are not errors; [0] unless told. */
  readonly okCodes?: readonly number[];
}

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** What code that needs processes takes as a parameter, so that a unit test may hand in a recording fake. */
export type Exec = (command: Command) => Promise<CommandResult>;

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** PATH of this process with the system's sbin folders added, and the C locale: error texts stay comparable. */
export function baseEnv(): Record<string, string> {
  return { PATH: process.env.PATH ? `${process.env.PATH}:${defaultPath}` : defaultPath, LC_ALL: 'C' };
}

/**
 * Runs a program to its end and gives its output.
 * @throws ExecError EXEC_NOT_FOUND (no such program), EXEC_FAILED (exit code or signal), EXEC_TIMEOUT, EXEC_ABORTED
 */
export const run: Exec = async (command) => {
  const { argv, input, env, cwd, timeoutMs = 30_000, signal, okCodes = [0] } = command;
  const [file, ...args] = argv;
  const result = await execa(file, args, {
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    env: { ...baseEnv(), ...env },
    extendEnv: false,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    reject: false,
    stripFinalNewline: false,
    maxBuffer: 64 * 1024 * 1024,
    cleanup: false,
  });
  const { stdout, stderr, exitCode } = result;
  if (exitCode !== undefined && okCodes.includes(exitCode)) return { stdout, stderr, exitCode };
  const shown = argv.join(' ');
  const details = {
    argv,
    exitCode,
    signal: result.signal,
    stdout: stdout ?? '',
    stderr: stderr ?? '',
    cause: result.cause,
  };
  if (result.code === 'ENOENT')
    throw new ExecError(
      'EXEC_NOT_FOUND',
      `${file}: program not found (podwire doctor tells how to install it)`,
      details,
    );
  if (result.timedOut) throw new ExecError('EXEC_TIMEOUT', `${shown}: no end after ${timeoutMs} ms`, details);
  if (result.isCanceled) throw new ExecError('EXEC_ABORTED', `${shown}: aborted`, details);
  const how = result.signal
    ? `ended by ${result.signal}`
    : `exit code ${exitCode ?? result.code ?? 'unknown'}`;
  const said = (stderr ?? '').trim() || (stdout ?? '').trim();
  throw new ExecError('EXEC_FAILED', `${shown}: ${how}${said ? `: ${said}` : ''}`, details);
};
