// A program that somebody talks to while it runs: bytes in and out, a terminal where wanted, an exit code at the end.
// Assumes the caller bounds its life: a session has no time limit, kill() ends the program with its process group.
// One pipe or one pseudo-terminal a session; node-pty is loaded by the first session that wants a terminal.
import { constants } from 'node:os';
import type { Writable } from 'node:stream';
import { execa } from 'execa';
import { ExecError } from './errors.ts';
import { baseEnv } from './base-env.ts';
import { killGroups } from './kill-groups.ts';

/** A running exec: bytes in and out, the exit code at the end. Closing kills the process group. */
export interface ExecSession {
  onStdout(listener: (chunk: Buffer) => void): void;
  /** Never called with a terminal. */
  onStderr(listener: (chunk: Buffer) => void): void;
  /** Stops what comes, for a reader that is behind; the program waits when its pipe is full. */
  pauseOutput(): void;
  resumeOutput(): void;
  /** Resolves when the program may be given more: who does not wait for it keeps it all in memory. */
  writeStdin(chunk: Buffer): Promise<void>;
  closeStdin(): void;
  /** Columns and rows; ignored without a terminal. */
  resize(columns: number, rows: number): void;
  kill(): void;
  /** Exit code, 128 + number when a signal ended it. All output has been handed out before. */
  readonly exit: Promise<number>;
}

export interface SessionRequest {
  readonly argv: readonly [string, ...string[]];
  readonly tty: boolean;
  /** False: standard input is at its end from the beginning. */
  readonly stdin: boolean;
  /** Added to the base environment (PATH and LC_ALL=C, nothing else). */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where the program writes the pid of another one that it starts elsewhere; kill() ends that one's group too. */
  readonly pidFile?: string;
}

/** Starts it. @throws ExecError EXEC_NOT_FOUND */
export function openSession(request: SessionRequest): Promise<ExecSession> {
  return request.tty ? openTerminal(request) : openPipes(request);
}

async function openPipes(request: SessionRequest): Promise<ExecSession> {
  const [file, ...args] = request.argv;
  const child = execa(file, args, {
    stdin: request.stdin ? 'pipe' : 'ignore',
    env: { ...baseEnv(), ...request.env },
    extendEnv: false,
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    buffer: false,
    reject: false,
    cleanup: false,
    detached: true, // a process group of its own, so that kill() reaches all of it
  });
  const { pid } = child;
  if (pid === undefined) throw notFound(request.argv, (await child).cause);
  // A write to a program that has ended is no failure of ours: its exit code says what there is to say.
  child.stdin?.on('error', () => {});
  const stdout = new Relay();
  const stderr = new Relay();
  let ended = false;
  const exit = child.then((result) => {
    ended = true;
    return result.exitCode ?? codeOfSignal(result.signal);
  });
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  return {
    onStdout: (listener) => stdout.add(listener),
    onStderr: (listener) => stderr.add(listener),
    pauseOutput: () => {
      for (const pipe of [child.stdout, child.stderr]) pipe.pause();
    },
    resumeOutput: () => {
      for (const pipe of [child.stdout, child.stderr]) pipe.resume();
    },
    writeStdin: (chunk) => writeTo(child.stdin, chunk),
    closeStdin: () => void child.stdin?.end(),
    resize: () => {},
    kill: () => {
      void killGroups(pid, request.pidFile, () => ended);
    },
    exit,
  };
}

async function openTerminal(request: SessionRequest): Promise<ExecSession> {
  const { spawn } = await import('@lydell/node-pty');
  const [file, ...args] = request.argv;
  const terminal = spawn(file, args, {
    name: 'xterm',
    cols: 80,
    rows: 24,
    encoding: null,
    env: { ...baseEnv(), TERM: 'xterm', ...request.env },
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
  });
  const stdout = new Relay();
  terminal.onData((data: string | Buffer) => stdout.push(Buffer.from(data as string)));
  let ended = false;
  const exit = new Promise<number>((resolve) => {
    terminal.onExit(({ exitCode, signal }) => {
      ended = true;
      resolve(signal ? 128 + signal : exitCode);
    });
  });
  const write = (data: Buffer | string): void => {
    if (!ended) terminal.write(data as string);
  };
  return {
    onStdout: (listener) => stdout.add(listener),
    onStderr: () => {},
    pauseOutput: () => terminal.pause(),
    resumeOutput: () => terminal.resume(),
    writeStdin: async (chunk) => write(chunk),
    closeStdin: () => write('\x04'), // a terminal has no end of file but the character that means it
    resize: (columns, rows) => {
      if (!ended && columns > 0 && rows > 0) terminal.resize(columns, rows);
    },
    kill: () => {
      void killGroups(terminal.pid, request.pidFile, () => ended);
    },
    exit,
  };
}

/** Resolves when there is room for more, or nobody to take it. */
async function writeTo(pipe: Writable | null | undefined, chunk: Buffer): Promise<void> {
  if (!pipe || pipe.destroyed || pipe.write(chunk)) return;
  await new Promise<void>((resolve) => {
    for (const event of ['drain', 'close', 'error']) pipe.once(event, resolve);
  });
}

/** Hands chunks on; keeps what comes before the first listener, so that no output is lost on the way to it. */
export class Relay {
  readonly #listeners: Array<(chunk: Buffer) => void> = [];
  #early: Buffer[] = [];

  push(chunk: Buffer): void {
    if (this.#listeners.length === 0) this.#early.push(chunk);
    for (const listener of this.#listeners) listener(chunk);
  }

  add(listener: (chunk: Buffer) => void): void {
    this.#listeners.push(listener);
    for (const chunk of this.#early.splice(0)) listener(chunk);
  }
}

const codeOfSignal = (signal: string | undefined): number =>
  128 + (constants.signals[(signal ?? 'SIGKILL') as NodeJS.Signals] ?? 0);

const notFound = (argv: readonly string[], cause: unknown): ExecError =>
  new ExecError('EXEC_NOT_FOUND', `${argv[0]}: program not found (podwire doctor tells how to install it)`, {
    argv,
    cause,
  });
