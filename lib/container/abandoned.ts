// A container whose OCI runtime was killed in the middle of its creation: what it had forked waits for ever, and conmon, which reads
// the runtime's last words, waits for that. Ended, it lets conmon tell that there is no container.
// Assumes conmon adopts (it is a subreaper). A look reads every process's stat, so it is for creations that take long.
import { readdirSync } from 'node:fs';
import { readIfThere } from '../kernel/files.ts';
import { identify, parseStat, type ProcessIdentity, signal } from '../kernel/process.ts';

/** How deep in pid namespaces a process is. */
const depthOf = (pid: number): number =>
  /^NSpid:(.*)$/m.exec(status(pid))?.[1]?.trim().split(/\s+/).length ?? 0;

const status = (pid: number): string => readIfThere(`/proc/${pid}/status`, ['ENOENT', 'ESRCH']) ?? '';

function childrenOf(parent: number): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const isChild = (pid: string): boolean =>
    parseStat(readIfThere(`/proc/${pid}/stat`, ['ENOENT', 'ESRCH']) ?? '')?.parent === parent;
  return pids.filter(isChild).map(Number);
}

/**
 * What a dead runtime seems to have left to this conmon: children that are in a pid namespace below conmon's, with no runtime
 * among them, which would be in conmon's own. A container in the machine's pid namespace cannot be told from its runtime: it
 * waits for the creation's time limit. One whose runtime has ended well looks alike until conmon's report is read.
 */
function seemAbandoned(conmon: number): ProcessIdentity[] {
  const own = depthOf(conmon);
  const children = childrenOf(conmon);
  if (own === 0 || !children.every((pid) => depthOf(pid) > own)) return [];
  return children.flatMap((pid) => identify(pid) ?? []);
}

/** Looks again and again while a creation goes on: what seems abandoned twice, `everyMs` apart, is ended. Gives how to stop. */
export function endAbandoned(conmonOf: () => number, everyMs: number): () => void {
  let suspects: readonly ProcessIdentity[] = [];
  const timer = setInterval(() => {
    const seen = seemAbandoned(conmonOf());
    const again = ({ pid, startTime }: ProcessIdentity): boolean =>
      suspects.some((one) => one.pid === pid && one.startTime === startTime);
    for (const one of seen.filter(again)) signal(one, 'SIGKILL');
    suspects = seen;
  }, everyMs);
  return () => clearInterval(timer);
}
