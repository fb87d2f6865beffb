// The root of every podwire error: one class per layer, a stable code, a message a person can act on, the
// cause kept. Assumes nothing. Retrying is decided by `code` and class, never by comparing message texts.

/** The root class. `code` is stable and documented; `message` says what was wrong, where, and what to do. */
export class PodwireError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

export type ExecErrorCode = 'EXEC_NOT_FOUND' | 'EXEC_FAILED' | 'EXEC_TIMEOUT' | 'EXEC_ABORTED';

/** A child process that could not be started, failed, or ran out of time. Carries argv, never the environment. */
export class ExecError extends PodwireError {
  readonly argv: readonly string[];
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  constructor(
    code: ExecErrorCode,
    message: string,
    details: {
      argv: readonly string[];
      exitCode?: number | undefined;
      signal?: string | undefined;
      stdout?: string;
      stderr?: string;
      cause?: unknown;
    },
  ) {
    super(code, message, { cause: details.cause });
    this.argv = details.argv;
    this.exitCode = details.exitCode;
    this.signal = details.signal;
    this.stdout = details.stdout ?? '';
    this.stderr = details.stderr ?? '';
  }
}

/** Runs every clean-up, in the order given, whatever fails; throws one AggregateError of all that failed. */
export async function settleAll(what: string, steps: ReadonlyArray<() => unknown>): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `${what}: ${errors.map(messageOf).join('; ')}`);
}

/** Waits for all that is under way, whatever fails; throws as settleAll does. Gives the results in their order. */
export async function allSettledOrThrow<T>(what: string, promises: Iterable<T>): Promise<Awaited<T>[]> {
  const settled = await Promise.allSettled(promises);
  await settleAll(
    what,
    settled.map((result) => () => {
      if (result.status === 'rejected') throw result.reason;
    }),
  );
  return settled.map((result) => (result as PromiseFulfilledResult<Awaited<T>>).value);
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
