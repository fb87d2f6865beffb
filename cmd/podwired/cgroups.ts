// What the daemon does to the machine's cgroup hierarchies before the first container, remembered to be undone.
// Assumes /run dies with the boot, as mounts do. See lib/kernel/cgroup.ts for the reason.
import { join } from 'node:path';
import {
  type CgroupPreparation,
  detectCgroups,
  ensureCgroup,
  prepareCgroups,
} from '../../lib/kernel/cgroup.ts';
import { keepFile, readIfThere } from '../../lib/kernel/files.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';

const file = (paths: NodePaths): string => join(paths.run, 'cgroups.json');

/** Makes the hierarchies usable and the group above all Pods. Repeatable. */
export async function setUpCgroups(paths: NodePaths): Promise<CgroupPreparation> {
  const done = await prepareCgroups(detectCgroups());
  const before = readCgroupPreparation(paths);
  const all = { mounted: [...new Set([...before.mounted, ...done.mounted])] };
  keepFile(file(paths), JSON.stringify(all), { durable: false });
  ensureCgroup(paths.cgroup, {});
  return done;
}

export function readCgroupPreparation(paths: NodePaths): CgroupPreparation {
  const text = readIfThere(file(paths));
  return text === undefined ? { mounted: [] } : (JSON.parse(text) as CgroupPreparation);
}
