// Processes that are nobody's child of ours: who they are, whether they still live, how to signal and start them.
// Assumes /proc. A pid alone is not an identity (pids are reused): pid and start time together are.
// One read of /proc/PID/stat a question, about 20 microseconds.
import { readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Exec, run } from '../exec/exec.ts';
import { findProgram } from '../exec/find-program.ts';
import { KernelError, toKernelError } from './errors.ts';

/** A process that cannot be mistaken for a later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. A string, for it may exceed 2^53. */
  readonly startTime: string;
}

/** What /proc/PID/stat says. Source: proc(5). Pure. */
export function parseStat(text: string): { state: string; parent: number; startTime: string } | undefined {
  // The command's name stands in parentheses and may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  const startTime = fields[19];
  if (!state || !parent || !startTime) return undefined;
  return { state, parent: Number(parent), startTime };
}

/** The process as it lives now; undefined when there is none, or only a zombie is left of it. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  if (!stat || stat.state === 'Z' || stat.state === 'X') return undefined;
  return { pid, startTime: stat.startTime };
}

/** True while that very process runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTime === identity.startTime;
}

/** What /proc/PID/exe links to; undefined when the process has ended. Other words after every exec of another program. */
export function programOf({ pid }: Pick<ProcessIdentity, 'pid'>): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

/** Resolves when the process runs another program than `before`, or none any more, or after `timeoutMs`. */
export async function untilReplaced(
  process: ProcessIdentity,
  before: string | undefined,
  timeoutMs: number,
): Promise<void> {
  if (before === undefined) return;
  const end = Date.now() + timeoutMs;
  while (programOf(process) === before && Date.now() < end) await sleep(1);
}

/** Sends a signal to that very process; false when it is gone already. */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals | number): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/**
 * Starts a program as a child of init, in its own session, with /dev/null for its three streams.
 * start-stop-daemon returns when the pid file is written; 4 ms.
 * @throws KernelError ENOENT (no such program, or it ended at once), or what start-stop-daemon said
 */
export async function startDaemon(
  daemon: {
    readonly argv: readonly [string, ...string[]];
    readonly pidFile: string;
    readonly timeoutMs?: number;
  },
  exec: Exec = run,
): Promise<ProcessIdentity> {
  const [name, ...args] = daemon.argv;
  // start-stop-daemon does not search PATH, and its child that fails to exec has nobody to tell.
  const program = findProgram(name);
  if (!program)
    throw new KernelError(
      'ENOENT',
      name,
      `${name}: program not found (podwire doctor tells how to install it)`,
    );
  const start = [
    '--start',
    '--background',
    // Closing all descriptors up to the limit takes 20 000 calls and more; ours are closed on exec already.
    ...['--no-close', '--output', '/dev/null'],
    '--make-pidfile',
    '--pidfile',
    daemon.pidFile,
    '--startas',
    program,
  ];
  try {
    await exec({
      argv: ['start-stop-daemon', ...start, '--', ...args],
      timeoutMs: daemon.timeoutMs ?? 10_000,
    });
  } catch (error) {
    throw toKernelError(error, `start ${program}`);
  }
  const pid = Number(readFileSync(daemon.pidFile, 'utf8').trim());
  const identity = identify(pid);
  if (!identity)
    throw new KernelError('ENOENT', program, `${daemon.argv.join(' ')}: it ended as soon as it began`);
  return identity;
}

function readStat(pid: number): ReturnType<typeof parseStat> {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
