// CPU time that everything in the cell has used so far, the bench's own process left out: unlike wall time it hardly
// changes when the machine is busy with other things. Assumes that parents wait for their children (the kernel then
// adds a child's time to its parent's) and that the cell's init reaps orphans. One file read a process.
import { readdirSync, readFileSync } from 'node:fs';

// USER_HZ, which /proc counts in, is 100 on every architecture that Node runs on.
const msPerTick = 10;

/** Milliseconds, own and of the children it waited for. Source: proc(5), fields 14 to 17 of stat. Pure. */
export function parseCpu(stat: string): { own: number; children: number } {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number);
  if (cstime === undefined || [utime, stime, cutime, cstime].some((value) => !Number.isFinite(value)))
    throw new Error(`no times in ${JSON.stringify(stat)}`);
  return { own: (utime! + stime!) * msPerTick, children: (cutime! + cstime) * msPerTick };
}

/** Milliseconds of all processes there are and have been in this pid namespace, but this one. */
export function cellCpu(): number {
  let sum = 0;
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const { own, children } = parseCpu(readFileSync(`/proc/${name}/stat`, 'latin1'));
      sum += children + (Number(name) === process.pid ? 0 : own);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ESRCH') throw error; // it ended while we looked
    }
  }
  return sum;
}
