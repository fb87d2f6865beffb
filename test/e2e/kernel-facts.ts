// What the kernel and the disk have of a node, as JSON: namespaces and their addresses, cgroups, mounts, conmons, links, leases.
// Run as a program inside a machine (`node kernel-facts.ts ROOT`), or called. Asks podwire nothing. A few ms a namespace.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../lib/exec/exec.ts';
import { cgroupProcs, detectCgroups } from '../../lib/kernel/cgroup.ts';
import { listMounts } from '../../lib/kernel/mount.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';

export interface KernelFacts {
  /** Global addresses of eth0, by name of the namespace; null where it has no eth0. */
  readonly netns: Readonly<Record<string, readonly string[] | null>>;
  /** Pids by group below the node's own: `pod<uid>` → `pause` or container id → pids. */
  readonly cgroups: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;
  readonly mounts: readonly string[];
  /** Container ids that a conmon of this node stands for. */
  readonly conmons: readonly string[];
  /** Ports of the node's bridge. */
  readonly ports: readonly string[];
  /** Address → container id, as host-local keeps it. */
  readonly leases: Readonly<Record<string, string>>;
  /** Folders below run/podwire and var/lib/podwire, by kind. */
  readonly sandboxes: readonly string[];
  /** Container id → its sandbox, as its record says; '' where there is none. */
  readonly containers: Readonly<Record<string, string>>;
  readonly overlays: readonly string[];
  readonly volumes: readonly string[];
}

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

export async function kernelFacts(root: string): Promise<KernelFacts> {
  const paths = nodePaths(root);
  const names = entries('/run/netns');
  const netns = await Promise.all(names.map(async (name) => [name, await addressesIn(name)] as const));
  return {
    netns: Object.fromEntries(netns),
    cgroups: cgroupsOf(paths.cgroup),
    mounts: listMounts(paths.root),
    conmons: conmonsOf(paths.containers),
    ports: entries(`/sys/class/net/pw${paths.tag}/brif`),
    leases: leasesIn(join(paths.cni, 'networks')),
    sandboxes: entries(paths.sandboxes),
    containers: containersIn(paths.containers),
    overlays: entries(paths.overlay),
    volumes: entries(paths.pods),
  };
}

async function addressesIn(netns: string): Promise<string[] | null> {
  const { stdout, exitCode } = await run({
    argv: ['ip', '-n', netns, '-j', 'address', 'show', 'dev', 'eth0', 'scope', 'global'],
    okCodes: [0, 1, 255],
  });
  if (exitCode !== 0) return null;
  const links = JSON.parse(stdout || '[]') as { addr_info?: { local?: string }[] }[];
  return links.flatMap(({ addr_info = [] }) => addr_info.flatMap(({ local }) => local ?? []));
}

/** Of the node whose group above all Pods is `name`. */
export function cgroupsOf(name: string): KernelFacts['cgroups'] {
  const { unified, v1 } = detectCgroups();
  const order = [v1.pids, v1.memory, v1.freezer, v1.cpu, v1['name=systemd'], unified];
  const top = order.map((at) => at && join(at, name)).find((at) => at !== undefined && existsSync(at));
  if (top === undefined) return {};
  const folders = (at: string): string[] => {
    try {
      const found = readdirSync(at, { withFileTypes: true });
      return found.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
    } catch {
      return []; // it is going just now
    }
  };
  const below = (pod: string): [string, number[]][] =>
    folders(join(top, pod)).map((group) => [group, cgroupProcs(`${name}/${pod}/${group}`)]);
  return Object.fromEntries(folders(top).map((pod) => [pod, Object.fromEntries(below(pod))]));
}

function conmonsOf(containers: string): string[] {
  const found = entries('/proc').filter((entry) => /^\d+$/.test(entry));
  return found.flatMap((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const bundle = words.find((word) => word.startsWith(`${containers}/`));
      if (!words[0]?.endsWith('conmon') || bundle === undefined) return [];
      return bundle.slice(containers.length + 1, containers.length + 65);
    } catch {
      return []; // it has ended
    }
  });
}

function containersIn(folder: string): Record<string, string> {
  const ids = entries(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const sandboxOf = (id: string): string => {
    try {
      return (JSON.parse(readFileSync(join(folder, id, 'container.json'), 'utf8')) as { sandboxId: string })
        .sandboxId;
    } catch {
      return '';
    }
  };
  return Object.fromEntries(ids.map((id) => [id, sandboxOf(id)]));
}

function leasesIn(folder: string): Record<string, string> {
  const files = entries(folder).flatMap((network) =>
    entries(join(folder, network)).map((name) => [name, join(folder, network, name)] as const),
  );
  const leases = files.filter(([name]) => /^\d+\.\d+\.\d+\.\d+$|:/.test(name));
  return Object.fromEntries(
    leases.map(([name, file]) => [name, readFileSync(file, 'utf8').split(/\r?\n/)[0] ?? '']),
  );
}

const [asked] = process.argv.slice(2);
if (import.meta.main && asked !== undefined) process.stdout.write(JSON.stringify(await kernelFacts(asked)));
