// What the daemon finds out about its machine at start: name, address, DNS, pause program, runtime version.
// Assumes /proc and /etc of a Linux machine. A few file reads and one process, once.
import { existsSync, readdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { cpus, hostname, type NetworkInterfaceInfo, networkInterfaces, totalmem } from 'node:os';
import { type Cidr, parseCidr } from '../../lib/cni/address.ts';
import {
  type ClusterRanges,
  type HostNetwork,
  hostFault,
  refuseServiceRange,
} from '../../lib/controllers/cluster-ranges.ts';
import { PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { fileSystemFigures } from '../../lib/kernel/disk.ts';
import { readIfThere } from '../../lib/kernel/files.ts';
import { defaultRouteDevice } from '../../lib/kernel/link.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import type { NodeAmounts } from '../../lib/kubelet/field-refs.ts';
import type { MachineFigures, NodeCapacity } from '../../lib/kubelet/node-capacity.ts';
import type { NodeDns } from '../../lib/kubelet/sandbox-config.ts';
import { isBridgeName } from '../../lib/node-network/conflist.ts';
import { isOwnLinkName } from '../../lib/node-network/own-link.ts';
import { parseResolvConf } from '../../lib/sandbox/etc-files.ts';

/** A valid Node name: the host name in lower case. @throws PodwireError BAD_NODE_NAME */
export function nodeName(given: string | undefined): string {
  const name = given ?? hostname().toLowerCase();
  if (name.length > 253 || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name))
    throw new PodwireError(
      'BAD_NODE_NAME',
      `node name "${name}": expected a DNS name; give one with --node-name`,
    );
  return name;
}

/**
 * The ranges that Pods and Services will have must not be ones that this machine's own links have.
 * @throws PodwireError HOST_IN_RANGE, RANGES_OVERLAP
 */
export function checkHost(flags: { readonly podCidr?: string }, ranges: ClusterRanges): void {
  const { services } = ranges;
  // With a subnet given by hand this node takes nothing of the cluster's range; who joins is checked against that.
  const byHand = flags.podCidr?.split(',').map((text) => parseCidr(text.trim()) as Cidr);
  for (const cidr of byHand ?? []) refuseServiceRange('--pod-cidr', cidr, services);
  const fault = hostFault({ pods: byHand ?? ranges.pods.map(({ cidr }) => cidr), services }, hostNetworks());
  if (fault !== undefined) throw new PodwireError('HOST_IN_RANGE', fault);
}

/** The networks this machine's links are on. */
export function hostNetworks(): HostNetwork[] {
  return Object.entries(networkInterfaces()).flatMap(([device, addresses = []]) =>
    addresses.flatMap(({ cidr, internal }) => (cidr === null || internal ? [] : [{ device, address: cidr }])),
  );
}

/** Whether a link of this machine has the address. */
export const hasAddress = (address: string): boolean =>
  Object.values(networkInterfaces()).some((held) => held?.some((one) => one.address === address));

/** The address given, else one that the machine has. @throws PodwireError BAD_NODE_IP */
export function nodeIp(given: string | undefined): string {
  if (given !== undefined && isIP(given) === 0)
    throw new PodwireError(
      'BAD_NODE_IP',
      `node address "${given}": expected an IPv4 or IPv6 address (--node-ip)`,
    );
  if (given !== undefined) return given;
  const interfaces = networkInterfaces();
  const onLink = Object.keys(interfaces).filter((name) => existsSync(`/sys/class/net/${name}/device`));
  return chooseAddress(interfaces, { byDefault: defaultRouteDevice(), onLink });
}

/** A bridge of Pods, or a tunnel to other nodes: ours from an earlier start, and no way by which another machine comes. */
const isOwnLink = (name: string): boolean => isBridgeName(name) || isOwnLinkName(name);

/** What the NAT of VirtualBox and of qemu gives to every machine: no other machine reaches one by it. */
const everyMachines = '10.0.2.15';

/**
 * The IPv4 address of the default route's interface; where every machine has that one, the first of a real network card;
 * else the first that is not loopback, else 127.0.0.1. Pure.
 */
export function chooseAddress(
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>,
  { byDefault, onLink }: { readonly byDefault: string | undefined; readonly onLink: readonly string[] },
): string {
  const first = (name: string): string | undefined =>
    interfaces[name]?.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  const known = [...(byDefault === undefined ? [] : [byDefault]), ...onLink].map(first);
  const rest = Object.keys(interfaces).filter((name) => !isOwnLink(name));
  const all = [...known, ...rest.map(first)].filter((one) => one !== undefined);
  return known.find((one) => one !== undefined && one !== everyMachines) ?? all[0] ?? '127.0.0.1';
}

/** Pods' DNS; a resolver on loopback (systemd-resolved) is no use to a Pod, so its upstream list is taken. */
export function nodeDns(cluster: readonly string[], clusterDomain: string): NodeDns {
  const own = parseResolvConf(readIfThere('/etc/resolv.conf') ?? '');
  const loopback = own.servers.some((server) => server.startsWith('127.') || server === '::1');
  const upstream = loopback ? readIfThere('/run/systemd/resolve/resolv.conf') : undefined;
  return { node: upstream ? parseResolvConf(upstream) : own, cluster, clusterDomain };
}

/** catatonit reaps orphans in a shared pid namespace; sleep is what every machine has. */
export function pauseArgv(): readonly [string, ...string[]] {
  const catatonit = findProgram('catatonit');
  return catatonit ? [catatonit, '-P'] : [needProgram('sleep'), 'infinity'];
}

/** Absolute path of a program the daemon cannot do without. @throws PodwireError PROGRAM_MISSING */
export function needProgram(name: string): string {
  const path = findProgram(name);
  if (path) return path;
  throw new PodwireError(
    'PROGRAM_MISSING',
    `${name}: program not found; "podwire doctor" tells how to install it`,
  );
}

/** `crun://1.8.1` */
export async function runtimeVersion(name: string, path: string): Promise<string> {
  const { stdout } = await run({ argv: [path, '--version'] });
  return `${name}://${/version\s+(\S+)/.exec(stdout)?.[1] ?? 'unknown'}`;
}

/** What the machine has; the disk is the one that holds `folder`. */
export function machineFigures(folder: string, maxPods: number): MachineFigures {
  const { capacity: disk } = fileSystemFigures(folder);
  return { cpus: cpus().length, memory: totalmem(), disk, hugePages: hugePages(), maxPods };
}

/** What Pods may have of it: what a limit counts as that is not set. */
export const nodeAmounts = ({ allocatable }: NodeCapacity): NodeAmounts => ({
  cpu: (allocatable.cpu ?? 0) / 1000,
  memory: allocatable.memory ?? 0,
  ephemeralStorage: allocatable['ephemeral-storage'] ?? 0,
});

const hugePagesFolder = '/sys/kernel/mm/hugepages';

/** Bytes of the pages that the machine keeps, by resource: hugepages-2Mi. */
function hugePages(): Record<string, number> {
  if (!existsSync(hugePagesFolder)) return {};
  return Object.fromEntries(
    readdirSync(hugePagesFolder).flatMap((name): [string, number][] => {
      const kib = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
      if (!kib) return [];
      const pages = Number(readIfThere(`${hugePagesFolder}/${name}/nr_hugepages`) ?? 0);
      const size =
        kib >= 1024 * 1024 ? `${kib / 1024 / 1024}Gi` : kib >= 1024 ? `${kib / 1024}Mi` : `${kib}Ki`;
      return [[`hugepages-${size}`, pages * kib * 1024]];
    }),
  );
}

const sysResource = 1n << 24n; // CAP_SYS_RESOURCE

/** Without that capability nobody may be safer from the kernel's killer than the daemon itself is. */
export function leastOomScore(): number {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readIfThere('/proc/self/status') ?? '')?.[1] ?? '0';
  const mayLower = (BigInt(`0x${mask}`) & sysResource) !== 0n;
  return mayLower ? -1000 : Number(readIfThere('/proc/self/oom_score_adj') ?? 0);
}
