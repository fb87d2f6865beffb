// iproute2 as a typed tool: many changes in one `ip -batch -`, questions by `ip -j`, failures as errnos.
// Assumes iproute2 >= 5.10. A batch is one process (1 ms) however many lines; it stops at the first failure.
import { ExecError } from '../exec/errors.ts';
import type { Exec } from '../exec/exec.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { type Errno, KernelError, toKernelError } from './errors.ts';
import { type Trace, traceFromEnv } from './trace.ts';

/** What every function of the network layer takes: where to act, and with what. */
export interface KernelOptions {
  /** Name (below /run/netns) or absolute path of a network namespace; absent: this process' own. */
  readonly netns?: string | undefined;
  readonly exec?: Exec | undefined;
  readonly trace?: Trace | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A batch that stopped; `line` counts from 0, and the lines before it took effect. */
export class IpBatchError extends KernelError {
  readonly line: number;
  constructor(errno: Errno, what: string, message: string, details: { line: number; cause: unknown }) {
    super(errno, what, message, { cause: details.cause });
    this.line = details.line;
  }
}

const namedNetns = /^(?:\/var)?\/run\/netns\/([^/]+)$/;

/** iproute2's two programs: FDB entries and VLANs of bridge ports are the business of `bridge`. */
export type IpTool = 'ip' | 'bridge';

/** argv that runs `ip` in a namespace: `ip -n NAME` where it has a name, else nsenter (one exec more). Pure. */
export function ipArgv(
  netns: string | undefined,
  args: readonly string[],
  tool: IpTool = 'ip',
): [string, ...string[]] {
  if (netns === undefined) return [tool, ...args];
  const name = netns.includes('/') ? namedNetns.exec(netns)?.[1] : netns;
  if (name !== undefined) return [tool, '-n', name, ...args];
  return ['nsenter', `--net=${netns}`, tool, ...args];
}

/** argv that runs any program in a namespace. nsenter, as `ip netns exec` would build a mount namespace too. Pure. */
export function netnsArgv(
  netns: string | undefined,
  argv: readonly [string, ...string[]],
): [string, ...string[]] {
  if (netns === undefined) return [...argv];
  return ['nsenter', `--net=${netns.includes('/') ? netns : `/run/netns/${netns}`}`, ...argv];
}

/**
 * One word of a batch line, quoted where it must be.
 * @throws KernelError EINVAL for a text that no quoting carries through `ip -batch` (quotes, line ends, backslash)
 */
export function ipWord(text: string): string {
  if (/^[\w.:@%/+,=-]+$/.test(text)) return text;
  if (!/^[ -~]*$/.test(text) || /["\\]/.test(text))
    throw new KernelError(
      'EINVAL',
      text,
      `${JSON.stringify(text)}: cannot be handed to ip (quote, backslash or control character)`,
    );
  return `"${text}"`;
}

/**
 * Runs the lines as one `ip [-n NETNS] -batch -`. Never with -force: what follows a failure is not run.
 * Lines that begin with `addr show` are questions: the answers come back parsed, and are not part of the trace.
 * @throws IpBatchError with the line that failed, KernelError, ExecError
 */
export async function ipBatch(
  lines: readonly string[],
  options: KernelOptions & { tool?: IpTool } = {},
): Promise<unknown[]> {
  if (lines.length === 0) return [];
  const asks = lines.some(isQuestion);
  const { netns, exec = runLazily, trace = traceFromEnv(), signal, tool = 'ip' } = options;
  try {
    const argv = ipArgv(netns, [...(asks ? ['-j', '-d'] : []), '-batch', '-'], tool);
    const { stdout } = await exec({ argv, input: `${lines.join('\n')}\n`, ...(signal ? { signal } : {}) });
    trace({
      tool,
      ...(netns === undefined ? {} : { netns }),
      lines: lines.filter((line) => !isQuestion(line)),
    });
    return asks ? parseAnswers(stdout) : [];
  } catch (error) {
    throw batchError(error, lines, tool);
  }
}

const isQuestion = (line: string): boolean => line.startsWith('addr show');

/** One JSON array a question, one after another. */
function parseAnswers(stdout: string): unknown[] {
  const texts = stdout.trim().split(/\n(?=\[)/);
  return texts.filter((text) => text !== '').flatMap((text) => JSON.parse(text) as unknown[]);
}

function batchError(error: unknown, lines: readonly string[], tool: IpTool): unknown {
  if (!(error instanceof ExecError) || error.code !== 'EXEC_FAILED') return error;
  const failed = /Command failed -:(\d+)/.exec(error.stderr);
  if (!failed) return toKernelError(error, `${tool} -batch`);
  const line = Number(failed[1]) - 1;
  const what = `${tool} ${lines[line] ?? ''}`;
  const mapped = toKernelError(error, what);
  if (!(mapped instanceof KernelError)) return mapped;
  const said = error.stderr
    .replace(/Command failed -:\d+/, '')
    .trim()
    .replaceAll('\n', '; ');
  return new IpBatchError(mapped.code, what, `${what}: ${said}`, { line, cause: error });
}

/** Asks `ip -j ARGS` and gives the parsed JSON array. @throws KernelError */
export async function ipJson(
  args: readonly string[],
  options: KernelOptions & { tool?: IpTool } = {},
): Promise<unknown[]> {
  const { netns, exec = runLazily, signal, tool } = options;
  const argv = ipArgv(netns, ['-j', '-d', ...args], tool);
  try {
    const { stdout } = await exec({ argv, ...(signal ? { signal } : {}) });
    const value: unknown = stdout.trim() === '' ? [] : JSON.parse(stdout);
    return Array.isArray(value) ? value : [value];
  } catch (error) {
    throw toKernelError(error, argv.join(' '));
  }
}
