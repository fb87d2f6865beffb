// The Exec of short-lived programs (CNI plugins): blocks while the child runs, and costs nothing to load.
// Assumes the program has nothing else to do meanwhile. Why: execa takes 6 ms to load where a whole plugin run
// takes 7; `process.getBuiltinModule` and Bun.spawnSync take none. Works in Node and in bun.
import { ExecError } from './errors.ts';
import type { Command, CommandResult, Exec } from './exec.ts';

/** What a blocking start gives, the same for Node's and bun's way. */
interface Ended {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** The program could not be started at all. */
  readonly cause?: NodeJS.ErrnoException;
  readonly timedOut?: boolean;
}

interface BunLike {
  spawnSync(options: object): {
    exitCode: number | null;
    signalCode?: string | null;
    stdout: Buffer;
    stderr: Buffer;
    exitedDueToTimeout?: boolean;
  };
  spawn(options: object): {
    readonly exitCode: number | null;
    readonly signalCode: string | null;
    readonly stderr: ReadableStream;
    unref(): void;
    kill(signal: string): void;
  };
}

const bun = (globalThis as { Bun?: BunLike }).Bun;
const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** PATH with the system's sbin folders added, and the C locale. */
const environment = (extra: Command['env']): Record<string, string> => ({
  PATH: process.env.PATH ? `${process.env.PATH}:${systemPath}` : systemPath,
  LC_ALL: 'C',
  ...extra,
});

/**
 * Runs a program to its end while this thread waits.
 * @throws ExecError EXEC_NOT_FOUND, EXEC_FAILED, EXEC_TIMEOUT; EXEC_ABORTED when the signal was aborted before
 */
export const runSync: Exec = async (command) => {
  const { argv, timeoutMs = 30_000, okCodes = [0] } = command;
  if (command.signal?.aborted) throw new ExecError('EXEC_ABORTED', `${argv.join(' ')}: aborted`, { argv });
  const ended = bun ? withBun(bun, command, timeoutMs) : withNode(command, timeoutMs);
  const { stdout, stderr, exitCode } = ended;
  if (exitCode !== undefined && okCodes.includes(exitCode)) return { stdout, stderr, exitCode };
  throw failure(argv, ended, timeoutMs);
};

function withBun(runtime: BunLike, command: Command, timeout: number): Ended {
  const { argv, input, env, cwd } = command;
  try {
    const child = runtime.spawnSync({
      cmd: argv,
      stdin: input === undefined ? 'ignore' : Buffer.from(input),
      stdout: 'pipe',
      stderr: 'pipe',
      env: environment(env),
      timeout,
      killSignal: 'SIGKILL',
      ...(cwd === undefined ? {} : { cwd }),
    });
    return {
      exitCode: child.exitCode ?? undefined,
      signal: child.signalCode ?? undefined,
      stdout: child.stdout.toString(),
      stderr: child.stderr.toString(),
      timedOut: child.exitedDueToTimeout ?? false,
    };
  } catch (error) {
    return {
      exitCode: undefined,
      signal: undefined,
      stdout: '',
      stderr: '',
      cause: error as NodeJS.ErrnoException,
    };
  }
}

