// Looks a program up in PATH, as a shell would. A few stats a call.
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { baseEnv } from './base-env.ts';

/** Absolute path of a program, searched in PATH when its name has no slash; undefined when there is none. */
export function findProgram(name: string): string | undefined {
  if (name.includes('/')) return isProgram(name) ? name : undefined;
  const folders = baseEnv().PATH?.split(delimiter).filter(Boolean) ?? [];
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
