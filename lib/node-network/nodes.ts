// Follows the Nodes through the Client: all of them first, then each change, through watches that break and an API that
// is away. Assumes nothing of the caller but that it takes a full list as the new truth at any time.
// O(nodes) a list, O(changes) between; a list again only when the watch's revision is lost or the caller asks.
import { setTimeout } from 'node:timers/promises';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import type { Node } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';

export interface NodeFollower {
  /** All nodes there are. */
  list(nodes: readonly Node[]): void;
  put(node: Node): 'goOn' | 'listAgain';
  delete(name: string): void;
  /** The API cannot be asked now. */
  failed(message: string): void;
}

const firstWaitMs = 100;
const longestWaitMs = 5000;

/** Until the signal aborts; never rejects. */
export async function followNodes(
  client: Client,
  follower: NodeFollower,
  signal: AbortSignal,
): Promise<void> {
  let wait = firstWaitMs;
  while (!signal.aborted) {
    try {
      const { items, resourceVersion } = await client.list('nodes');
      if (signal.aborted) return;
      follower.list(items);
      wait = firstWaitMs;
      await watchFrom(client, resourceVersion, { follower, signal });
    } catch (error) {
      if (signal.aborted) return;
      if (isReason(error, 'Expired') || isReason(error, 'Gone')) continue;
      follower.failed(messageOf(error));
      await setTimeout(wait, undefined, { signal }).catch(() => {});
      wait = Math.min(wait * 2, longestWaitMs);
    }
  }
}

/** Returns where a list is called for; a watch that just ends (an API that restarts) is taken up where it was. */
async function watchFrom(
  client: Client,
  from: string,
  { follower, signal }: { follower: NodeFollower; signal: AbortSignal },
): Promise<void> {
  let resourceVersion = from;
  while (!signal.aborted) {
    const begun = Date.now();
    for await (const event of client.watch('nodes', { resourceVersion, signal })) {
      resourceVersion = event.object.metadata.resourceVersion;
      if (event.type === 'BOOKMARK') continue;
      if (event.type === 'DELETED') follower.delete(event.object.metadata.name);
      else if (follower.put(event.object) === 'listAgain') return;
    }
    // One that ends at once, over and over, must not become a busy loop.
    if (Date.now() - begun < firstWaitMs)
      await setTimeout(firstWaitMs, undefined, { signal }).catch(() => {});
  }
}
