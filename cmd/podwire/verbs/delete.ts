// `podwire delete`: asks for the deletion, says so, and by default waits until the objects are gone.
// Assumes graceful deletion by the server. Deletions are asked for one after the other and waited for together.
import type { Client } from '../../../lib/api/client.ts';
import { isReason } from '../../../lib/api/errors.ts';
import type { ApiObject } from '../../../lib/api/types.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { parseCount, parseDuration } from '../duration.ts';
import { describeError, ExitWith, socketErrno, UsageError } from '../errors.ts';
import { waitUntil } from '../follow.ts';
import { type Selected, type SelectionOptions, select } from '../selection.ts';

export interface DeleteVerbOptions extends SelectionOptions {
  gracePeriod?: string;
  now?: boolean;
  force?: boolean;
  wait?: boolean;
  timeout?: string;
  ignoreNotFound?: boolean;
  output?: string;
}

export async function runDelete(
  context: Context,
  args: readonly string[],
  options: DeleteVerbOptions,
): Promise<void> {
  const grace = graceSeconds(options);
  const timeout = parseDuration(options.timeout ?? '0s', '--timeout');
  if (options.output !== undefined && options.output !== 'name')
    throw new UsageError(`unexpected -o output mode: ${options.output}: only "name" is supported`);
  const client = await context.client();
  const chosen = await select(context, client, args, options);
  if (chosen.length === 0) context.out('No resources found\n');
  const gone: Array<{ target: Selected; uid: string }> = [];
  let failures = 0;
  for (const target of chosen) {
    try {
      gone.push({ target, uid: await deleteOne(client, target, grace) });
      context.out(`${line(target, options, grace)}\n`);
    } catch (error) {
      if (socketErrno(error)) throw error;
      if (isReason(error, 'NotFound') && (options.ignoreNotFound || options.all)) continue;
      failures++;
      context.err(
        `${describeError(error, { socket: context.socket, ...(target.where ? { about: target.where } : {}) })}\n`,
      );
    }
  }
  if (options.wait !== false) failures += await waitAll(context, client, gone, timeout);
  if (failures > 0) throw new ExitWith(1);
}

/** Seconds to give, undefined for the Pod's own. @throws UsageError for flags that exclude each other */
export function graceSeconds(
  options: Pick<DeleteVerbOptions, 'gracePeriod' | 'now' | 'force'>,
): number | undefined {
  const given =
    options.gracePeriod === undefined ? undefined : parseCount(options.gracePeriod, '--grace-period', -1);
  if (options.now && given !== undefined && given !== -1)
    throw new UsageError('--now and --grace-period cannot be specified together');
  if (options.force && given !== undefined && given > 0)
    throw new UsageError('--force and --grace-period greater than 0 cannot be specified together');
  if (options.now) return 1;
  if (options.force) return 0;
  if (given === undefined || given < 0) return undefined;
  // As kubectl: without --force the containers' end is waited for, so 0 means "as soon as may be".
  return Math.max(given, 1);
}

function line(target: Selected, options: DeleteVerbOptions, grace: number | undefined): string {
  if (options.output === 'name') return `${target.info.singular}/${target.name}`;
  const how = options.force && grace === 0 ? 'force deleted' : 'deleted';
  const from = target.namespace === undefined ? '' : ` from ${target.namespace} namespace`;
  return `${target.info.singular} "${target.name}" ${how}${from}`;
}

async function deleteOne(client: Client, target: Selected, grace: number | undefined): Promise<string> {
  const key = { namespace: target.namespace, name: target.name };
  const object = await client.delete(target.info.resource, key, { gracePeriodSeconds: grace });
  return object.metadata.uid;
}

/** Gives the number of objects still there at the end. */
async function waitAll(
  context: Context,
  client: Client,
  deleted: ReadonlyArray<{ target: Selected; uid: string }>,
  timeoutMs: number,
): Promise<number> {
  const deadline = timeoutMs > 0 ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY;
  const signal = untilInterrupted();
  const outcomes = await Promise.all(
    deleted.map(async ({ target, uid }) => {
      // An object of the same name that was made anew is another one.
      const isGone = (object: ApiObject | undefined): boolean =>
        object === undefined || object.metadata.uid !== uid;
      const outcome = await waitUntil({ client, target, deadline, signal }, isGone);
      if (outcome === 'timeout')
        context.err(`error: timed out waiting for the condition on ${target.info.resource}/${target.name}\n`);
      return outcome;
    }),
  );
  if (signal.aborted) throw new ExitWith(130);
  return outcomes.filter((outcome) => outcome !== 'met').length;
}
