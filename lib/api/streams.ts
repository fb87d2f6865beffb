// Logs, exec, attach and ports of a Pod: what the API server asks for, and the kubelet gives.
// Assumes the Pod was read from the registry and the container named is one of its spec. Injected by cmd/podwired.
import type { Duplex } from 'node:stream';
import type { ExecSession } from '../exec/session.ts';
import type { Pod } from './types.ts';

/** Source: PodLogOptions of Kubernetes' API. */
export interface LogOptions {
  readonly container: string;
  /** Goes on until the container ends, or the signal aborts. */
  readonly follow: boolean;
  /** Of the container before the last restart. */
  readonly previous: boolean;
  /** RFC 3339 with nanoseconds and a space before each line. */
  readonly timestamps: boolean;
  /** Only so many lines from the end. */
  readonly tailLines?: number;
  readonly sinceSeconds?: number;
  /** RFC 3339. */
  readonly sinceTime?: string;
  /** Ends after so many bytes. */
  readonly limitBytes?: number;
}

export interface ExecOptions {
  readonly container: string;
  readonly command: readonly [string, ...string[]];
  readonly tty: boolean;
  readonly stdin: boolean;
}

/** To join what runs already. */
export type AttachOptions = Omit<ExecOptions, 'command'>;

/** All fail with ApiError: BadRequest when the container is not running or has no log (yet), NotFound when it is gone. */
export interface PodStreams {
  logs(pod: Pod, options: LogOptions, signal: AbortSignal): AsyncIterable<Buffer | string>;
  exec(pod: Pod, options: ExecOptions): Promise<ExecSession>;
  attach(pod: Pod, options: AttachOptions): Promise<ExecSession>;
  /** A connection to a port of the Pod's localhost. */
  portForward(pod: Pod, port: number): Promise<Duplex>;
}
