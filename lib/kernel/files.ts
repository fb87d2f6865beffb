// Small files that must never be read half written: temp + fsync + rename, and reading with "not there" told apart.
// Assumes the folder exists and temp names are the caller's alone. One fsync a durable write.
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Replaces a file in one step, or throws (ENOSPC) and leaves the old one as it is. `durable: false` (for /run, which dies
 * with the boot) leaves the fsync out.
 */
export function replaceFile(
  path: string,
  text: string,
  options: { mode?: number; durable?: boolean } = {},
): void {
  const { mode = 0o600, durable = true } = options;
  const temporary = `${path}.tmp`;
  try {
    const fd = openSync(temporary, 'w', mode);
    try {
      writeFileSync(fd, text); // unlike writeSync, all of it: a nearly full disk takes a part without an error
      if (durable) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    try {
      rmSync(temporary, { force: true });
    } catch {
      // What failed first is what is told.
    }
    throw error;
  }
}

/** As replaceFile, but writes nothing where that text stands already: what is as it should be needs no room on a full disk. */
export function keepFile(
  path: string,
  text: string,
  options: { mode?: number; durable?: boolean } = {},
): void {
  if (readIfThere(path) !== text) replaceFile(path, text, options);
}

/** The text of a file; undefined where there is none, which `absent` (errnos) may widen. Other failures are thrown. */
export function readIfThere(path: string, absent: readonly string[] = ['ENOENT']): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (absent.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}
