// Waiting for an object: until it is gone, or until something about it is true.
// Assumes a watch that begins with what there is. One watch an object; ends at the deadline or by the caller's signal.
import type { Client } from '../../lib/api/client.ts';
import { isReason } from '../../lib/api/errors.ts';
import type { ApiObject } from '../../lib/api/types.ts';
import type { Selected } from './selection.ts';

export type Waited = 'met' | 'timeout' | 'interrupted';

export interface WaitFor {
  readonly client: Client;
  readonly target: Selected;
  /** `Date.now()` at which to give up; Infinity for never. */
  readonly deadline: number;
  readonly signal: AbortSignal;
}

/**
 * Follows one object until `met` says true of it; `undefined` stands for "it is not there".
 * A watch that ends early (the server was restarted) is begun anew.
 */
export async function waitUntil(
  wait: WaitFor,
  met: (object: ApiObject | undefined) => boolean,
): Promise<Waited> {
  const timeout =
    wait.deadline === Number.POSITIVE_INFINITY ? undefined : Math.max(0, wait.deadline - Date.now());
  const timer = timeout === undefined ? undefined : AbortSignal.timeout(timeout);
  const signal = timer ? AbortSignal.any([wait.signal, timer]) : wait.signal;
  while (!signal.aborted) {
    const { object, resourceVersion } = await current(wait);
    if (met(object)) return 'met';
    try {
      if (await watchOnce(wait, { resourceVersion, signal }, met)) return 'met';
    } catch (error) {
      if (signal.aborted) break;
      if (!isReason(error, 'Expired') && !isReason(error, 'Gone')) throw error;
    }
  }
  return wait.signal.aborted ? 'interrupted' : 'timeout';
}

/** By list, not by get: only a list tells the revision at which an absent object was absent. */
async function current({
  client,
  target,
}: WaitFor): Promise<{ object: ApiObject | undefined; resourceVersion: string }> {
  const { items, resourceVersion } = await client.list(target.info.resource, {
    namespace: target.namespace,
    fieldSelector: `metadata.name=${target.name}`,
  });
  return { object: items[0] as ApiObject | undefined, resourceVersion };
}

async function watchOnce(
  { client, target }: WaitFor,
  from: { resourceVersion: string; signal: AbortSignal },
  met: (object: ApiObject | undefined) => boolean,
): Promise<boolean> {
  const events = client.watch(target.info.resource, {
    namespace: target.namespace,
    fieldSelector: `metadata.name=${target.name}`,
    ...from,
  });
  for await (const event of events) {
    if (event.type === 'BOOKMARK') continue;
    if (met(event.type === 'DELETED' ? undefined : (event.object as ApiObject))) return true;
  }
  return false;
}
