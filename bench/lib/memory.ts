// What processes keep in memory: RSS (counts shared pages fully) and PSS (shares them out), from /proc/PID/smaps_rollup.
// Assumes the /proc of the bench's own pid namespace: every process in it belongs to the bench. One file read a process.
import { readdirSync, readFileSync } from 'node:fs';

export interface Memory {
  /** Bytes. */
  readonly rss: number;
  /** Bytes. */
  readonly pss: number;
}

/** Source: proc(5), smaps_rollup. Pure. @throws Error when the fields are missing */
export function parseSmapsRollup(text: string): Memory {
  const kilobytes = (field: string): number => {
    const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!found) throw new Error(`smaps_rollup without ${field}`);
    return Number(found[1]) * 1024;
  };
  return { rss: kilobytes('Rss'), pss: kilobytes('Pss') };
}

export interface ProcessMemory extends Memory {
  readonly pid: number;
  /** Name of the program, as the kernel keeps it (15 characters at most). */
  readonly command: string;
  /** Program and arguments, joined by spaces. */
  readonly argv: string;
}

/** All processes but those that ended while we looked. */
export function processMemory(): ProcessMemory[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const memory = parseSmapsRollup(readFileSync(`/proc/${name}/smaps_rollup`, 'utf8'));
        const command = readFileSync(`/proc/${name}/comm`, 'utf8').trim();
        const argv = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return [{ pid: Number(name), command, argv, ...memory }];
      } catch {
        return []; // it ended, or is a zombie
      }
    });
}

/** The sum over some processes, and how many they are. Pure. */
export function sumMemory(processes: readonly ProcessMemory[]): Memory & { readonly processes: number } {
  return {
    processes: processes.length,
    rss: processes.reduce((sum, one) => sum + one.rss, 0),
    pss: processes.reduce((sum, one) => sum + one.pss, 0),
  };
}
