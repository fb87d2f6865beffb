// Kernel parameters below /proc/sys. Those under net/ belong to the reader's own network namespace.
// Assumes keys with dots as sysctl(8) writes them, or with slashes where a part has dots (eth0.100).
// A file read or write each; in another namespace one process.
import { readFileSync, writeFileSync } from 'node:fs';
import { runLazily } from '../exec/run-lazily.ts';
import { KernelError, toKernelError } from './errors.ts';
import { type KernelOptions, netnsArgv } from './ip.ts';
import { traceFromEnv } from './trace.ts';

/** The file of a key. @throws KernelError EINVAL for a key that would leave /proc/sys. Pure. */
export function sysctlPath(key: string): string {
  const parts = key.includes('/') ? key.split('/') : key.split('.');
  if (parts.length < 2 || parts.some((part) => !/^[\w.@:-]+$/.test(part) || part === '.' || part === '..'))
    throw new KernelError(
      'EINVAL',
      key,
      `sysctl ${JSON.stringify(key)}: not a key such as net.ipv4.ip_forward`,
    );
  return `/proc/sys/${parts.join('/')}`;
}

/** The value, trimmed; undefined where this kernel has no such key. */
export async function readSysctl(key: string, options: KernelOptions = {}): Promise<string | undefined> {
  const path = sysctlPath(key);
  if (options.netns === undefined) return readHere(path);
  try {
    const { stdout } = await (options.exec ?? runLazily)({ argv: netnsArgv(options.netns, ['cat', path]) });
    return stdout.trim();
  } catch (error) {
    const mapped = toKernelError(error, `sysctl ${key}`);
    if (mapped instanceof KernelError && mapped.code === 'ENOENT') return undefined;
    throw mapped;
  }
}

function readHere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Sets a value. @throws KernelError ENOENT (no such key), EINVAL (value refused), EPERM */
export async function writeSysctl(key: string, value: string, options: KernelOptions = {}): Promise<void> {
  const path = sysctlPath(key);
  const { netns, exec = runLazily, trace = traceFromEnv() } = options;
  if (netns === undefined) writeHere(path, key, value);
  else {
    try {
      await exec({ argv: netnsArgv(netns, ['tee', path]), input: value });
    } catch (error) {
      throw toKernelError(error, `sysctl ${key}=${value}`);
    }
  }
  trace({ tool: 'sysctl', ...(netns === undefined ? {} : { netns }), lines: [`${key}=${value}`] });
}

function writeHere(path: string, key: string, value: string): void {
  try {
    writeFileSync(path, value, { flag: 'r+' });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const errno =
      code === 'ENOENT' || code === 'EINVAL'
        ? code
        : code === 'EROFS' || code === 'EACCES'
          ? 'EPERM'
          : 'EUNKNOWN';
    throw new KernelError(errno, key, `sysctl ${key}=${value}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Writes only what differs; gives the former value. */
export async function ensureSysctl(
  key: string,
  value: string,
  options: KernelOptions = {},
): Promise<string | undefined> {
  const former = await readSysctl(key, options);
  if (former !== value) await writeSysctl(key, value, options);
  else {
    const { netns, trace = traceFromEnv() } = options;
    trace({
      tool: 'sysctl',
      ...(netns === undefined ? {} : { netns }),
      lines: [`${key}=${value}`],
      held: true,
    });
  }
  return former;
}
