// What a cgroup uses just now: memory, processor time, processes. A few small file reads a group.
// Assumes a path relative to the hierarchies' roots, as cgroup.ts. A group that is gone uses nothing that is known.
// Source: cAdvisor's working set: usage without the inactive part of the page cache.
import { join } from 'node:path';
import { detectCgroups } from './cgroup.ts';
import { readIfThere } from './files.ts';

export interface CgroupUsage {
  /** Bytes, page cache and all. */
  readonly memory: number;
  /** Bytes that cannot be had back at once. */
  readonly workingSet: number;
  /** Since the group was made. */
  readonly cpuNanoseconds: number;
  readonly pids: number;
}

/** Of a group and all below it; undefined when it is not there, or nobody counts memory. */
export function cgroupUsage(path: string): CgroupUsage | undefined {
  const { mode, unified, v1 } = detectCgroups();
  const read = (controller: string, file: string): string | undefined => {
    const root = mode === 'v2' ? unified : v1[controller];
    return root && readIfThere(join(root, path, file), ['ENOENT', 'ENODEV']);
  };
  const isV2 = mode === 'v2';
  const memory = read('memory', isV2 ? 'memory.current' : 'memory.usage_in_bytes');
  if (memory === undefined) return undefined;
  const inactive = keyed(read('memory', 'memory.stat'), isV2 ? 'inactive_file' : 'total_inactive_file');
  return {
    memory: Number(memory),
    workingSet: Math.max(0, Number(memory) - inactive),
    cpuNanoseconds: isV2
      ? keyed(read('cpu', 'cpu.stat'), 'usage_usec') * 1000
      : Number(read('cpuacct', 'cpuacct.usage') ?? 0),
    pids: Number(read('pids', 'pids.current') ?? 0),
  };
}

/** `name value` lines. */
function keyed(text: string | undefined, name: string): number {
  const value = text?.split('\n').find((line) => line.startsWith(`${name} `));
  return Number(value?.slice(name.length + 1) ?? 0);
}
