// conmon's command line and its report. Pure.
// Assumes conmon 2.0.25 or later: it daemonises itself, makes the container by the OCI runtime, writes the log in CRI
// format and the exit code to a file, and outlives podwired. One conmon a container, about 1 MB each.
import type { OciRuntime } from './oci-runtime.ts';

export interface ConmonRequest {
  readonly conmon: string;
  readonly runtime: OciRuntime;
  readonly id: string;
  /** NAME in conmon's own messages. */
  readonly name: string;
  readonly bundle: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  readonly logPath: string;
  readonly exitDir: string;
  readonly tty: boolean;
  readonly stdin: boolean;
}

/**
 * Bytes of a container's log: conmon then begins a new file in its place, and what was in the old one is gone. The figure
 * is the kubelet's containerLogMaxSize; kubectl logs shows no more there, either.
 */
export const containerLogMaxBytes = 10 << 20;

/** Reports on this descriptor, see _OCI_SYNCPIPE in conmon(8). */
export const conmonEnv = { _OCI_SYNCPIPE: '3' };

export function conmonArgv(request: ConmonRequest): [string, ...string[]] {
  const { conmon, runtime, id, name, bundle } = request;
  const flags = [...(request.tty ? ['-t'] : []), ...(request.stdin ? ['-i'] : [])];
  return [
    conmon,
    ...['--api-version', '1'],
    ...['-c', id, '-u', id, '-n', name, '-b', bundle],
    ...['-r', runtime.program, ...runtime.options.flatMap((option) => ['--runtime-arg', option])],
    ...['-p', request.pidFile, '-P', request.conmonPidFile],
    ...['-l', `k8s-file:${request.logPath}`, '--log-level', 'error'],
    ...['--log-size-max', `${containerLogMaxBytes}`],
    ...['--exit-dir', request.exitDir, '--persist-dir', bundle, '--socket-dir-path', bundle, '--full-attach'],
    // A container's last log lines are worth no wait for the disk.
    '--no-sync-log',
    ...flags,
  ];
}

/** Pid of the container's first process, or what the runtime said when it could not make it. */
export type ConmonReport = { readonly pid: number } | { readonly failure: string };

/** One line `{"data": 123}` or `{"data": -1, "message": "…"}`. */
export function parseConmonReport(line: string): ConmonReport {
  try {
    const { data, message } = JSON.parse(line) as { data?: unknown; message?: unknown };
    if (typeof data === 'number' && data > 0) return { pid: data };
    return { failure: typeof message === 'string' ? message : '' };
  } catch {
    return { failure: `conmon reported ${JSON.stringify(line)}` };
  }
}
