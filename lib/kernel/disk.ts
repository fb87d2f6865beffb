// How full disks are: what folders take, and what a file system has left. Thin.
// Assumes du(1) for folders: it walks them, in a process of its own. A file system is one system call.
import { statfsSync } from 'node:fs';
import { type Exec, run } from '../exec/exec.ts';

const measureMs = 120_000;

/** Bytes that each folder takes on its file system; one that is not there is left out, all when it took too long. */
export async function diskUsage(
  folders: readonly string[],
  exec: Exec = run,
): Promise<ReadonlyMap<string, number>> {
  if (folders.length === 0) return new Map();
  try {
    // 1: files went while it looked; the sum is good enough.
    const { stdout } = await exec({
      argv: ['du', '-sx', '--block-size=1', '--', ...folders],
      okCodes: [0, 1],
      timeoutMs: measureMs,
    });
    const lines = stdout.split('\n').filter((line) => line.includes('\t'));
    return new Map(
      lines.map((line) => {
        const tab = line.indexOf('\t');
        return [line.slice(tab + 1), Number.parseInt(line, 10)];
      }),
    );
  } catch {
    return new Map(); // gone, or too slow: the next look tells
  }
}

/** Bytes and files of the file system that a path is on; `available` as for who is not root, as df shows it. */
export interface FileSystemFigures {
  readonly capacity: number;
  readonly available: number;
  /** 0 where the file system has no fixed number of them. */
  readonly inodes: number;
  readonly inodesFree: number;
}

/** Percent that is used of the file system that a path is on, as df shows it. @throws as fileSystemFigures */
export function percentUsed(path: string): number {
  const { blocks, bfree, bavail } = statfsSync(path);
  const used = blocks - bfree;
  return used + bavail === 0 ? 0 : (100 * used) / (used + bavail);
}

/** @throws NodeJS.ErrnoException ENOENT */
export function fileSystemFigures(path: string): FileSystemFigures {
  const { blocks, bavail, bsize, files, ffree } = statfsSync(path);
  return { capacity: blocks * bsize, available: bavail * bsize, inodes: files, inodesFree: ffree };
}
