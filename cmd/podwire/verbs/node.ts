// `podwire node cordon|uncordon|drain|remove`: kubectl's words and exit codes; remove is ours.
// Assumes the API of a server. A drain evicts all Pods at once and waits until they are gone: one watch a Pod.
import { isReady } from '../../../lib/api/conditions.ts';
import type { HttpClient } from '../../../lib/api/http/client.ts';
import { ApiError, isReason } from '../../../lib/api/errors.ts';
import { findResource } from '../../../lib/api/resources.ts';
import type { Pod } from '../../../lib/api/types.ts';
import { messageOf } from '../../../lib/exec/errors.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { type DrainRules, planDrain } from '../drain-plan.ts';
import { parseCount, parseDuration } from '../duration.ts';
import { ExitWith, socketErrno } from '../errors.ts';
import { waitUntil } from '../follow.ts';
import type { ResourceInfo } from '../resources.ts';

export interface DrainFlags extends DrainRules {
  readonly gracePeriod?: string;
  readonly timeout?: string;
}

/** `node/two` and `two` name the same. */
const plainName = (name: string): string => name.replace(/^nodes?\//, '');

/** One after the other; what fails is told, and the others go on. */
async function each(
  context: Context,
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<void> {
  let failures = 0;
  for (const name of names.map(plainName)) {
    try {
      await work(name);
    } catch (error) {
      if (!(error instanceof ApiError) || socketErrno(error) !== undefined) throw error;
      failures++;
      context.err(`Error from server (${error.code}): ${error.message}\n`);
    }
  }
  if (failures > 0) throw new ExitWith(1);
}

export async function runCordon(
  context: Context,
  names: readonly string[],
  verb: 'cordon' | 'uncordon',
): Promise<void> {
  const client = await context.client();
  await each(context, names, (name) => cordon(context, client, { name, verb }));
}

async function cordon(
  context: Context,
  client: HttpClient,
  { name, verb }: { name: string; verb: 'cordon' | 'uncordon' },
): Promise<void> {
  const wanted = verb === 'cordon';
  const { spec } = await client.get('nodes', { name });
  if ((spec?.unschedulable ?? false) === wanted) {
    context.out(`node/${name} already ${verb}ed\n`);
    return;
  }
  await client.patch('nodes', { name }, { spec: { unschedulable: wanted || null } });
  context.out(`node/${name} ${verb}ed\n`);
}

export async function runDrain(context: Context, names: readonly string[], flags: DrainFlags): Promise<void> {
  const timeoutMs = parseDuration(flags.timeout ?? '0s', '--timeout');
  const grace = flags.gracePeriod === undefined ? -1 : parseCount(flags.gracePeriod, '--grace-period', -1);
  const deadline = timeoutMs > 0 ? Date.now() + timeoutMs : Number.POSITIVE_INFINITY;
  const client = await context.client();
  const signal = untilInterrupted();
  const rules = { context, client, flags, deadline, signal, grace: grace < 0 ? undefined : grace };
  for (const name of names.map(plainName)) await cordon(context, client, { name, verb: 'cordon' });
  let failures = 0;
  for (const name of names.map(plainName)) if (!(await drain(name, rules))) failures++;
  if (failures > 0) throw new ExitWith(1);
}

interface Drain {
  readonly context: Context;
  readonly client: HttpClient;
  readonly flags: DrainFlags;
  /** `Date.now()` at which to give up. */
  readonly deadline: number;
  readonly signal: AbortSignal;
  /** Seconds; undefined: each Pod's own. */
  readonly grace: number | undefined;
}

async function drain(name: string, how: Drain): Promise<boolean> {
  const { context, client, flags } = how;
  const { items } = await client.list('pods', { fieldSelector: `spec.nodeName=${name}` });
  const { leave, warnings, refusals } = planDrain(items, flags);
  if (refusals.length > 0) {
    context.err(`error: unable to drain node "${name}":\n${refusals.map((one) => `  ${one}\n`).join('')}`);
    return false;
  }
  for (const warning of warnings) context.err(`Warning: ${warning}\n`);
  const outcomes = await Promise.all(leave.map((pod) => evict(pod, how)));
  if (outcomes.includes(false)) {
    context.err(`error: node "${name}" is cordoned, but not drained\n`);
    return false;
  }
  context.out(`node/${name} drained\n`);
  return true;
}

const retryMs = 5000;

/** Asks the Pod to leave and waits until it is gone; false when it is not. */
async function evict(pod: Pod, { context, client, deadline, signal, grace }: Drain): Promise<boolean> {
  const { namespace, name, uid } = pod.metadata;
  context.out(`evicting pod ${namespace}/${name}\n`);
  const body = {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name, namespace },
    deleteOptions: { preconditions: { uid }, ...(grace === undefined ? {} : { gracePeriodSeconds: grace }) },
  };
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/eviction`;
  for (;;) {
    try {
      await client.request('POST', path, body);
      break;
    } catch (error) {
      if (isReason(error, 'NotFound') || isReason(error, 'Conflict')) return true; // gone, or another Pod of that name
      if (!isReason(error, 'TooManyRequests') || Date.now() + retryMs > deadline) {
        context.err(`error: pod ${namespace}/${name}: ${messageOf(error)}\n`);
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
  const target = { info: findResource('pods') as ResourceInfo, namespace, name };
  const outcome = await waitUntil({ client, target, deadline, signal }, (now) => now?.metadata.uid !== uid);
  if (outcome === 'met') context.out(`pod/${name} evicted\n`);
  else context.err(`error: pod ${namespace}/${name} is still there (${outcome})\n`);
  return outcome === 'met';
}

export async function runNodeRemove(
  context: Context,
  names: readonly string[],
  flags: { readonly force?: boolean },
): Promise<void> {
  const client = await context.client();
  await each(context, names, async (name) => {
    const node = await client.get('nodes', { name });
    if (isReady(node) && !flags.force)
      throw new ApiError(
        'Conflict',
        `node "${name}" is Ready and would come back: drain it (podwire node drain ${name}), end podwire there (podwire leave, or podwire down), or use --force`,
      );
    await client.delete('nodes', { name }, { preconditions: { uid: node.metadata.uid } });
    const subnets = node.spec?.podCIDRs?.join() ?? '';
    context.out(`node/${name} removed${subnets ? `; ${subnets} is free` : ''}\n`);
  });
}
