// `podwire down`: ends podwired; with --pods also every Pod and every kernel object that podwire made.
// Assumes Pods live on without the daemon. Deletions run side by side.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from '../../../lib/api/client.ts';
import { isReason } from '../../../lib/api/errors.ts';
import type { Pod } from '../../../lib/api/types.ts';
import type { NodePaths } from '../../../lib/kernel/paths.ts';
import { type Context, untilInterrupted } from '../context.ts';
import { health, socketOwner, startPodwired, stopPodwired } from '../daemon.ts';
import { parseDuration } from '../duration.ts';
import { waitUntil } from '../follow.ts';
import { readJson, readText } from '../http.ts';
import { resourceInfo } from '../resources.ts';

export interface DownOptions {
  pods?: boolean;
  timeout?: string;
}

export async function runDown(context: Context, options: DownOptions): Promise<void> {
  const timeout = parseDuration(options.timeout ?? '60s', '--timeout');
  const found = await health(context);
  if (found === 'absent' && !options.pods) return context.out('podwired is not running\n');
  if (found === 'absent') {
    if (!hasLeftovers(context.paths))
      return context.out('podwired is not running, and nothing of it is left\n');
    context.out('podwired is not running; it is started once more to remove what it made\n');
    await startPodwired(context, {});
  }
  const owner = socketOwner(context.socket);
  if (options.pods) await removeEverything(context, timeout);
  const left = options.pods ? 0 : await countPods(context, found);
  if (!owner) return context.out('podwired is not running\n');
  const how = await stopPodwired(owner);
  context.out(
    `podwired (pid ${owner.pid}) has ended${how === 'SIGKILL' ? ', by SIGKILL, for it did not answer SIGTERM' : ''}\n`,
  );
  if (left > 0)
    context.out(
      `${left} ${left === 1 ? 'Pod goes' : 'Pods go'} on running: "podwire up" adopts them, "podwire down --pods" removes them\n`,
    );
}

/** What podwired made and has not taken back, as its records say. */
function hasLeftovers({ run, sandboxes, containers }: NodePaths): boolean {
  const records = ['node-network.json', 'cgroups.json'].some((name) => existsSync(join(run, name)));
  return (
    records || [sandboxes, containers].some((folder) => existsSync(folder) && readdirSync(folder).length > 0)
  );
}

async function countPods(context: Context, found: string): Promise<number> {
  if (found !== 'ready') return 0;
  const pods = await podsHere(context, await context.client());
  return pods.filter((pod) => pod.status?.phase === 'Running').length;
}

/**
 * This node's own; where it is the only one, also those that have no node. An agent whose servers are away knows of none, and
 * the purge takes down what runs.
 */
async function podsHere(context: Context, client: Client): Promise<readonly Pod[]> {
  const { node, role } = await readJson<{ node: string; role: string }>(context.socket, '/podwire/v1/node');
  try {
    const nodes = await client.list('nodes');
    const isAlone = nodes.items.every(({ metadata }) => metadata.name === node);
    return (await client.list('pods', isAlone ? {} : { fieldSelector: `spec.nodeName=${node}` })).items;
  } catch (error) {
    if (role !== 'agent' || !isReason(error, 'ServiceUnavailable')) throw error;
    context.err(`${error.message}\nthe cluster goes on knowing this node's Pods until it is removed there\n`);
    return [];
  }
}

async function removeEverything(context: Context, timeoutMs: number): Promise<void> {
  const client = await context.client();
  const items = await podsHere(context, client);
  const wait = { deadline: Date.now() + timeoutMs, signal: untilInterrupted() };
  // A mirror of a static Pod comes back when it is deleted: the purge removes those.
  const own = items.filter((pod) => pod.metadata.annotations?.['kubernetes.io/config.mirror'] === undefined);
  await Promise.all(own.map((pod) => removePod(context, client, pod, wait)));
  await readText(context.socket, '/podwire/v1/purge', { method: 'POST', body: {} });
  context.out('every namespace, link, mount, table and cgroup of podwire is removed\n');
}

/** What is not gone in time is left to the purge. */
async function removePod(
  context: Context,
  client: Client,
  pod: Pod,
  wait: { deadline: number; signal: AbortSignal },
): Promise<void> {
  const { namespace, name, uid } = pod.metadata;
  try {
    await client.delete('pods', { namespace, name });
  } catch (error) {
    if (isReason(error, 'NotFound')) return;
    context.err(`pod "${namespace}/${name}": ${error instanceof Error ? error.message : String(error)}\n`);
    return;
  }
  const target = { info: resourceInfo('pods'), namespace, name };
  const outcome = await waitUntil({ client, target, ...wait }, (object) => object?.metadata.uid !== uid);
  context.out(
    outcome === 'met'
      ? `pod "${namespace}/${name}" deleted\n`
      : `pod "${namespace}/${name}" did not end in time\n`,
  );
}
