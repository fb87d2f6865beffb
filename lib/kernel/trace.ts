// The record of what was done to the kernel's network: one JSON line a command, in the file that PODWIRE_TRACE names.
// Assumes one file a Pod; lines are appended whole (O_APPEND), so several processes may write. lib/cni/explain.ts reads it.
import { appendFileSync } from 'node:fs';

export interface TraceLine {
  /** 'ip', 'bridge': lines as for its `-batch` · 'nft': a script for `nft -f -` · 'sysctl': key=value. */
  readonly tool: 'ip' | 'bridge' | 'tc' | 'nft' | 'sysctl';
  /** Name or path of the network namespace; absent: the machine's. */
  readonly netns?: string;
  readonly lines: readonly string[];
  /** The step found its outcome already there: the lines were not run, a script must guard them. */
  readonly held?: true;
}

export type Trace = (line: TraceLine) => void;

/** Appends to `file`; without one, does nothing. A trace that cannot be written never fails the step it tells of. */
export function traceTo(file: string | undefined): Trace {
  if (!file) return () => {};
  return (line) => {
    try {
      appendFileSync(file, `${JSON.stringify(line)}\n`, { mode: 0o600 });
    } catch {
      // The record is for people; the network is not to fail with a full disk.
    }
  };
}

/** The trace that PODWIRE_TRACE asks for. */
export const traceFromEnv = (): Trace => traceTo(process.env.PODWIRE_TRACE);

/** The lines of a trace file's text; a line cut short by a crash is left out. */
export function parseTrace(text: string): TraceLine[] {
  const lines: TraceLine[] = [];
  for (const line of text.split('\n')) {
    if (line === '') continue;
    try {
      const value = JSON.parse(line) as TraceLine;
      if (typeof value?.tool === 'string' && Array.isArray(value.lines)) lines.push(value);
    } catch {
      // cut short
    }
  }
  return lines;
}
