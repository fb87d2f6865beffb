// A container whose OCI runtime was killed in the middle of its creation: what it had forked waits for ever, and conmon, which reads
// the runtime's last words, waits for that. Ended, it lets conmon tell that there is no container.
// Assumes conmon adopts (it is a subreaper). A look reads every process's stat, so it is for creations that take long.
import { readdirSync } from 'node:fs';
import { readIfThere } from '../kernel/files.ts';
import { identify, parseStat, signal } from '../kernel/process.ts';

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
 * Ends what a dead runtime left to this conmon: children that are in a pid namespace below conmon's, with no runtime among
 * them, which would be in conmon's own. A container in the machine's pid namespace cannot be told from its runtime: it waits
 * for the creation's time limit. Gives what was ended.
 */
export function endAbandoned(conmon: number): number[] {
  const own = depthOf(conmon);
  const children = childrenOf(conmon);
  if (own === 0 || !children.every((pid) => depthOf(pid) > own)) return [];
  return children.filter((pid) => {
    const found = identify(pid);
    return found !== undefined && signal(found, 'SIGKILL');
  });
}
