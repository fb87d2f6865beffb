// `run` by execa: works on every Node, and is what run-posix.ts falls back to.
import { execa, type Result, type ResultPromise } from 'execa';
import { baseEnv } from './base-env.ts';
import { killGroups } from './kill-groups.ts';
import type { RawResult, TimedCommand } from './command.ts';

export async function runExeca(command: TimedCommand): Promise<RawResult> {
  const { argv, input, env, cwd, timeoutMs, signal, pidFile } = command;
  const [file, ...args] = argv;
  const limits = {
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    timeout: timeoutMs,
    killSignal: 'SIGKILL' as const,
  };
  const running = execa(file, args, {
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(pidFile === undefined ? limits : { detached: true }),
    env: { ...baseEnv(), ...env },
    extendEnv: false,
    reject: false,
    stripFinalNewline: false,
    maxBuffer: 64 * 1024 * 1024,
    cleanup: false,
  });
  if (pidFile === undefined) return rawResult(await running, {});
  return withGroups(running, { ...command, pidFile });
}

/** The time limit and the signal end whole process groups. */
async function withGroups(
  running: ResultPromise,
  { timeoutMs, signal, pidFile }: TimedCommand & { readonly pidFile: string },
): Promise<RawResult> {
  const how = { timedOut: false, aborted: false };
  let ended = false;
  const end = (why: keyof typeof how) => (): void => {
    how[why] = true;
    if (running.pid !== undefined) void killGroups(running.pid, pidFile, () => ended);
  };
  const onAbort = end('aborted');
  const timer = setTimeout(end('timedOut'), timeoutMs);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const result = await running;
  ended = true;
  clearTimeout(timer);
  signal?.removeEventListener('abort', onAbort);
  return rawResult(result, how);
}

function rawResult(result: Result, how: { timedOut?: boolean; aborted?: boolean }): RawResult {
  return {
    stdout: String(result.stdout ?? ''),
    stderr: String(result.stderr ?? ''),
    exitCode: result.exitCode,
    signal: result.signal,
    notFound: result.code === 'ENOENT',
    timedOut: how.timedOut ?? result.timedOut,
    aborted: how.aborted ?? result.isCanceled,
    cause: result.cause,
  };
}
