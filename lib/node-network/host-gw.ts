// Backend host-gw: per peer's subnet one route by the peer's own address. Assumes all nodes on one link, as a router
// between them would not know the Pods. Nothing is wrapped, nothing is added to a packet.
import { type Cidr, contains, formatCidr, formatIp, networkOf, parseIp } from '../cni/address.ts';
import { settleAll } from '../exec/errors.ts';
import { ipBatch, ipJson, type KernelOptions } from '../kernel/ip.ts';
import { isAbsent } from '../kernel/errors.ts';
import { readLinkInfo } from '../kernel/link-info.ts';
import { overhead } from '../kernel/overlay.ts';
import { applyAll, applyEntries, noEntries, readEntries, routeProtocol } from './entries.ts';
import { isOwnLinkName, loLabel } from './own-link.ts';
import type { Backend, LocalNode, Peer, PeerPlan } from './types.ts';

/** Pure. */
export function planHostGw({ underlay }: LocalNode, { name, addresses, podCidrs }: Peer): PeerPlan {
  const routes = new Map<string, string>();
  const without: string[] = [];
  for (const net of podCidrs) {
    const via = addresses[net.ip.family];
    const ip = via === undefined ? undefined : parseIp(via);
    if (!ip || via === undefined) without.push(formatCidr(net));
    else if (underlay.nets.some((link) => contains(link, ip))) routes.set(formatCidr(net), via);
    else
      return {
        entries: noEntries,
        problem: {
          reason: 'NotOnLink',
          message: `${name} (${via}) is not on the link ${underlay.device}: host-gw needs all nodes on one; use vxlan`,
        },
      };
  }
  const entries = { ...noEntries, routes };
  if (without.length === 0) return { entries };
  const message = `${without.join(', ')} of ${name}: it has no address of that family, which host-gw needs`;
  return { entries, problem: { reason: 'FamilyNotCarried', message } };
}

export function hostGw(options: Omit<KernelOptions, 'netns'> = {}): Backend {
  return {
    name: 'host-gw',
    announcement: 'host-gw',
    link: undefined,
    carrier: "packets of the Pods' addresses",
    overhead: overhead['host-gw'],
    check: async () => {},
    annotations: async () => ({}),
    plan: planHostGw,
    ensureLink: ({ podCidrs }) => answerAtFirstAddress(podCidrs, options),
    read: ({ underlay }) => readEntries(underlay.device, 'underlay', options),
    apply: ({ underlay }, change) => applyEntries(underlay.device, change, options),
    remove: () => removeRoutes(options),
  };
}

/**
 * There is no link to hold the node's own address among its Pods'. For IPv6 a local route makes the kernel answer at it. One of
 * IPv4 would have the kernel look up the source of every packet that the machine gets, from then on and for whomever, where
 * rp_filter is off (Debian 12): so lo has the address, with a scope by which no connection elsewhere is made from it.
 */
async function answerAtFirstAddress(podCidrs: readonly Cidr[], options: KernelOptions): Promise<[]> {
  // To put what is there already would be told as a change, and bring us here again.
  const held = podCidrs.some(isV4) ? ((await readLinkInfo('lo', options))?.addresses ?? []) : [];
  const lines = podCidrs.flatMap((net) => {
    const address = formatIp(networkOf(net));
    if (!isV4(net)) return [`route replace local ${address} dev lo proto ${routeProtocol}`];
    if (held.includes(`${address}/32`)) return [];
    return [`addr add ${address}/32 dev lo scope host label ${loLabel}`];
  });
  await ipBatch(lines, options);
  return [];
}

const isV4 = ({ ip }: Cidr): boolean => ip.family === 4;

/** All routes of ours, by whatever device, and those that answerAtFirstAddress made. */
async function removeRoutes(options: KernelOptions): Promise<void> {
  await settleAll('own addresses', [() => removeFromLo(options), () => removeLocal(options)]);
  await settleAll(
    'routes',
    (['-4', '-6'] as const).map((family) => async () => {
      let rows: Array<{ dst: string; dev: string }> = [];
      try {
        const args = [family, 'route', 'show', 'proto', String(routeProtocol)];
        rows = (await ipJson(args, options)) as typeof rows;
      } catch (error) {
        if (!isAbsent(error)) throw error;
      }
      // Those by a tunnel belong to another node on this machine, or went with their link.
      const plain = rows.filter(({ dev }) => !isOwnLinkName(dev));
      const ops = plain.map(({ dst, dev }) => ({
        op: 'deleteRoute' as const,
        dst,
        dev,
        protocol: routeProtocol,
      }));
      await applyAll(ops, options);
    }),
  );
}

async function removeFromLo(options: KernelOptions): Promise<void> {
  type Lo = { addr_info: Array<{ local: string; label?: string }> };
  const [lo] = (await ipJson(['-4', 'addr', 'show', 'dev', 'lo'], options)) as [Lo?];
  const ours = lo?.addr_info.filter(({ label }) => label === loLabel) ?? [];
  await ipBatch(
    ours.map(({ local }) => `addr del ${local}/32 dev lo`),
    options,
  );
}

async function removeLocal(options: KernelOptions): Promise<void> {
  const args = ['-6', 'route', 'show', 'table', 'local', 'proto', String(routeProtocol)];
  const rows = (await ipJson(args, options)) as Array<{ dst: string }>;
  await ipBatch(
    rows.map(({ dst }) => `route del local ${dst} dev lo proto ${routeProtocol}`),
    options,
  );
}