function withNode(command: Command, timeout: number): Ended {
  const [file, ...args] = command.argv;
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const child = spawnSync(file, args, {
    ...(command.input === undefined ? {} : { input: command.input }),
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    stdio: [command.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: environment(command.env),
    timeout,
    killSignal: 'SIGKILL',
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const cause = child.error as NodeJS.ErrnoException | undefined;
  return {
    exitCode: child.status ?? undefined,
    signal: child.signal ?? undefined,
    stdout: child.stdout ?? '',
    stderr: child.stderr ?? '',
    timedOut: cause?.code === 'ETIMEDOUT',
    ...(cause && child.status === null ? { cause } : {}),
  };
}

function failure(argv: Command['argv'], ended: Ended, timeoutMs: number): ExecError {
  const { exitCode, signal, stdout, stderr, cause } = ended;
  const shown = argv.join(' ');
  const details = { argv, exitCode, signal, stdout, stderr, cause };
  if (cause?.code === 'ENOENT')
    return new ExecError(
      'EXEC_NOT_FOUND',
      `${argv[0]}: program not found (podwire doctor tells how to install it)`,
      details,
    );
  if (ended.timedOut) return new ExecError('EXEC_TIMEOUT', `${shown}: no end after ${timeoutMs} ms`, details);
  const how = signal ? `ended by ${signal}` : `exit code ${exitCode ?? cause?.code ?? 'unknown'}`;
  const said = stderr.trim() || stdout.trim();
  return new ExecError('EXEC_FAILED', `${shown}: ${how}${said ? `: ${said}` : ''}`, details);
}

/** Runs a program that gets our file descriptor `fd` as its descriptor 3; gives its exit code, -1 without one. */
export function runOnFd(argv: readonly [string, ...string[]], fd: number): number {
  const [file, ...args] = argv;
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const child = spawnSync(file, args, {
    stdio: ['ignore', 'ignore', 'ignore', fd],
    env: environment({}),
    timeout: 30_000,
  });
  return child.status ?? -1;
}

/** What `runUntil` gives: the child's own end, or 'seen' when the effect was there before it ended. */
export type UntilResult = CommandResult | 'seen';
export type ExecUntil = (command: Command, effectSeen: () => boolean) => Promise<UntilResult>;

/**
 * Starts a program and returns as soon as its effect is there; the child ends on its own, and init reaps it when
 * this process is gone by then. For commands whose effect stands long before they return: deleting a veth takes
 * effect in 2 ms, and then waits 15 ms for the kernel's grace periods.
 * @throws ExecError as runSync, when the child ended badly before the effect was seen
 */
export const runUntil: ExecUntil = async (command, effectSeen) => {
  const { argv, timeoutMs = 30_000, okCodes = [0] } = command;
  const child = bun ? startWithBun(bun, command) : startWithNode(command);
  const started = performance.now();
  while (!child.ended()) {
    if (effectSeen()) {
      child.leave();
      return 'seen';
    }
    const passed = performance.now() - started;
    if (passed > timeoutMs) {
      child.kill();
      throw failure(
        argv,
        { exitCode: undefined, signal: undefined, stdout: '', stderr: '', timedOut: true },
        timeoutMs,
      );
    }
    // Most effects show within 3 ms: worth looking often; after that, a timer, and ever longer: fifty that looked each
    // millisecond took the processor from the fifty programs they waited for.
    await new Promise<void>((resolve) =>
      passed < 4 ? setImmediate(resolve) : setTimeout(resolve, Math.min(passed / 8, 50)),
    );
  }
  const ended = await child.result();
  const { exitCode, stdout, stderr } = ended;
  if (exitCode !== undefined && okCodes.includes(exitCode)) return { stdout, stderr, exitCode };
  throw failure(argv, ended, timeoutMs);
};

/** A child under way. */
interface Started {
  ended(): boolean;
  /** Once it has ended. */
  result(): Promise<Ended>;
  /** Does not keep this process waiting for it any more. */
  leave(): void;
  kill(): void;
}

function startWithBun(runtime: BunLike, command: Command): Started {
  let child: ReturnType<BunLike['spawn']>;
  try {
    child = runtime.spawn({
      cmd: command.argv,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: environment(command.env),
    });
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    const result = async () => ({ exitCode: undefined, signal: undefined, stdout: '', stderr: '', cause });
    return { ended: () => true, result, leave: () => {}, kill: () => {} };
  }
  const result = async (): Promise<Ended> => ({
    exitCode: child.exitCode ?? undefined,
    signal: child.signalCode ?? undefined,
    stdout: '',
    stderr: await new Response(child.stderr).text(),
  });
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return { ended, result, leave: () => child.unref(), kill: () => child.kill('SIGKILL') };
}

function startWithNode(command: Command): Started {
  const [file, ...args] = command.argv;
  const { spawn } = process.getBuiltinModule('node:child_process');
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], env: environment(command.env) });
  let end: Ended | undefined;
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const none = { exitCode: undefined, signal: undefined, stdout: '' };
  child.on('error', (cause) => {
    end ??= { ...none, stderr, cause };
  });
  child.on('close', (code, signal) => {
    end ??= { ...none, stderr, exitCode: code ?? undefined, signal: signal ?? undefined };
  });
  const leave = (): void => {
    child.stderr.destroy();
    child.unref();
  };
  return {
    ended: () => end !== undefined,
    result: async () => end as Ended,
    leave,
    kill: () => child.kill('SIGKILL'),
  };
}
