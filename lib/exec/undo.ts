// The undo stack: every step that makes something pushes how to unmake it, and a failed start runs them all,
// newest first, whatever fails on the way. Assumes each undo may be repeated. A handful of entries a start.
import { messageOf, settleAll } from './errors.ts';

export class Undo {
  readonly #steps: Array<() => unknown> = [];

  push(step: () => unknown): void {
    this.#steps.push(step);
  }

  /** Runs all undos, newest first; rejects with what failed (several as one AggregateError). */
  async run(what: string): Promise<void> {
    await settleAll(what, this.#steps.splice(0).reverse());
  }

  /** Runs all undos because of `cause`, and rejects: with the cause, or with it and what would not be undone. */
  async fail(what: string, cause: unknown): Promise<never> {
    try {
      await this.run(what);
    } catch (undone) {
      throw undoFailed(cause, undone);
    }
    throw cause;
  }
}

/** The error of a step that failed and could not be undone: both are in it, and each is told once. */
export function undoFailed(cause: unknown, undone: unknown): AggregateError {
  const [what, why] = [messageOf(cause), messageOf(undone)];
  const message = what.includes(why) ? what : `${what} (and undoing it failed: ${why})`;
  return new AggregateError([cause, undone], message, { cause });
}
