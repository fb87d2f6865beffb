// What a process start takes and gives. Types only.

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
  /**
   * Where the program writes the pid of another one that it starts elsewhere and waits for. It then gets a process group
   * of its own, and the time limit and the signal end that group and the other one's, not the program alone.
   */
  readonly pidFile?: string;
  /** How much of each stream is kept, 64 MiB unless told; what is beyond is thrown away (by execa only at that limit). */
  readonly outputBytes?: number;
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

/** How a child ended, whichever way it was started. */
export interface RawResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly notFound: boolean;
  readonly timedOut: boolean;
  readonly aborted: boolean;
  readonly cause?: unknown;
}

export type TimedCommand = Command & { readonly timeoutMs: number };
