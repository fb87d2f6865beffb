// What a lab is made of, as data: names, addresses, links, and the lines that make and fault them.
// Assumes names were checked (checkLabName). One bridge, one port a node. Pure.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { PodwireError } from '../exec/errors.ts';

export interface LabSpec {
  /** A DNS label of at most 20 characters. */
  readonly name: string;
  /** 1 to 200. */
  readonly nodes: number;
  /** IPv4 /24 of the machines themselves: node n has .n, the machine that runs the lab has .254. */
  readonly underlay: string;
  /** Of the machines' links; the Pods' is smaller by what their tunnel adds. */
  readonly mtu: number;
}

export interface LabMachine {
  readonly name: string;
  /** Network namespace on the machine that runs the lab: `ip netns exec` works. */
  readonly netns: string;
  readonly address: string;
  /** fd00 and the underlay's numbers, for backends that route by the nodes' own addresses. */
  readonly address6: string;
  readonly mac: string;
  /** Its port on the underlay bridge: named after the machine. */
  readonly port: string;
  /** Its disk: podwire's --root, its machine id, its boot id. */
  readonly root: string;
}

export interface LabPlan {
  readonly spec: LabSpec;
  readonly folder: string;
  /** The namespace that holds the bridge. */
  readonly netns: string;
  /** The link of the machine that runs the lab into the underlay. */
  readonly uplink: string;
  readonly uplinkAddress: string;
  readonly machines: readonly LabMachine[];
}

export class LabError extends PodwireError {}

export const defaultUnderlay = '172.30.229.0/24';
export const labsFolder = '/var/lib/podwire-lab';
export const bridge = 'underlay';

/** @throws LabError LAB_NAME: names become paths and names of links */
export function checkLabName(name: string): string {
  if (/-node\d+$/.test(name))
    throw new LabError('LAB_NAME', `lab ${JSON.stringify(name)}: machines of other labs are named so`);
  if (/^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$/.test(name)) return name;
  throw new LabError(
    'LAB_NAME',
    `lab ${JSON.stringify(name)}: expected lower case letters, digits and "-", at most 20 characters`,
  );
}

/** @throws LabError LAB_NAME, LAB_NODES, LAB_UNDERLAY, LAB_MTU */
export function planLab(spec: LabSpec): LabPlan {
  const name = checkLabName(spec.name);
  if (!Number.isInteger(spec.nodes) || spec.nodes < 1 || spec.nodes > 200)
    throw new LabError('LAB_NODES', `--nodes ${spec.nodes}: expected a whole number from 1 to 200`);
  if (!Number.isInteger(spec.mtu) || spec.mtu < 1280 || spec.mtu > 65_535)
    throw new LabError('LAB_MTU', `--mtu ${spec.mtu}: expected 1280 to 65535`);
  const prefix = underlayPrefix(spec.underlay);
  const folder = join(labsFolder, name);
  const machines = Array.from({ length: spec.nodes }, (_, at): LabMachine => {
    const machine = `node${at + 1}`;
    return {
      name: machine,
      netns: `pwlab-${name}-${machine}`,
      address: `${prefix}.${at + 1}`,
      address6: `fd00:${prefix.replaceAll('.', ':')}::${at + 1}`,
      mac: macOf(`${name}/${machine}`),
      port: machine,
      root: join(folder, machine),
    };
  });
  const tag = createHash('sha256').update(name).digest('hex').slice(0, 8);
  return {
    spec,
    folder,
    netns: `pwlab-${name}`,
    uplink: `pwlab-${tag}`,
    uplinkAddress: `${prefix}.254`,
    machines,
  };
}

/** Whether a network namespace is that of the lab's bridge, or of one of its machines, however many it was to have. Pure. */
export const isOwnNetns = ({ netns }: LabPlan, name: string): boolean =>
  name === netns || (name.startsWith(netns) && /^-node\d+$/.test(name.slice(netns.length)));

function underlayPrefix(cidr: string): string {
  const match = /^((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3})0\/24$/.exec(cidr);
  if (match) return match[1]!.slice(0, -1);
  throw new LabError('LAB_UNDERLAY', `--underlay ${cidr}: expected an IPv4 /24, e.g. ${defaultUnderlay}`);
}

/** Locally administered (bit 1 of the first byte), the same at every boot. */
function macOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return ['02', ...[0, 2, 4, 6, 8].map((at) => hex.slice(at, at + 2))].join(':');
}

export const findMachine = (plan: LabPlan, name: string): LabMachine => {
  const found = plan.machines.find((one) => one.name === name);
  if (found) return found;
  const names = plan.machines.map((one) => one.name).join(', ');
  throw new LabError(
    'LAB_NO_NODE',
    `lab ${plan.spec.name} has no node ${JSON.stringify(name)}; it has ${names}`,
  );
};

/** In the underlay's namespace: the bridge, and the port of whoever runs the lab. */
export const bridgeLines = ({ spec, uplink, uplinkAddress, netns }: LabPlan) => ({
  outside: [
    `link add name ${uplink} mtu ${spec.mtu} type veth peer name host mtu ${spec.mtu} netns ${netns}`,
    `addr add ${uplinkAddress}/24 dev ${uplink}`,
    `link set dev ${uplink} alias "podwire lab ${spec.name}: the underlay"`,
    `link set dev ${uplink} up`,
  ],
  inside: [
    `link add name ${bridge} mtu ${spec.mtu} type bridge stp_state 0 mcast_snooping 0`,
    `link set dev ${bridge} up`,
    `link set dev host master ${bridge} up`,
  ],
});

/** In the underlay's namespace: the cable of one machine. */
export const cableLines = ({ spec }: LabPlan, { port, mac, netns }: LabMachine): string[] => [
  `link add name ${port} mtu ${spec.mtu} type veth peer name eth0 address ${mac} mtu ${spec.mtu} netns ${netns}`,
  `link set dev ${port} master ${bridge} up`,
];

/** In the machine's namespace. Its way out is the machine that runs the lab, which does not forward by itself. */
export const machineLines = ({ uplinkAddress }: LabPlan, { address, address6 }: LabMachine): string[] => [
  'link set dev lo up',
  `addr add ${address}/24 dev eth0`,
  `addr add ${address6}/64 dev eth0 nodad`,
  'link set dev eth0 up',
  `route add default via ${uplinkAddress} dev eth0`,
];
