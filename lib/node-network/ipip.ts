// Backend ipip: one IPv4-in-IPv4 tunnel without a fixed far end; per peer's subnet one route by the peer's own address,
// onlink. Assumes IPv4 underlay and IPv4 Pods, as the protocol carries nothing else. 20 bytes a packet.
import { formatCidr } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { kernelHas } from '../kernel/link-info.ts';
import { overhead } from '../kernel/overlay.ts';
import { differences } from '../kernel/vtep.ts';
import { applyEntries, noEntries, readEntries } from './entries.ts';
import { removeOwnLink } from './own-link.ts';
import { ensureTunnel, lacks } from './tunnel-link.ts';
import type { Backend, LocalNode, Peer, PeerPlan } from './types.ts';

/** Pure. */
export function planIpip(_: LocalNode, { name, addresses, podCidrs }: Peer): PeerPlan {
  const via = addresses[4];
  if (via === undefined)
    return {
      entries: noEntries,
      problem: { reason: 'NoAddress', message: `${name} has no IPv4 InternalIP` },
    };
  const four = podCidrs.filter((net) => net.ip.family === 4);
  const entries = { ...noEntries, routes: new Map(four.map((net) => [formatCidr(net), via])) };
  if (four.length === podCidrs.length) return { entries };
  const message = `IPv6 subnets of ${name}: ipip carries IPv4 only; use vxlan or wireguard`;
  return { entries, problem: { reason: 'FamilyNotCarried', message } };
}

export interface IpipOptions extends Omit<KernelOptions, 'netns'> {
  readonly link: string;
}

export function ipip({ link, ...options }: IpipOptions): Backend {
  return {
    name: 'ipip',
    announcement: 'ipip',
    link,
    carrier: 'IP protocol 4 (ipip)',
    overhead: overhead.ipip,
    check: async () => {
      if (!(await kernelHas('ipip', options))) throw lacks('ipip');
    },
    annotations: async () => ({}),
    plan: planIpip,
    ensureLink: (local) => ensureIpip(local, link, options),
    read: () => readEntries(link, 'own link', options),
    apply: (_, change) => applyEntries(link, change, { ...options, gateway: 'onlink' }),
    remove: () => removeOwnLink(link, options),
  };
}

async function ensureIpip(
  node: LocalNode,
  name: string,
  options: Omit<KernelOptions, 'netns'>,
): Promise<string[]> {
  const local = node.underlay.addresses[4];
  if (local === undefined)
    throw new PodwireError('BACKEND_NOT_AVAILABLE', 'network backend ipip: this node has no IPv4 address');
  const mtu = (node.underlay.mtu ?? 1500) - overhead.ipip(4);
  return ensureTunnel(
    node,
    {
      kind: 'ipip',
      name,
      mtu,
      make: { op: 'addIpip', name, local, mtu },
      incompatible: ({ data }) =>
        differences([
          ['local address', data.local, local],
          ['far end', data.remote ?? 'any', 'any'],
        ]),
    },
    options,
  );
}
