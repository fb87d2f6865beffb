// Puts a container's log aside when it is full: renamed first, then conmon is told to begin a new file, so no line is
// lost; older ones are compressed, the oldest removed. Assumes one rotation of a log at a time. One stat a look, and the
// work of one file when it is full. Source: kubelet's container_log_manager (the newest older file stays uncompressed).
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { link, rename, rm, stat, utimes } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGzip } from 'node:zlib';
import { messageOf, PodwireError } from '../exec/errors.ts';
import { nextStamp, type OlderLog, olderLogs } from './log-files.ts';

export interface LogLimits {
  /** Size at which a file is put aside. Kubelet: containerLogMaxSize */
  readonly maxBytes: number;
  /** Files a container may have with the one being written; 2 or more. Kubelet: containerLogMaxFiles */
  readonly maxFiles: number;
}

export interface Rotation {
  readonly path: string;
  readonly limits: LogLimits;
  /** Tells conmon to open `path` again; it lets go of the old file first. */
  readonly reopen: () => Promise<void>;
  readonly now?: () => Date;
}

const reopenMs = 5000;

/**
 * Puts the log aside if it is full; true when it did. One whose writer never came back to it (a daemon that died between
 * the two steps) is begun anew. @throws PodwireError LOG_ROTATION: the log is where it was, or no line of it is lost
 */
export async function rotateLog(rotation: Rotation): Promise<boolean> {
  const { path, limits, reopen, now = () => new Date() } = rotation;
  const size = (await stat(path).catch(() => undefined))?.size;
  if (size === undefined) {
    await reopen();
    return false;
  }
  if (size < limits.maxBytes) return false;
  const older = await olderLogs(path);
  const aside = `${path}.${nextStamp(older.at(-1)?.stamp, now())}`;
  // Beside the file being written stay this one and maxFiles - 2 before it.
  await thinOut(older, limits.maxFiles - 2);
  await rename(path, aside);
  try {
    await reopen();
    for (const until = Date.now() + reopenMs; !existsSync(path); await sleep(10))
      if (Date.now() > until) throw new Error('conmon began no new file');
  } catch (error) {
    await link(aside, path).then(
      () => rm(aside),
      () => {}, // conmon made it after all
    );
    throw new PodwireError('LOG_ROTATION', `${path} is full and was not put aside: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return true;
}

/** Removes the oldest until `keep` are left, and compresses what is not yet. */
async function thinOut(older: readonly OlderLog[], keep: number): Promise<void> {
  const excess = Math.max(0, older.length - keep);
  for (const { path } of older.slice(0, excess)) await rm(path, { force: true });
  for (const log of older.slice(excess)) {
    if (log.compressed)
      await rm(log.path.slice(0, -'.gz'.length), { force: true }); // left by a crash
    else await compress(log.path);
  }
}

/** Its time stays that of its last line. A full disk leaves it as it was. */
async function compress(path: string): Promise<void> {
  const { mode, atime, mtime } = await stat(path);
  const half = `${path}.gz.tmp`;
  try {
    await pipeline(createReadStream(path), createGzip(), createWriteStream(half, { mode: mode & 0o777 }));
    await utimes(half, atime, mtime);
    await rename(half, `${path}.gz`);
    await rm(path);
  } catch (error) {
    await rm(half, { force: true });
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}
