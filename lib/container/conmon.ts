// conmon's command line and its report. Pure.
// Assumes conmon 2.0.25 or later: it daemonises itself, makes the container by the OCI runtime, writes the log in CRI
// format and the exit code to a file, and outlives podwired. One conmon a container, about 1 MB each.
import type { OciRuntime } from './oci/runtime.ts';

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
  /** Standard input ends with the first who attached and left. */
  readonly stdinOnce: boolean;
}

/** Reports on this descriptor, see _OCI_SYNCPIPE in conmon(8). */
export const conmonEnv = { _OCI_SYNCPIPE: '3' };

export function conmonArgv(request: ConmonRequest): [string, ...string[]] {
  const { conmon, runtime, id, name, bundle } = request;
  const stdin = request.stdinOnce ? ['-i'] : ['-i', '--leave-stdin-open'];
  const flags = [...(request.tty ? ['-t'] : []), ...(request.stdin ? stdin : [])];
  return [
    conmon,
    ...['--api-version', '1'],
    ...['-c', id, '-u', id, '-n', name, '-b', bundle],
    ...['-r', runtime.program, ...runtime.options.flatMap((option) => ['--runtime-arg', option])],
    ...['-p', request.pidFile, '-P', request.conmonPidFile],
    ...['-l', `k8s-file:${request.logPath}`, '--log-level', 'error'],
    ...['--exit-dir', request.exitDir, '--persist-dir', bundle, '--socket-dir-path', bundle, '--full-attach'],
    // A container's last log lines are worth no wait for the disk.
    '--no-sync-log',
    ...flags,
  ];
}

/** On its control fifo (`ctl`): let go of the log and open its path again. Source: conmon's ctrl.c */
export const reopenLogCommand = '2 0 0\n';

/** Of the terminal, on the same fifo. Pure. */
export const resizeCommand = (columns: number, rows: number): string => `1 ${rows} ${columns}\n`;

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
