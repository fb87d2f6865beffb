// The most memory a program ever had while it ran, as time(1) tells it.
// Assumes GNU time (Debian's package `time`): Node cannot ask, and a child started straight from here would count the
// bench's own memory, which the kernel carries over an exec. Undefined without it.
import { findProgram } from '../../lib/exec/find-program.ts';
import { runSync } from '../../lib/exec/run-sync.ts';

export interface PeakRequest {
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  readonly input: string;
}

/** MB of resident memory at the most. Blocks while the program runs. */
export async function peakMemory({ file, env, input }: PeakRequest): Promise<number | undefined> {
  const time = findProgram('time');
  if (!time) return undefined;
  const { stderr } = await runSync({ argv: [time, '-f', '%M', file], env, input });
  const kilobytes = Number(stderr.trim().split('\n').at(-1));
  return Number.isFinite(kilobytes) ? kilobytes / 1024 : undefined;
}
