// Gives each Pod with a user namespace 65536 ids of users and groups that nothing else on the machine has.
// Assumes that all nodes of a machine ask here: a taken range is a link in one folder of /run, named after its first id,
// that points at its sandbox. A link is made by one of two that want it, dies with the boot, and needs no other record.
import { mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { PodwireError } from '../exec/errors.ts';
import { readIfThere } from '../kernel/files.ts';
import type { NodePaths } from '../kernel/paths.ts';
import type { IdRange } from '../kernel/user-namespace.ts';

/** Kubernetes' length, and the only one: every id that 16 bits hold is there inside. Ranges begin at multiples of it. */
const length = 65536;
/** Ids are 32 bits, of which the kernel keeps the last for "none". */
const ranges = 65535;

/** The numbers (first id / 65536) of ranges in which the machine itself has ids. Pure. */
export function usedByMachine(files: {
  readonly users: readonly string[];
  readonly subordinate: readonly string[];
}): Set<number> {
  const used = new Set([0]);
  const take = (first: number, count: number): void => {
    if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || count < 1) return;
    for (let at = Math.floor(first / length); at <= Math.min((first + count - 1) / length, ranges); at++)
      used.add(at);
  };
  // name:password:ID:…, of users and of groups.
  for (const text of files.users)
    for (const line of text.split('\n')) if (line.split(':')[2]) take(Number(line.split(':')[2]), 1);
  // name:FIRST:COUNT: what rootless engines give their containers.
  for (const text of files.subordinate)
    for (const line of text.split('\n')) {
      const [, first, count] = line.split(':');
      if (first && count) take(Number(first), Number(count));
    }
  return used;
}

/** The lowest range that is free; undefined when none is. Pure. */
export function freeRange(used: ReadonlySet<number>): IdRange | undefined {
  for (let at = 1; at < ranges; at++) if (!used.has(at)) return { first: at * length, length };
  return undefined;
}

type Paths = Pick<NodePaths, 'userns' | 'sandboxes'>;

const folderOf = ({ userns }: Paths): string => join(userns, 'ids');

/** Takes a range for the sandbox in the folder `owner`. @throws PodwireError NO_IDS when all are taken */
export function takeIds(paths: Paths, owner: string, etc = '/etc'): IdRange {
  const folder = folderOf(paths);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const read = (...files: string[]): string[] => files.map((name) => readIfThere(join(etc, name)) ?? '');
  const used = usedByMachine({ users: read('passwd', 'group'), subordinate: read('subuid', 'subgid') });
  for (const name of readdirSync(folder)) used.add(Number(name) / length);
  for (;;) {
    const range = freeRange(used);
    if (!range) throw new PodwireError('NO_IDS', `${folder}: all ranges of user ids are taken`);
    try {
      symlinkSync(owner, join(folder, `${range.first}`));
      return range;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      used.add(range.first / length); // another node was faster
    }
  }
}

/** Gives a range back, if it is the owner's. Repeatable. */
export function freeIds(paths: Paths, range: IdRange, owner: string): void {
  const link = join(folderOf(paths), `${range.first}`);
  if (ownerOf(link) === owner) rmSync(link, { force: true });
}

/** Gives back what sandboxes of this node took that are not there any more; `live` are the folders of those that are. */
export function sweepIds(paths: Paths, live: ReadonlySet<string>): void {
  const folder = folderOf(paths);
  for (const name of listed(folder)) {
    const owner = ownerOf(join(folder, name));
    if (owner?.startsWith(`${paths.sandboxes}/`) && !live.has(owner))
      rmSync(join(folder, name), { force: true });
  }
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function ownerOf(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    return undefined; // given back between two looks
  }
}
