// Small files that must never be read half written: temp + fsync + rename, and reading with "not there" told apart.
// Assumes the folder exists and temp names are the caller's alone. One fsync a durable write.
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';

/** Replaces a file in one step. `durable: false` (for /run, which dies with the boot) leaves the fsync out. */
export function replaceFile(
  path: string,
  text: string,
  options: { mode?: number; durable?: boolean } = {},
): void {
  const { mode = 0o600, durable = true } = options;
  const temporary = `${path}.tmp`;
  const fd = openSync(temporary, 'w', mode);
  try {
    writeSync(fd, text);
    if (durable) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}

/** The text of a file, undefined where there is none; every other failure is thrown. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
