// Opens what lies below a folder without ever leaving it, whoever changes the folder meanwhile: as openat2(2) with
// RESOLVE_BENEATH. Assumes /proc. Each component is opened by itself, never through a link, from the descriptor of
// the one before; a link is read and its target walked the same way. Four calls a component.
import { chmodSync, closeSync, constants, fstatSync, mkdirSync, openSync, readlinkSync } from 'node:fs';
import { PodwireError } from '../exec/errors.ts';

const pathOnly = 0o10000000; // O_PATH, which node:fs has no name for
const mostLinks = 40;

/** The path leads out of its folder, or in circles. */
export class EscapeError extends PodwireError {
  constructor(path: string, why: string) {
    super('PATH_ESCAPES', `${path}: ${why}`);
  }
}

/** The path of an open file, which leads to that very file whatever its name is by now. */
export const pathOfFd = (fd: number): string => `/proc/${process.pid}/fd/${fd}`;

/**
 * A descriptor (O_PATH) of `path` below the folder `root`, to be closed by the caller. With `createMode`, folders that
 * are missing are made. @throws EscapeError for a path or a link that leads out; ENOENT, ENOTDIR as node:fs
 */
export function openBeneath(root: string, path: string, options: { createMode?: number } = {}): number {
  // Descriptors of the way down, so that `..` is a step back and not a look-up.
  const way = [openSync(root, pathOnly | constants.O_DIRECTORY)];
  try {
    walk(way, path, options.createMode);
    return way.pop()!;
  } finally {
    for (const fd of way) closeSync(fd);
  }
}

function walk(way: number[], path: string, createMode: number | undefined): void {
  if (path.startsWith('/')) throw new EscapeError(path, 'an absolute path leads out of the volume');
  const pending = path.split('/').reverse();
  let links = 0;
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (way.length === 1) throw new EscapeError(path, 'leads out of the volume');
      closeSync(way.pop()!);
      continue;
    }
    const at = `${pathOfFd(way.at(-1)!)}/${name}`;
    const fd = openStep(at, createMode);
    if (!fstatSync(fd).isSymbolicLink()) {
      way.push(fd);
      continue;
    }
    closeSync(fd);
    if (++links > mostLinks) throw new EscapeError(path, 'too many links');
    const target = targetOf(at) ?? name; // no link any more: whoever changed it, it is looked at again
    if (target.startsWith('/')) throw new EscapeError(path, `${name} is a link to an absolute path`);
    pending.push(...target.split('/').reverse());
  }
}

/** Undefined for what is no link. */
function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return undefined;
    throw error;
  }
}

function openStep(path: string, createMode: number | undefined): number {
  const flags = pathOnly | constants.O_NOFOLLOW;
  try {
    return openSync(path, flags);
  } catch (error) {
    if (createMode === undefined || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  mkdirSync(path, createMode);
  const fd = openSync(path, flags);
  if (fstatSync(fd).isDirectory()) chmodSync(pathOfFd(fd), createMode); // whatever the umask
  return fd;
}
