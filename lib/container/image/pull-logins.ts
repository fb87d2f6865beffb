// Logins tried one after the other, and the key that keeps pulls with different logins apart. Assumes the caller found out
// which ones are for this registry. What is in a login is never logged, and no key shows it.
import { createHash } from 'node:crypto';
import type { RegistryLogin } from '../cri.ts';

/** The first that works; without any, `pull` is asked once with undefined. @throws what the last one met */
export async function withLogins<T>(
  logins: readonly RegistryLogin[],
  signal: AbortSignal,
  pull: (login: RegistryLogin | undefined) => Promise<T>,
): Promise<T> {
  let failure: unknown;
  for (const login of logins.length > 0 ? logins : [undefined])
    try {
      return await pull(login);
    } catch (error) {
      failure = error;
      if (signal.aborted) break;
    }
  throw failure;
}

/** Who has no right to an image must not wait for, and get, the pull of who has. */
export function fetchKey(name: string, logins: readonly RegistryLogin[] = []): string {
  if (logins.length === 0) return name;
  return `${name} ${createHash('sha256').update(JSON.stringify(logins)).digest('hex')}`;
}
