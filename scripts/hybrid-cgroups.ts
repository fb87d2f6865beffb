// crun refuses a cgroup v2 hierarchy that holds controllers beside v1 ones (a hybrid layout, as on some CI machines).
// Mounting those controllers as v1 takes them out of v2. Assumes root. Undone at the end, where it can be.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

/** Mounts what stands in crun's way; gives the undo. */
export function hybridMounts(say: (text: string) => void): () => void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => ({ point: line.split(' ')[4] ?? '', type: line.split(' - ')[1]?.split(' ')[0] }));
  const v1 = mounts.some((mount) => mount.type === 'cgroup');
  const v2 = mounts.find((mount) => mount.type === 'cgroup2');
  if (!v1 || !v2) return () => {};
  const controllers = readFileSync(join(v2.point, 'cgroup.controllers'), 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean);
  const undos = controllers.map((controller) => mountV1(controller, say));
  return () => {
    for (const undo of undos) undo();
  };
}

function mountV1(controller: string, say: (text: string) => void): () => void {
  const point = `/sys/fs/cgroup/${controller}`;
  mkdirSync(point, { recursive: true });
  execFileSync('mount', ['-t', 'cgroup', '-o', controller, 'cgroup', point]);
  say(`cgroup controller ${controller} taken out of v2 for crun, until the end`);
  return () => {
    try {
      execFileSync('umount', [point], { stdio: ['ignore', 'ignore', 'pipe'] });
      rmdirSync(point);
    } catch (error) {
      say(`${point} stays mounted: ${(error as Error).message.split('\n').at(-2) ?? ''}`);
    }
  };
}
