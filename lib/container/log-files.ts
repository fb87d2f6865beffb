// The files of one container's log: the one that conmon writes (0.log) and the older ones beside it, named as the kubelet
// names them: 0.log.20260102-150405, with .gz when compressed. Their time tells their order.
// Assumes one writer of names a log (rotateLog). A look is one read of the folder.
import { createReadStream, existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

export interface OlderLog {
  readonly path: string;
  /** 20260102-150405: when it was put aside. */
  readonly stamp: string;
  readonly compressed: boolean;
}

/** The older files of a log, the oldest first; [] where there are none. One found in both forms is given compressed. */
export async function olderLogs(path: string): Promise<OlderLog[]> {
  const dir = dirname(path);
  const names = await readdir(dir).catch(() => []);
  return sortOlder(basename(path), names).map(({ name, ...log }) => ({ ...log, path: join(dir, name) }));
}

/** Pure. */
export function sortOlder(log: string, names: readonly string[]) {
  const found = new Map<string, { name: string; stamp: string; compressed: boolean }>();
  for (const name of names) {
    const [, stamp, gz] = /^\.([0-9]{8}-[0-9]{6})(\.gz)?$/.exec(ending(log, name)) ?? [];
    if (stamp !== undefined && (gz || !found.has(stamp)))
      found.set(stamp, { name, stamp, compressed: gz !== undefined });
  }
  return [...found.values()].sort((one, other) => (one.stamp < other.stamp ? -1 : 1));
}

const ending = (log: string, name: string): string => (name.startsWith(log) ? name.slice(log.length) : '');

/** The name's time for a file put aside now: later than every earlier one, whatever the clock says. Pure. */
export function nextStamp(newest: string | undefined, now: Date): string {
  const stamp = stampOf(now);
  if (newest === undefined || stamp > newest) return stamp;
  const [, year, month, day, hour, minute, second] = /(....)(..)(..)-(..)(..)(..)/.exec(newest)!.map(Number);
  return stampOf(new Date(Date.UTC(year!, month! - 1, day!, hour!, minute!, second! + 1)));
}

const stampOf = (time: Date): string =>
  time.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-');

/** Also of a log that was put aside and never begun anew. */
export const hasLog = async (path: string): Promise<boolean> =>
  existsSync(path) || (await olderLogs(path)).length > 0;

/** The bytes of an older file as they were written; fails with ENOENT when it was compressed or removed meanwhile. */
export function readOlder({ path, compressed }: OlderLog): Readable {
  const file = createReadStream(path);
  return compressed ? pipeline(file, createGunzip(), () => {}) : file;
}

/** A log with all that belongs to it. */
export async function removeLog(path: string): Promise<void> {
  const dir = dirname(path);
  const names = await readdir(dir).catch(() => []);
  const mine = names.filter((name) =>
    /^(\.[0-9-]+(\.gz(\.tmp)?)?|\.tmp|)$/.test(ending(basename(path), name)),
  );
  await Promise.all(
    mine
      .filter((name) => name.startsWith(basename(path)))
      .map((name) => rm(join(dir, name), { force: true })),
  );
}
