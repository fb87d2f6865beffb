// What the network needs once a node and not once a Pod: forwarding, and masquerade for Pods that leave the Pod range.
// Assumes root, nftables, and that one process a node calls it. Repeatable: a transaction replaces the whole table.
// What the machine had before is kept in <run>/node-network.json, and put back by removeNodeNetwork.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Cidr, contains, formatCidr, parseCidr } from '../cni/address.ts';
import { settleAll } from '../exec/errors.ts';
import type { ExecUntil } from '../exec/run-sync.ts';
import { readIfThere, keepFile } from '../kernel/files.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { deleteLink } from '../kernel/link.ts';
import { deleteIdleTable, nftApply, nftComment, nftList } from '../kernel/nftables.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { ensureSysctl, readSysctl, writeSysctl } from '../kernel/sysctl.ts';
import { createBackend } from './backends.ts';
import { bridgeName, parsePodCidr } from './conflist.ts';
import { backendNames } from './types.ts';

export interface NodeNetwork extends Pick<KernelOptions, 'exec' | 'trace'> {
  readonly podCidr: string;
  /** Ranges of all nodes' Pods, and subnets that lie in none of them; the node's own unless told. */
  readonly clusterCidrs?: readonly string[];
  readonly paths: NodePaths;
  /** For the bridge's removal; a fake in tests. */
  readonly until?: ExecUntil;
}

/** Name of the node's nftables table, family inet. */
export const tableName = (tag: string): string => (tag === '' ? 'podwire' : `podwire-${tag}`);

/** The transaction that makes the table anew. Pure. */
export function nodeTable(podCidr: string, tag: string, clusterCidrs: readonly string[] = []): string {
  const table = `inet ${tableName(tag)}`;
  const rules = parsePodCidr(podCidr).map((cidr) => {
    const [ip, multicast] = cidr.includes(':') ? ['ip6', 'ff00::/8'] : ['ip', '224.0.0.0/4'];
    const comment = nftComment(`podwire: Pods leave ${cidr} under the node's address`);
    const near = [...nearNets(cidr, clusterCidrs), multicast].join(', ');
    return `    ${ip} saddr ${cidr} ${ip} daddr != { ${near} } masquerade comment ${comment}`;
  });
  return [
    `add table ${table}`, // deleting needs it to be there
    `delete table ${table}`,
    `table ${table} {`,
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Where Pods are, which see each other's real addresses: nft takes no net of a set twice, also not as a part of another. */
function nearNets(own: string, clusterCidrs: readonly string[]): string[] {
  const net = parseCidr(own) as Cidr;
  const near = [net, ...clusterCidrs.flatMap((text) => parseCidr(text) ?? [])].filter(
    ({ ip }) => ip.family === net.ip.family,
  );
  const isPart = (one: Cidr, at: number): boolean =>
    near.some(
      (other, where) =>
        contains(other, one.ip) && (other.length < one.length || (other.length === one.length && where < at)),
    );
  return near.filter((one, at) => !isPart(one, at)).map(formatCidr);
}

const forwardKey = (cidr: string): string =>
  cidr.includes(':') ? 'net.ipv6.conf.all.forwarding' : 'net.ipv4.ip_forward';
const stateFile = (paths: NodePaths): string => join(paths.run, 'node-network.json');

interface Former {
  readonly sysctls: Readonly<Record<string, string>>;
}

/** Turns forwarding on and makes the table. @throws KernelError, PodwireError INVALID_POD_CIDR */
export async function ensureNodeNetwork(network: NodeNetwork): Promise<void> {
  const { podCidr, paths } = network;
  const options = kernelOptions(network);
  const text = nodeTable(podCidr, paths.tag, network.clusterCidrs);
  mkdirSync(paths.run, { recursive: true, mode: 0o700 });
  const sysctls: Record<string, string> = { ...readFormer(paths).sysctls };
  for (const key of parsePodCidr(podCidr).map(forwardKey)) {
    const former = await ensureSysctl(key, '1', options);
    // The first answer is the machine's own; after a restart it is our "1" that is read.
    if (former !== undefined) sysctls[key] ??= former;
  }
  keepFile(stateFile(paths), JSON.stringify({ sysctls }), { durable: false });
  await nftApply(text, options);
}

const kernelOptions = ({ exec, trace }: NodeNetwork): KernelOptions => ({
  ...(exec ? { exec } : {}),
  ...(trace ? { trace } : {}),
});

function readFormer(paths: NodePaths): Former {
  try {
    const value = JSON.parse(readIfThere(stateFile(paths)) ?? '{}') as Partial<Former>;
    return { sysctls: value.sysctls ?? {} };
  } catch {
    return { sysctls: {} }; // cut short: what the machine had is not known any more, and is left as it is
  }
}

/** True where nobody took the table away. One process. */
export async function nodeTableIsThere(network: Pick<NodeNetwork, 'paths' | 'exec'>): Promise<boolean> {
  const options = network.exec ? { exec: network.exec } : {};
  const table = await nftList(['table', 'inet', tableName(network.paths.tag)], options);
  return table?.some((object) => object.rule !== undefined) ?? false;
}

/** True while the machine forwards; `sysctl --system` of a person may turn it off. One file read a family. */
export async function forwards(podCidr: string): Promise<boolean> {
  const values = await Promise.all(parsePodCidr(podCidr).map((cidr) => readSysctl(forwardKey(cidr))));
  return values.every((value) => value !== '0');
}

/** What the CNI plugins (portmap, bridge, firewall) share with other runtimes of this machine: theirs to keep, if they use it. */
export const pluginTables = [
  ['inet', 'podwire-hostport'],
  ['inet', 'podwire-cni'],
] as const;

/** Takes table and bridge away and puts back what was before. Repeatable; tries everything. */
export async function removeNodeNetwork(network: Omit<NodeNetwork, 'podCidr'>): Promise<void> {
  const { paths } = network;
  const options = kernelOptions({ ...network, podCidr: '' });
  const table = `inet ${tableName(paths.tag)}`;
  await settleAll('remove node network', [
    ...backendNames.map((name) => () => createBackend({ name }, paths, options).remove()),
    () => nftApply(`add table ${table}\ndelete table ${table}\n`, options),
    ...pluginTables.map((shared) => () => deleteIdleTable(shared, options)),
    () =>
      deleteLink(bridgeName(paths.tag), { ...options, ...(network.until ? { until: network.until } : {}) }),
    () => restoreSysctls(paths, options),
    () => rmSync(join(paths.state, 'network-backend'), { force: true }),
    () => rmSync(join(paths.state, 'wireguard.key'), { force: true }),
  ]);
}

/** Not while another node on this machine still forwards. */
async function restoreSysctls(paths: NodePaths, options: KernelOptions): Promise<void> {
  const tables = (await nftList(['tables'], options)) ?? [];
  const others = tables.filter(
    ({ table }) =>
      /^podwire(-[0-9a-f]{6})?$/.test(String(table?.name)) && table?.name !== tableName(paths.tag),
  );
  if (others.length === 0)
    for (const [key, value] of Object.entries(readFormer(paths).sysctls))
      await writeSysctl(key, value, options);
  rmSync(stateFile(paths), { force: true });
}
