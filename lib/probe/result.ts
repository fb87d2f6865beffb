// What asking a container over the network has shown, and failures of the network in the words that Kubernetes' users know.
// Assumes Node's error codes. Pure.
import { PodwireError } from '../exec/errors.ts';

export interface ProbeResult {
  readonly outcome: 'success' | 'warning' | 'failure';
  /** For a person; of a failure: why. */
  readonly output: string;
}

export const failure = (output: string): ProbeResult => ({ outcome: 'failure', output });

/** There was no answer in time. */
export class ProbeTimeout extends PodwireError {
  constructor(message: string) {
    super('PROBE_TIMEOUT', message);
  }
}

const dialErrors: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  EACCES: 'connect: permission denied',
  EPERM: 'connect: operation not permitted',
  ETIMEDOUT: 'connect: connection timed out',
};

/** `dial tcp 10.1.2.3:80: connect: connection refused`, as Go's net package says it. */
export function networkError(error: unknown, address: string): string {
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  const dial = dialErrors[code];
  if (dial) return `dial tcp ${address}: ${dial}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `dial tcp: lookup ${address.replace(/:\d+$/, '')}: no such host`;
  if (code === 'ECONNRESET')
    return message === 'socket hang up' ? 'EOF' : `read tcp ${address}: read: connection reset by peer`;
  return message;
}

/** `10.1.2.3:80`, `[fd00::1]:80` */
export const hostPort = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** What a probe says it is, to servers that look. */
export const userAgent = 'kube-probe/1.34';
