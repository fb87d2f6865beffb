// Certificates that are replaced by themselves at two thirds of their life.
// Assumes the clock runs on. A look every hour, more often for short lives; a failure is tried again at the next look.
import type { Logger } from 'pino';
import { messageOf } from '../../lib/exec/errors.ts';
import { renewalTime, validityOf } from '../../lib/pki/certificate.ts';

export interface Renewal {
  /** For the log: `the server's certificate`. */
  readonly what: string;
  /** The certificate as it is now, PEM. */
  readonly current: () => string;
  readonly renew: () => Promise<void>;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

const longestMs = 3_600_000;

export function keepRenewed({ what, current, renew, log, signal }: Renewal): void {
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    try {
      if (Date.now() >= renewalTime(validityOf(current()))) {
        await renew();
        log.info({ until: validityOf(current()).until }, `${what} was renewed`);
      }
    } catch (error) {
      log.warn({ err: error }, `${what} could not be renewed: ${messageOf(error)}`);
    }
    plan();
  };
  const plan = (): void => {
    if (signal.aborted) return;
    const validity = validityOf(current());
    const life = validity.until.getTime() - validity.from.getTime();
    const wait = Math.max(renewalTime(validity) - Date.now(), Math.min(life / 30, longestMs));
    timer = setTimeout(() => void look(), Math.min(wait, longestMs)).unref();
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  void look();
}
