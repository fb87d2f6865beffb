// Whether a peer that says "gone" has really taken its Pods down: what of them still stands in the cell.
// Assumes no Pod is meant to be there. Two small reads.
import { readFileSync } from 'node:fs';
import { PodwireError } from '../../lib/exec/errors.ts';
import { parseMountInfo } from '../../lib/kernel/mount.ts';
import { listNetns } from '../../lib/kernel/netns.ts';

// Where the peers mount in the cell; a machine's own overlays were there before.
const places = /^\/(run|var\/lib|var\/tmp\/podwire-bench-[^/]+)\//;

/** @throws PodwireError NOT_GONE naming network namespaces and containers' root file systems that are still there */
export function assertGone(peer: string): void {
  const mounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
  const roots = mounts.filter(({ type, target }) => type === 'overlay' && places.test(target));
  const left = [
    ...listNetns().map((name) => `netns ${name}`),
    ...roots.map(({ target }) => `mount ${target}`),
  ];
  if (left.length > 0)
    throw new PodwireError('NOT_GONE', `${peer} said gone, but left ${left.slice(0, 5).join(', ')}`);
}
