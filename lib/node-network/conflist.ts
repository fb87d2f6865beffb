// The default Pod network as a CNI conflist: one bridge with the node's Pod range behind it.
// Assumes masquerade is the node's (node-network.ts), so the plugin does none. lo is not in the list: it comes up with
// the namespace (kernel/netns.ts), at no cost of a plugin run. A person's own conflist in the folder wins.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { formatCidr } from '../cni/address.ts';
import { readIfThere, keepFile } from '../kernel/files.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { parseRanges, type RangeKind } from './ranges.ts';

export interface DefaultNetwork {
  /** Of the node, see NodePaths: networks of several nodes on one machine must not share a name. */
  readonly tag: string;
  /** `10.244.0.0/24`, or one a family with a comma between: `10.244.0.0/24,fd00:10:244::/64`. */
  readonly podCidr: string;
  readonly bridge: string;
  /** Folder of the leases. */
  readonly dataDir: string;
  readonly mtu?: number | undefined;
}

const podCidrKind: RangeKind = {
  code: 'INVALID_POD_CIDR',
  what: 'pod CIDR',
  example: '10.244.0.0/24',
  longest: { 4: 30, 6: 126 },
};

/** The ranges of a --pod-cidr, checked. @throws PodwireError INVALID_POD_CIDR that names the value */
export const parsePodCidr = (podCidr: string): string[] => parseRanges(podCidr, podCidrKind).map(formatCidr);

/** Bridge of a node: `podwire0`, or `pw<tag>` where several nodes share a machine. */
export const bridgeName = (tag: string): string => (tag === '' ? 'podwire0' : `pw${tag}`);

/** Of any node on this machine. */
export const isBridgeName = (name: string): boolean => /^(podwire0|pw[0-9a-f]{6})$/.test(name);

/** Name of the node's own network: the CNI cache, leases and GC go by it, so two nodes must not share one. */
export const networkName = (tag: string): string => (tag === '' ? 'podwire' : `podwire-${tag}`);

/** The conflist as an object. Pure. */
export function defaultConflist({ tag, podCidr, bridge, dataDir, mtu }: DefaultNetwork): object {
  const cidrs = parsePodCidr(podCidr);
  return {
    // Who knows several takes the best of them; containerd 1.6 and podman 4 know the first only, and none after it.
    cniVersion: '1.0.0',
    cniVersions: ['1.0.0', '1.1.0'],
    name: networkName(tag),
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        hairpinMode: true,
        ...(mtu === undefined ? {} : { mtu }),
        ipam: {
          type: 'host-local',
          dataDir,
          ranges: cidrs.map((subnet) => [{ subnet }]),
          routes: cidrs.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      // Run only for Pods with host ports, or with bandwidth annotations: see sandbox/cni-network.ts.
      { type: 'portmap', capabilities: { portMappings: true } },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ],
  };
}

/** Takes the conflist away that podwire wrote; one that somebody changed stays. Repeatable. */
export function removeDefaultConflist(paths: NodePaths): void {
  const [file, copy] = conflistFiles(paths);
  if (existsSync(file) && readIfThere(file) === readIfThere(copy)) rmSync(file);
  rmSync(copy, { force: true });
}

const conflistFiles = (paths: NodePaths): [string, string] => [
  join(paths.cniConf, '10-podwire.conflist'),
  join(paths.cni, 'generated.conflist'),
];

/** The node's subnets as podwire last wrote them into a conflist, with a comma between; undefined when it never did. */
export function generatedRanges(paths: NodePaths): string | undefined {
  try {
    const text = readIfThere(conflistFiles(paths)[1]) ?? '{}';
    const { plugins } = JSON.parse(text) as { plugins?: { ipam?: { ranges?: { subnet: string }[][] } }[] };
    return plugins?.[0]?.ipam?.ranges?.map(([range]) => range?.subnet).join();
  } catch {
    return undefined; // cut short by a full disk: as good as none
  }
}

/**
 * Writes the default conflist where the folder has none, or only one that podwire wrote and nobody changed (so that
 * another --pod-cidr takes effect). Gives the file written; undefined where a person's own stays.
 */
export function writeDefaultConflist(
  paths: NodePaths,
  network: Omit<DefaultNetwork, 'dataDir' | 'tag'>,
): string | undefined {
  mkdirSync(paths.cniConf, { recursive: true, mode: 0o755 });
  mkdirSync(paths.cni, { recursive: true, mode: 0o700 });
  const [file, copy] = conflistFiles(paths);
  const present = readdirSync(paths.cniConf).filter((name) => /\.(conflist|conf|json)$/.test(name));
  const own = present.length === 1 && existsSync(file) && readIfThere(file) === readIfThere(copy);
  if (present.length > 0 && !own) return undefined;
  const text = `${JSON.stringify(defaultConflist({ ...network, tag: paths.tag, dataDir: join(paths.cni, 'networks') }), null, 2)}\n`;
  keepFile(copy, text);
  keepFile(file, text, { mode: 0o644 });
  return file;
}
