// Traffic control by `tc`: many changes in one `tc -batch -`, questions in one `tc -j -batch -`.
// Assumes iproute2 >= 5.10 and the lines of our own pure functions. One process (1 ms) a batch; it stops at the first failure.
import { ExecError } from '../exec/errors.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { KernelError, toKernelError } from './errors.ts';
import { IpBatchError, type KernelOptions, netnsArgv } from './ip.ts';
import { traceFromEnv } from './trace.ts';

/** Bits per second, and how many bits may pass at once. */
export interface Shape {
  readonly rate: number;
  readonly burst: number;
}

const latencyMs = 25;
const longestBucket = 274; // seconds: the kernel counts in ticks of 64 ns, 2^32 at most

/**
 * The words of a token bucket filter; what does not fit a bucket waits up to 25 ms. A burst that would take longer than
 * the kernel can count (274 s at this rate) is cut to that. Source: tc-tbf(8). Pure.
 */
export const tbfWords = (shape: Shape): string =>
  `tbf rate ${shape.rate}bit burst ${burstBytes(shape)} latency ${latencyMs}ms`;

/** Bytes that the bucket holds. Pure. */
export const burstBytes = ({ rate, burst }: Shape): number =>
  Math.max(1, Math.floor(Math.min(burst / 8, (rate / 8) * longestBucket)));

/** Runs the lines as one batch. @throws IpBatchError with the line that failed, KernelError, ExecError */
export async function tcBatch(lines: readonly string[], options: KernelOptions = {}): Promise<void> {
  if (lines.length === 0) return;
  const { netns, exec = runLazily, trace = traceFromEnv(), signal } = options;
  try {
    const argv = netnsArgv(netns, ['tc', '-batch', '-']);
    await exec({ argv, input: `${lines.join('\n')}\n`, ...(signal ? { signal } : {}) });
  } catch (error) {
    throw batchError(error, lines);
  }
  trace({ tool: 'tc', ...(netns === undefined ? {} : { netns }), lines });
}

/** The answers to `… show …` lines, a JSON array each; a link that is not there fails. @throws KernelError */
export async function tcAsk(lines: readonly string[], options: KernelOptions = {}): Promise<TcObject[][]> {
  const { netns, exec = runLazily, signal } = options;
  try {
    const argv = netnsArgv(netns, ['tc', '-j', '-batch', '-']);
    const { stdout } = await exec({ argv, input: `${lines.join('\n')}\n`, ...(signal ? { signal } : {}) });
    const texts = stdout.split('\n').filter((text) => text.trim() !== '');
    return texts.map((text) => JSON.parse(text) as TcObject[]);
  } catch (error) {
    throw batchError(error, lines);
  }
}

/** A qdisc or filter as `tc -j` shows it; only the fields that are asked for. */
export interface TcObject {
  readonly kind?: string;
  readonly root?: boolean;
  readonly options?: {
    /** tbf: bytes per second, bytes. */
    readonly rate?: number;
    readonly burst?: number;
    readonly actions?: ReadonlyArray<{ readonly kind?: string; readonly to_dev?: string }>;
  };
}

function batchError(error: unknown, lines: readonly string[]): unknown {
  if (!(error instanceof ExecError) || error.code !== 'EXEC_FAILED') return error;
  const failed = /Command failed -:(\d+)/.exec(error.stderr);
  const mapped = toKernelError(error, 'tc -batch');
  if (!failed || !(mapped instanceof KernelError)) return mapped;
  const line = Number(failed[1]) - 1;
  const what = `tc ${lines[line] ?? ''}`;
  const said = error.stderr
    .replace(/Command failed -:\d+/, '')
    .trim()
    .replaceAll('\n', '; ');
  return new IpBatchError(mapped.code, what, `${what}: ${said}`, { line, cause: error });
}
