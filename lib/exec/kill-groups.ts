// Ends a program that starts another one elsewhere and waits for it, as an OCI runtime does for exec: both process groups.
// Assumes the leader has a group of its own, and writes the other one's pid to a file. A few reads of /proc a kill.
import { readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The inner one goes first: its parent would tell no end before its pipes close, and must be there to reap it, or its
 * zombie would stay with the container's first process, which may never look. Who kills at once comes before the pid is
 * written, and would leave it running: so that is waited for, shortly.
 */
export async function killGroups(
  leader: number,
  pidFile: string | undefined,
  hasEnded: () => boolean,
): Promise<void> {
  const gone = (): boolean => hasEnded() || isGone(leader);
  if (pidFile !== undefined) {
    await waitFor(() => gone() || isWritten(pidFile), longestPidWaitMs);
    if (gone()) return;
    killGroup(groupOfPidFile(pidFile));
    await waitFor(gone, longestReapMs);
  }
  if (!gone()) killGroup(leader);
}

const longestPidWaitMs = 2000;
const longestReapMs = 500;

async function waitFor(met: () => boolean, limitMs: number): Promise<void> {
  for (let waited = 0; waited < limitMs && !met(); waited += 5) await sleep(5);
}

function killGroup(group: number | undefined): void {
  if (group === undefined || group <= 1) return;
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // ended in the meantime
  }
}

const isWritten = (pidFile: string): boolean => (statSync(pidFile, { throwIfNoEntry: false })?.size ?? 0) > 0;

/** State, parent and process group of a process. Source: proc(5), stat. */
function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // never started, or gone
  }
}

const isGone = (pid: number): boolean => ['Z', 'X', undefined].includes(statOf(pid)?.[0]);

/** Of the process whose pid stands in a file; its leader may be gone already. */
function groupOfPidFile(pidFile: string): number | undefined {
  try {
    const group = Number(statOf(Number(readFileSync(pidFile, 'utf8')))?.[2]);
    return Number.isInteger(group) ? group : undefined;
  } catch {
    return undefined;
  }
}
