// The peers' entries of all backends: joined, read back from the kernel, and changed with as few processes as may be.
// Assumes routes of ours carry the protocol number below, so that others' on the same device are left alone.
// A change is one or two processes however many entries; reading four, linear in what is there.
import { messageOf } from '../exec/errors.ts';
import { isAbsent } from '../kernel/errors.ts';
import { IpBatchError, ipJson, type KernelOptions } from '../kernel/ip.ts';
import { ipNet, type Net, type NetOp, toolOf } from '../kernel/net.ts';
import { openNet } from '../kernel/netlink/net.ts';
import { type Entries, noEntries, parseEntries, planEntries, type RouteStyle } from '../kernel/overlay.ts';
import type { Change, NodeEntries, Refusal } from './types.ts';

/** rt_protocol of our routes: a number that nobody in iproute2's rt_protos has. */
export const routeProtocol = 112;

const tunnelsOf = (entries: NodeEntries): ReadonlyMap<string, string> => entries.tunnels ?? new Map();

/** All of them in one. Pure. */
export function joinEntries(parts: Iterable<NodeEntries>): NodeEntries {
  const all = { routes: new Map(), neighbours: new Map(), fdb: new Map(), tunnels: new Map() };
  for (const part of parts) {
    for (const [key, value] of part.routes) all.routes.set(key, value);
    for (const [key, value] of part.neighbours) all.neighbours.set(key, value);
    for (const [key, value] of part.fdb) all.fdb.set(key, value);
    for (const [key, value] of tunnelsOf(part)) all.tunnels.set(key, value);
  }
  return all;
}

/** True where one leads to the other without a change. Pure. */
export const sameEntries = (a: NodeEntries, b: NodeEntries): boolean =>
  sameMap(a.routes, b.routes) &&
  sameMap(a.neighbours, b.neighbours) &&
  sameMap(a.fdb, b.fdb) &&
  sameMap(tunnelsOf(a), tunnelsOf(b));

const sameMap = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

/** What the kernel has by a device: our routes, and where the device is ours its neighbours and FDB. */
export async function readEntries(
  dev: string,
  whose: 'own link' | 'underlay',
  options: KernelOptions,
): Promise<Entries> {
  const ask = async (tool: 'ip' | 'bridge', ...args: string[]): Promise<unknown[]> => {
    try {
      return await ipJson(args, { ...options, tool });
    } catch (error) {
      if (isAbsent(error)) return []; // no such link (yet), or a machine without that family
      throw error;
    }
  };
  const routes = ['route', 'show', 'dev', dev, 'proto', String(routeProtocol)];
  const [four, six, neighbours, fdb] = await Promise.all([
    ask('ip', '-4', ...routes),
    ask('ip', '-6', ...routes),
    whose === 'own link' ? ask('ip', 'neigh', 'show', 'dev', dev, 'nud', 'permanent') : [],
    whose === 'own link' ? ask('bridge', 'fdb', 'show', 'dev', dev) : [],
  ]);
  return parseEntries({ routes: [...four, ...six], neighbours, fdb });
}

/** Brings the kernel from one to the other; what it refuses is left out, and the rest goes on. */
export async function applyEntries(
  dev: string,
  { wanted, seen }: Change,
  { gateway, ...options }: Pick<RouteStyle, 'gateway'> & Omit<KernelOptions, 'netns'>,
): Promise<Refusal[]> {
  const style = { protocol: routeProtocol, ...(gateway ? { gateway } : {}) };
  return applyAll(planEntries(dev, wanted, seen, style), options);
}

const mostRefusals = 20;

// A change takes the kernel some 30 µs, during which nothing else of this process runs.
const fewOps = 64;
let inProcess: Net | undefined;

/** A peer's handful is told to the kernel by this process, in a fraction of a millisecond; many go to `ip`. */
function netFor(ops: readonly NetOp[], options: Omit<KernelOptions, 'netns'>): Net {
  if (ops.length > fewOps || options.exec) return ipNet(options);
  inProcess ??= openNet({ trace: () => {} });
  return inProcess;
}

/** Every change that the kernel takes. Gone already is as good as deleted. @throws what is no refusal of one change */
export async function applyAll(
  ops: readonly NetOp[],
  options: Omit<KernelOptions, 'netns'>,
): Promise<Refusal[]> {
  const net = netFor(ops, options);
  const refusals: Refusal[] = [];
  // One list a program, as each keeps count of its own lines.
  for (const tool of ['bridge', 'ip'] as const) {
    let rest = ops.filter((op) => toolOf(op) === tool);
    while (rest.length > 0) {
      try {
        await net.apply(rest);
        break;
      } catch (error) {
        const op = error instanceof IpBatchError ? rest[error.line] : undefined;
        if (!op || !(error instanceof IpBatchError) || refusals.length >= mostRefusals) throw error;
        const gone = op.op.startsWith('delete') && isAbsent(error);
        if (!gone) refusals.push({ key: keyOf(op), message: messageOf(error) });
        rest = rest.slice(error.line + 1);
      }
    }
  }
  return refusals;
}

function keyOf(op: NetOp): string {
  if ('dst' in op) return op.dst;
  if ('ip' in op) return op.ip;
  return 'mac' in op && op.mac !== undefined ? op.mac : op.op;
}

export { noEntries };
