// Files of a volume that change all at once: they lie in a folder of their own, `..data` links to it, and the names
// that a container knows link into `..data`; one rename of that link changes everything.
// Assumes nobody else writes the volume (it is read-only for containers). A write costs its files; equal contents
// cost a read of them. The layout is the one that Kubernetes' users know; the code is our own.
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Payload } from './volume.ts';

const link = '..data';
const nextLink = '..data_tmp';
const setGid = 0o2000;

export interface WriteOptions {
  /** Group that may read, as fsGroup asks. */
  readonly gid?: number | undefined;
}

/** Gives true when something changed. A failure or a crash leaves the old contents in place. */
export function writeAtomically(dir: string, payload: Payload, options: WriteOptions = {}): boolean {
  for (const path of payload.keys()) checkPath(path);
  const old = currentOf(dir);
  const changed = old === undefined || !isSame(join(dir, old), payload, options);
  if (changed) {
    const fresh = writeFolder(dir, payload, options);
    rmSync(join(dir, nextLink), { force: true });
    symlinkSync(fresh, join(dir, nextLink));
    renameSync(join(dir, nextLink), join(dir, link));
  }
  showNames(dir, payload);
  removeOld(dir);
  return changed;
}

/** True when the volume was written before. */
export const isWritten = (dir: string): boolean => currentOf(dir) !== undefined;

/** @throws RangeError; validation has refused such paths already, and this is the last place to notice */
function checkPath(path: string): void {
  const parts = path.split('/');
  if (path.startsWith('..') || parts.some((part) => part === '' || part === '.' || part === '..'))
    throw new RangeError(`${JSON.stringify(path)} is no path inside a volume`);
}

function currentOf(dir: string): string | undefined {
  try {
    const name = readlinkSync(join(dir, link));
    return existsSync(join(dir, name)) ? name : undefined;
  } catch {
    return undefined;
  }
}

/** What fsGroup adds: its members read files and enter folders. Source: kubelet's SetVolumeOwnership (read-only). */
const fileMode = (mode: number, { gid }: WriteOptions): number => (gid === undefined ? mode : mode | 0o440);
const folderMode = ({ gid }: WriteOptions): number => (gid === undefined ? 0o755 : 0o755 | setGid);

function writeFolder(dir: string, payload: Payload, options: WriteOptions): string {
  const stamp = new Date().toISOString().replace(/[-:]/g, '_').replace('T', '_').replace('Z', '');
  const path = mkdtempSync(join(dir, `..${stamp}.`));
  try {
    fillFolder(path, payload, options);
  } catch (error) {
    rmSync(path, { recursive: true, force: true }); // it would be tried again and again
    throw error;
  }
  return path.slice(dir.length + 1);
}

function fillFolder(path: string, payload: Payload, options: WriteOptions): void {
  own(path, folderMode(options), options);
  for (const [name, { data, mode }] of payload) {
    let folder = path;
    for (const part of name.split('/').slice(0, -1)) {
      folder = join(folder, part);
      if (existsSync(folder)) continue;
      mkdirSync(folder, { mode: 0o700 });
      own(folder, folderMode(options), options);
    }
    const file = join(path, name);
    writeFileSync(file, data, { mode: 0o600, flag: 'wx' });
    own(file, fileMode(mode, options), options);
  }
}

function own(path: string, mode: number, { gid }: WriteOptions): void {
  if (gid !== undefined) chownSync(path, 0, gid);
  chmodSync(path, mode); // whatever the umask; and after chown, which clears setgid
}

function isSame(folder: string, payload: Payload, options: WriteOptions): boolean {
  const there = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = there.filter((entry) => entry.isFile()).length;
  if (files !== payload.size) return false;
  for (const [name, { data, mode }] of payload) {
    const path = join(folder, name);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (!stats?.isFile() || stats.size !== data.length) return false;
    if ((stats.mode & 0o7777) !== fileMode(mode, options) || stats.gid !== (options.gid ?? stats.gid))
      return false;
    if (!readFileSync(path).equals(data)) return false;
  }
  return true;
}

/** A link for each name at the top that is in the contents, and none for what is not any more. */
function showNames(dir: string, payload: Payload): void {
  const wanted = new Set([...payload.keys()].map((path) => path.split('/')[0]!));
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.name.startsWith('..')) continue;
    if (wanted.delete(entry.name)) continue;
    if (entry.isSymbolicLink()) rmSync(join(dir, entry.name));
  }
  for (const name of wanted) symlinkSync(join(link, name), join(dir, name));
}

/** The contents before, and what a crash left half written. */
function removeOld(dir: string): void {
  const current = currentOf(dir);
  for (const name of readdirSync(dir))
    if (/^\.\.\d/.test(name) && name !== current) rmSync(join(dir, name), { recursive: true, force: true });
}

/** The folder that holds a volume's contents. */
export function makeVolumeDir(dir: string): void {
  mkdirSync(dirname(dir), { recursive: true });
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  chmodSync(dir, 0o755);
}
