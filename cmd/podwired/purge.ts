// `podwire down --pods`: everything podwire made on this machine is taken away, and what it changed is put back.
// Assumes the daemon still runs and ends right after. Every step is tried; all failures are told together.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Client } from '../../lib/api/client.ts';
import { isReason } from '../../lib/api/errors.ts';
import type { Pod } from '../../lib/api/types.ts';
import { settleAll } from '../../lib/exec/errors.ts';
import { removeCgroup, undoPrepareCgroups } from '../../lib/kernel/cgroup.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import type { Kubelet } from '../../lib/kubelet/kubelet.ts';
import { removeDefaultConflist } from '../../lib/node-network/conflist.ts';
import { removeNodeNetwork } from '../../lib/node-network/node-network.ts';
import { readCgroupPreparation } from './cgroups.ts';
import { forgetFlags } from './flags.ts';

export interface PurgeInput {
  readonly paths: NodePaths;
  readonly client: Client;
  readonly kubelet: Kubelet;
  /** What is taken away must not be repaired. */
  readonly stopNetwork: () => Promise<void>;
  readonly nodeName: string;
  readonly log: Logger;
}

const podsMs = 60_000;

export async function purgeNode(input: PurgeInput): Promise<void> {
  const { paths, client, kubelet, nodeName, log } = input;
  log.info('purge: removing all Pods and every kernel object');
  await settleAll('purge', [
    () => removePods(client, nodeName),
    () => kubelet.drain(podsMs),
    () => input.stopNetwork(),
    () => removeNodeNetwork({ paths }),
    () => removeDefaultConflist(paths),
    () => removeCgroup(paths.cgroup),
    () => undoPrepareCgroups(readCgroupPreparation(paths)),
    () => rmSync(join(paths.run, 'cgroups.json'), { force: true }),
    () => forgetFlags(paths),
  ]);
}

/** Pods of this node that are still in the API; the kubelet takes them down as their objects go. */
async function removePods(client: Client, nodeName: string): Promise<void> {
  const items = await listPods(client, nodeName);
  await settleAll(
    'pods',
    items.map(({ metadata: { namespace, name } }) => async () => {
      try {
        await client.delete('pods', { namespace, name }, { gracePeriodSeconds: 0 });
      } catch (error) {
        if (!isReason(error, 'NotFound')) throw error;
      }
    }),
  );
}

/** An agent whose servers are away knows of none: its kubelet takes down what runs all the same. */
async function listPods(client: Client, nodeName: string): Promise<readonly Pod[]> {
  try {
    return (await client.list('pods', { fieldSelector: `spec.nodeName=${nodeName}` })).items;
  } catch (error) {
    if (isReason(error, 'ServiceUnavailable')) return [];
    throw error;
  }
}
