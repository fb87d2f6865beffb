// What a person sees when a command fails: kubectl's wording and exit codes, from any error thrown below.
// Assumes ApiError for what the server refused, and a `code` on socket errors. Pure.
import { ApiError } from '../../lib/api/errors.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';

/** A mistake in the command line or in a file; printed as `error: …`. */
export class UsageError extends PodwireError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('USAGE', message, options);
  }
}

/** Ends the command with this code; what was to be said has been said. */
export class ExitWith extends PodwireError {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super('EXIT', `exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}

const socketErrors = ['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EACCES'];

/** The socket's errno when `error` says that nobody answers on it. */
export function socketErrno(error: unknown): string | undefined {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code, syscall } = at as NodeJS.ErrnoException;
    if (code && socketErrors.includes(code) && (syscall === 'connect' || code === 'ECONNRESET')) return code;
  }
  return undefined;
}

/** What is told about `error`, one or more lines without the final newline. */
export function describeError(error: unknown, place: { socket: string; about?: string }): string {
  const errno = socketErrno(error);
  if (errno === 'EACCES') return `error: ${place.socket}: permission denied: only root may talk to podwired`;
  if (errno === 'ECONNRESET')
    return `error: podwired closed the connection on ${place.socket}: did it end? (podwire up)`;
  if (errno) return `podwired is not running on ${place.socket}: start it with "podwire up"`;
  if (error instanceof ApiError) return describeApiError(error, place.about);
  return `error: ${place.about ? `${place.about}: ` : ''}${messageOf(error)}`;
}

function describeApiError(error: ApiError, about?: string): string {
  const { details, reason } = error.status;
  const causes = details?.causes ?? [];
  if (reason === 'Invalid' && details?.kind) {
    const head = `The ${details.kind} "${details.name ?? ''}" is invalid${about ? ` (${about})` : ''}`;
    const texts = causes.map((cause) => (cause.field ? `${cause.field}: ${cause.message}` : cause.message));
    if (texts.length === 0) return `${head}: ${error.message}`;
    return texts.length === 1
      ? `${head}: ${texts[0]}`
      : `${head}: ${texts.map((text) => `\n* ${text}`).join('')}`;
  }
  return `Error from server (${reason}): ${about ? `${about}: ` : ''}${error.message}`;
}
