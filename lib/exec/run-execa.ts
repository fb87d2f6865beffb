// `run` by execa: works on every Node, and is what run-posix.ts falls back to.
import { execa } from 'execa';
import { baseEnv } from './base-env.ts';
import type { RawResult, TimedCommand } from './command.ts';

export async function runExeca(command: TimedCommand): Promise<RawResult> {
  const { argv, input, env, cwd, timeoutMs, signal } = command;
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
  return {
    stdout: result.stdout ?? '',
    stderr: result.stderr ?? '',
    exitCode: result.exitCode,
    signal: result.signal,
    notFound: result.code === 'ENOENT',
    timedOut: result.timedOut,
    aborted: result.isCanceled,
    cause: result.cause,
  };
}
