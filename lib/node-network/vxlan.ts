// Backend vxlan: one VTEP; per peer one FDB entry, and per peer's subnet one route and one static neighbour. One VXLAN hop.
// Assumes all nodes derive VTEPs' MACs from names alike. Nothing is learned or flooded: an unknown peer gets no packet.
// History: a bridge of VTEPs needs flooding or an agent that answers ARP; routes with static neighbours, as flannel
// came to have them, need neither, and a peer costs the same three entries however many Pods it has.
import { formatCidr, formatIp, networkOf } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import { findProgram } from '../exec/find-program.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { isExists } from '../kernel/errors.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { kernelHas, lackOf, readLinkInfo } from '../kernel/link-info.ts';
import { deleteLink } from '../kernel/link.ts';
import { ipNet } from '../kernel/net.ts';
import { overhead, vtepMac } from '../kernel/overlay.ts';
import { judgeVtep, makeVtepOps, type Vtep } from '../kernel/vtep.ts';
import { applyEntries, noEntries, readEntries } from './entries.ts';
import { aliasOf, ownAddressOps, removeOwnLink } from './own-link.ts';
import type { Backend, BackendConfig, LocalNode, Peer, PeerPlan, PeerReason } from './types.ts';

export const vxlanDefaults = {
  vni: 1,
  // What Linux and flannel use; the IANA's number (RFC 7348) is 4789.
  port: 8472,
} as const;

/** Pure. */
export function planVxlan({ underlay: { family } }: LocalNode, peer: Peer): PeerPlan {
  const { name, mac, addresses, podCidrs } = peer;
  const without = (reason: PeerReason, message: string): PeerPlan => ({
    entries: noEntries,
    problem: { reason, message },
  });
  // A VTEP has one family: the other one's packets come to a port where nobody listens.
  if (peer.family !== undefined && peer.family !== family)
    return without(
      'FamilyDiffers',
      `${name} is at ${addresses[peer.family]}, and this node's tunnels have IPv${family}: give it an address of that family there (podwire up --node-ip)`,
    );
  const to = addresses[family];
  if (to === undefined)
    return without('NoAddress', `${name} has no IPv${family} InternalIP, this node's tunnels have`);
  const nets = podCidrs.map((net) => [formatCidr(net), formatIp(networkOf(net))] as const);
  return {
    entries: {
      routes: new Map(nets),
      neighbours: new Map(nets.map(([, gateway]) => [gateway, mac])),
      fdb: new Map([[mac, to]]),
    },
  };
}

export interface VxlanOptions extends Omit<KernelOptions, 'netns'> {
  readonly link: string;
  readonly config: Extract<BackendConfig, { name: 'vxlan' }>;
  readonly log?: (message: string) => void;
}

export function vxlan({ link, config, ...options }: VxlanOptions): Backend {
  const { vni: id, port } = { ...vxlanDefaults, ...config };
  const vtepOf = ({ name, underlay }: LocalNode): Vtep => ({
    name: link,
    id,
    port,
    local: underlay.addresses[underlay.family] ?? '',
    device: underlay.device,
    mac: vtepMac(name),
    mtu: (underlay.mtu ?? 1500) - overhead.vxlan(underlay.family),
  });
  return {
    name: 'vxlan',
    announcement: `vxlan vni=${id} port=${port}`,
    link,
    carrier: `udp port ${port}`,
    overhead: overhead.vxlan,
    check: () => checkMachine(config, options),
    annotations: async () => ({}),
    plan: planVxlan,
    ensureLink: async (local) => {
      const told = await ensureVtep(local, vtepOf(local), options);
      if (config.txOffload === 'off') await offloadOff(link, options);
      return told;
    },
    read: () => readEntries(link, 'own link', options),
    apply: (_, change) => applyEntries(link, change, { ...options, gateway: 'onlink' }),
    remove: () => removeOwnLink(link, options),
  };
}

async function checkMachine({ txOffload }: VxlanOptions['config'], options: KernelOptions): Promise<void> {
  if (txOffload === 'off' && !findProgram('ethtool'))
    throw new PodwireError(
      'BACKEND_NOT_AVAILABLE',
      'network backend vxlan,tx-offload=off: ethtool: program not found; apt-get install ethtool',
    );
  if (await kernelHas('vxlan', options)) return;
  throw new PodwireError(
    'BACKEND_NOT_AVAILABLE',
    `network backend vxlan: ${lackOf('vxlan')}; load the module, or use --network-backend host-gw`,
  );
}

/**
 * Some devices and hypervisors leave the outer UDP checksum of encapsulated packets wrong, and the far end drops them. With
 * this off the kernel computes it itself; it costs throughput (no segmentation offload), so it is asked for, not default.
 */
async function offloadOff(link: string, { exec = runLazily }: KernelOptions): Promise<void> {
  await exec({ argv: ['ethtool', '-K', link, 'tx', 'off'] });
}

async function ensureVtep(local: LocalNode, vtep: Vtep, options: KernelOptions): Promise<string[]> {
  const net = ipNet(options);
  const seen = await readLinkInfo(vtep.name, options);
  const verdict = seen && judgeVtep(seen, vtep, seen.alias === aliasOf('vxlan') ? 'us' : 'others');
  if (verdict?.do === 'refuse')
    throw new PodwireError(
      'LINK_CONFLICT',
      `link ${vtep.name} is there and not podwire's: ${verdict.reasons.join(', ')}; remove or rename it`,
    );
  if (seen && verdict?.do === 'reuse') {
    await net.apply([...verdict.fix, ...ownAddressOps(seen, local)]);
    return [...verdict.reasons];
  }
  if (verdict) await deleteLink(vtep.name, options);
  try {
    await net.apply([...makeVtepOps(vtep, aliasOf('vxlan')), ...ownAddressOps({ name: vtep.name }, local)]);
  } catch (error) {
    await deleteLink(vtep.name, options).catch(() => false);
    if (!isExists(error)) throw error;
    const message = `VNI ${vtep.id} at port ${vtep.port} belongs to another link of this machine; choose another for the cluster: --network-backend vxlan,vni=N`;
    throw new PodwireError('LINK_CONFLICT', message, { cause: error });
  }
  return verdict ? verdict.reasons.map((reason) => `${reason}: made anew`) : [];
}
