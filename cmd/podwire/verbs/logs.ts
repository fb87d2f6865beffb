// `podwire logs`: what containers wrote, whole or followed, one container or all of a Pod.
// Assumes the server cuts by time and count. Bytes are streamed through; only a prefix needs lines.
import { ephemeralContainers } from '../../../lib/api/pod-containers.ts';
import { type HttpClient, type LogQuery, linesOf } from '../../../lib/api/http/client.ts';
import type { Pod } from '../../../lib/api/types.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { defaultContainerOf } from '../default-container.ts';
import { parseCount, parseDuration } from '../duration.ts';
import { ExitWith, UsageError } from '../errors.ts';
import { podName } from '../resources.ts';

export interface LogsOptions {
  container?: string;
  follow?: boolean;
  previous?: boolean;
  timestamps?: boolean;
  tail?: string;
  since?: string;
  sinceTime?: string;
  allContainers?: boolean;
  prefix?: boolean;
  selector?: string;
  limitBytes?: string;
}

interface Source {
  readonly pod: Pod;
  readonly container: string;
}

export async function runLogs(
  context: Context,
  args: readonly string[],
  options: LogsOptions,
): Promise<void> {
  const query = logQuery(options);
  const client = await context.client();
  const pods = await podsOf(context, client, args, options);
  const container = options.container ?? args[1];
  const sources = pods.flatMap((pod) =>
    containersOf(context, pod, { ...options, ...(container ? { container } : {}) }),
  );
  const signal = untilInterrupted();
  const show = async (source: Source): Promise<void> => {
    const { namespace, name } = source.pod.metadata;
    const chunks = client.logs({ namespace, name }, { ...query, container: source.container }, signal);
    const prefix = options.prefix ? `[pod/${name}/${source.container}] ` : '';
    await copy(chunks, { prefix, byLine: options.prefix === true || sources.length > 1 });
  };
  if (options.follow) await Promise.all(sources.map(show));
  else for (const source of sources) await show(source);
  if (signal.aborted) throw new ExitWith(130);
}

/** The query of GET …/log. Pure. @throws UsageError */
export function logQuery(options: LogsOptions): LogQuery {
  if (options.since !== undefined && options.sinceTime !== undefined)
    throw new UsageError('at most one of `--since` or `--since-time` may be specified');
  if (options.sinceTime !== undefined && Number.isNaN(Date.parse(options.sinceTime)))
    throw new UsageError(
      `invalid value "${options.sinceTime}" for --since-time: expected RFC 3339, e.g. 2026-01-31T12:00:00Z`,
    );
  if (options.follow && options.previous)
    throw new UsageError('only one of follow (-f) or previous (-p) is allowed');
  const since = options.since === undefined ? undefined : parseDuration(options.since, '--since');
  if (since !== undefined && since <= 0) throw new UsageError('--since must be greater than 0');
  const tail = options.tail === undefined ? -1 : parseCount(options.tail, '--tail', -1);
  const limit =
    options.limitBytes === undefined ? undefined : parseCount(options.limitBytes, '--limit-bytes', 1);
  return {
    follow: options.follow,
    previous: options.previous,
    timestamps: options.timestamps,
    tailLines: tail < 0 ? undefined : tail,
    sinceSeconds: since === undefined ? undefined : Math.ceil(since / 1000),
    sinceTime: options.sinceTime,
    limitBytes: limit,
  };
}

async function podsOf(
  context: Context,
  client: HttpClient,
  args: readonly string[],
  options: LogsOptions,
): Promise<Pod[]> {
  if (options.selector !== undefined) {
    if (args.length > 0) throw new UsageError('only a selector (-l) or a Pod name is allowed');
    const { items } = await client.list('pods', {
      namespace: context.namespace,
      labelSelector: options.selector,
    });
    if (items.length === 0) context.err(`No resources found in ${context.namespace} namespace.\n`);
    return items;
  }
  if (args[0] === undefined) throw new UsageError('expected a Pod: podwire logs POD [-c CONTAINER]');
  return [await client.get('pods', { namespace: context.namespace, name: podName(args[0]) })];
}

function containersOf(context: Context, pod: Pod, options: LogsOptions): Source[] {
  const init = (pod.spec.initContainers ?? []).map((each) => each.name);
  const main = pod.spec.containers.map((each) => each.name);
  if (options.allContainers) return [...init, ...main].map((container) => ({ pod, container }));
  if (options.container !== undefined) {
    const debuggers = ephemeralContainers(pod.spec).map((each) => each.name);
    if (![...init, ...main, ...debuggers].includes(options.container))
      throw new UsageError(
        `container ${options.container} is not valid for pod ${pod.metadata.name}: choose one of: [${[...init, ...main, ...debuggers].join(' ')}]`,
      );
    return [{ pod, container: options.container }];
  }
  const { name, told } = defaultContainerOf(pod);
  if (told !== undefined) context.err(`${told}\n`);
  return [{ pod, container: name }];
}

/** Several sources are mixed line by line, one goes through as it is. */
async function copy(
  chunks: AsyncIterable<Buffer>,
  how: { readonly prefix: string; readonly byLine: boolean },
): Promise<void> {
  if (!how.byLine) {
    for await (const chunk of chunks) await write(chunk);
    return;
  }
  for await (const line of linesOf(chunks)) await write(`${how.prefix}${line}\n`);
}

function write(chunk: Buffer | string): Promise<void> | undefined {
  if (process.stdout.write(chunk)) return undefined;
  return new Promise((resolve) => process.stdout.once('drain', resolve));
}
