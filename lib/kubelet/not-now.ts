// A step that could not be done now, and when to try again. Retrying follows from the type.
import { PodwireError } from '../exec/errors.ts';

/** The sync ends, and is tried again after `retryMs`. Why was told as an event or as the container's waiting reason. */
export class NotNow extends PodwireError {
  readonly retryMs: number;
  constructor(message: string, retryMs: number) {
    super('NOT_NOW', message);
    this.retryMs = retryMs;
  }
}

/** The smaller of two waits in milliseconds; undefined is no wait at all. */
export const earliest = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b);
