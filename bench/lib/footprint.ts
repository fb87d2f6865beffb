// What the bench could leave on a machine, looked at before and after: names of kernel objects, rules, files.
// Assumes that others may change the machine meanwhile: a difference is reported, not blamed. Cost: O(objects), once.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { detectCgroups } from '../../lib/kernel/cgroup.ts';
import { listMounts } from '../../lib/kernel/mount.ts';
import { listNetns } from '../../lib/kernel/netns.ts';
import { findProgram } from '../../lib/exec/find-program.ts';

/** Kind → the names there are. */
export type Footprint = Readonly<Record<string, readonly string[]>>;

const watchedFolders = [
  '/run',
  '/var/lib',
  '/var/tmp',
  '/etc',
  '/etc/cni/net.d',
  '/etc/containers',
  '/dev/shm',
];

export async function takeFootprint(): Promise<Footprint> {
  return {
    'network namespace': listNetns(),
    link: readdirSync('/sys/class/net'),
    mount: listMounts('/'),
    cgroup: cgroupFolders().filter((path) => /podwire|libpod/.test(path)),
    rule: await rules(),
    file: watchedFolders.flatMap((folder) => namesIn(folder).map((name) => join(folder, name))),
  };
}

/** What is in `after` and was not in `before`, as `kind name`; a name that is there twice counts twice. Pure. */
export function whatIsNew(before: Footprint, after: Footprint): string[] {
  return Object.entries(after).flatMap(([kind, names]) => {
    const known = [...(before[kind] ?? [])];
    return names.flatMap((name) => {
      const at = known.indexOf(name);
      if (at < 0) return [`${kind} ${name}`];
      known.splice(at, 1);
      return [];
    });
  });
}

async function rules(): Promise<string[]> {
  const legacy = ['/proc/net/ip_tables_names', '/proc/net/ip6_tables_names'].flatMap((file) =>
    existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [],
  );
  if (!findProgram('nft')) return legacy;
  const { stdout } = await run({ argv: ['nft', '--stateless', 'list', 'ruleset'] });
  return [
    ...legacy,
    ...stdout
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean),
  ];
}

function cgroupFolders(): string[] {
  const { unified, v1 } = detectCgroups();
  const walk = (folder: string, depth: number): string[] =>
    depth === 0
      ? []
      : foldersIn(folder).flatMap((name) => [join(folder, name), ...walk(join(folder, name), depth - 1)]);
  return [...new Set([...Object.values(v1), ...(unified ? [unified] : [])])].flatMap((root) => walk(root, 4));
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return []; // a group that went while we walked
  }
}
