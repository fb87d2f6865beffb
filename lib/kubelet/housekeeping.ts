// Takes down what a node has of Pods that nobody knows: sandboxes, folders, logs, mirrors of static Pods.
// Assumes that `isKnown` holds for every Pod that may have something here. O(Pods of the node).
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import type { RuntimeService } from '../container/cri.ts';
import { messageOf } from '../exec/errors.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { isMirrorPod, podLogsDir, runtimeUid } from './layout.ts';
import type { MirrorClient } from './mirror.ts';
import { tearDownPodDir } from './volumes/volume-manager.ts';

export interface HousekeepingOptions {
  readonly client: Client;
  readonly runtime: RuntimeService;
  readonly paths: NodePaths;
  readonly nodeName: string;
  readonly mirror: MirrorClient;
  readonly log: Logger;
  readonly isKnown: (podUid: string) => boolean;
}

/** What fails is told, and tried again the next time. */
export async function housekeeping(options: HousekeepingOptions): Promise<void> {
  const { log } = options;
  await removeOrphanedSandboxes(options);
  await removeOrphanedFiles(options).catch((error) =>
    log.error({ err: error }, `files of removed Pods: ${messageOf(error)}`),
  );
  await removeOrphanedMirrors(options).catch((error) =>
    log.error({ err: error }, `mirrors of removed static Pods: ${messageOf(error)}`),
  );
}

/** What cannot be removed is told. */
export async function removeOrphanedSandboxes({
  runtime,
  log,
  isKnown,
}: Pick<HousekeepingOptions, 'runtime' | 'log' | 'isKnown'>): Promise<void> {
  for (const sandbox of runtime.listPodSandboxes().filter(({ uid }) => !isKnown(uid))) {
    const about = { sandbox: sandbox.id, pod: sandbox.name, namespace: sandbox.namespace };
    log.info(about, 'removing orphaned sandbox');
    try {
      await runtime.stopPodSandbox(sandbox.id);
      await runtime.removePodSandbox(sandbox.id);
    } catch (error) {
      log.error({ err: error, sandbox: sandbox.id }, `orphaned sandbox not removed: ${messageOf(error)}`);
    }
  }
}

async function removeOrphanedFiles({ paths, isKnown }: HousekeepingOptions): Promise<void> {
  const entries = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : []);
  for (const uid of entries(paths.pods)) if (!isKnown(uid)) await tearDownPodDir(paths.pods, uid);
  const logs = podLogsDir(paths);
  for (const name of entries(logs))
    if (!isKnown(name.slice(name.lastIndexOf('_') + 1)))
      rmSync(join(logs, name), { recursive: true, force: true });
}

/** Of manifests that were removed while no daemon ran. */
async function removeOrphanedMirrors(options: HousekeepingOptions): Promise<void> {
  const { client, nodeName, mirror, isKnown } = options;
  const { items } = await client.list('pods', { fieldSelector: `spec.nodeName=${nodeName}` });
  for (const pod of items)
    if (isMirrorPod(pod) && !isKnown(runtimeUid(pod))) await mirror.remove(pod, runtimeUid(pod));
}
