// nftables by `nft`: a text is one transaction, so it takes effect whole or not at all.
// Assumes nft >= 1.0 and texts made by our own pure functions. One process (3 ms) a transaction.
import { runLazily } from '../exec/run-lazily.ts';
import { isAbsent, toKernelError } from './errors.ts';
import { type KernelOptions, netnsArgv } from './ip.ts';
import { traceFromEnv } from './trace.ts';

/** Applies a script in one transaction. @throws KernelError; ENOENT where a table, chain or set is not there */
export async function nftApply(text: string, options: KernelOptions = {}): Promise<void> {
  const { netns, exec = runLazily, trace = traceFromEnv(), signal } = options;
  try {
    await exec({ argv: netnsArgv(netns, ['nft', '-f', '-']), input: text, ...(signal ? { signal } : {}) });
  } catch (error) {
    throw toKernelError(error, 'nft -f -');
  }
  trace({ tool: 'nft', ...(netns === undefined ? {} : { netns }), lines: text.trimEnd().split('\n') });
}

/** One object of `nft -j list …`: a single key that names its kind. */
export type NftObject = Record<string, Record<string, unknown>>;

/**
 * `nft -j list WHAT`, e.g. ['table', 'inet', 'podwire']; undefined where it does not exist.
 * Source of the shape: libnftables-json(5).
 */
export async function nftList(
  what: readonly string[],
  options: KernelOptions = {},
): Promise<NftObject[] | undefined> {
  const { netns, exec = runLazily, signal } = options;
  const argv = netnsArgv(netns, ['nft', '-j', 'list', ...what]);
  try {
    const { stdout } = await exec({ argv, ...(signal ? { signal } : {}) });
    return (JSON.parse(stdout) as { nftables: NftObject[] }).nftables;
  } catch (error) {
    const mapped = toKernelError(error, argv.join(' '));
    if (isAbsent(mapped)) return undefined;
    throw mapped;
  }
}

/** Whether a table, as nftList gives it, holds nothing but its frame: no set or map has an element. Pure. */
export const isIdleTable = (objects: readonly NftObject[]): boolean =>
  objects.every(({ set, map }) => {
    const elements = (set ?? map)?.elem;
    return !Array.isArray(elements) || elements.length === 0;
  });

/**
 * Removes a table in which nobody keeps anything any more. Repeatable. An element that somebody adds between the look and the
 * removal goes with it: a table that several programs share is taken away only when this one's last Pod has gone.
 */
export async function deleteIdleTable(
  [family, name]: readonly [family: string, name: string],
  options: KernelOptions = {},
): Promise<void> {
  const objects = await nftList(['table', family, name], options);
  if (objects === undefined || !isIdleTable(objects)) return;
  await nftApply(`add table ${family} ${name}\ndelete table ${family} ${name}\n`, options);
}

/** A text in nft's double quotes. nft has no escapes: what cannot stand there is replaced, and cut at 120. Pure. */
export function nftComment(text: string): string {
  return `"${text.replaceAll(/[^ -~]|["\\]/g, '_').slice(0, 120)}"`;
}
