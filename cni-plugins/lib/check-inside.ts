// CHECK of the container's side: what prevResult says of the interface is there. Silent when well.
// Assumes later plugins may have added to it, so only what is missing counts. Three questions to `ip`.
import { formatCidr, networkOf, parseCidr } from '../../lib/cni/address.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { isAbsent } from '../../lib/kernel/errors.ts';
import { ipJson } from '../../lib/kernel/ip.ts';
import type { LinkFacts } from '../../lib/kernel/net.ts';
import type { PluginCall } from '../skel/skel.ts';
import { netOf } from './net.ts';
import { netnsWord } from './pod.ts';

export interface SeenInside {
  readonly inside: LinkFacts | undefined;
  /** Destinations, as the kernel has them. */
  readonly routes: readonly string[];
}

export async function lookInside(call: PluginCall): Promise<SeenInside> {
  const netns = netnsWord(call.netns);
  const inside = await netOf(call).inspect(call.ifname, netns);
  return { inside, routes: inside ? await podRoutes(call, netns) : [] };
}

async function podRoutes(call: PluginCall, netns: string): Promise<string[]> {
  const options = { netns, exec: call.host.exec };
  const found: string[] = [];
  for (const [family, all] of [
    ['-4', '0.0.0.0/0'],
    ['-6', '::/0'],
  ] as const) {
    try {
      const rows = await ipJson([family, 'route', 'show', 'dev', call.ifname, 'table', 'all'], options);
      found.push(
        ...(rows as Array<{ dst: string }>).map(({ dst }) => routeKey(dst === 'default' ? all : dst)),
      );
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }
  return found;
}

/** `net/length`, host bits cleared as the kernel does. */
const routeKey = (dst: string): string => {
  const cidr = parseCidr(dst.includes('/') ? dst : `${dst}/${dst.includes(':') ? 128 : 32}`);
  return cidr ? formatCidr({ ip: networkOf(cidr), length: cidr.length }) : dst;
};

export interface ExpectedInside {
  readonly ifname: string;
  readonly result: CniResult;
  /** 'any': whoever uses the interface raises it. */
  readonly state: 'up' | 'any';
}

/** Everything that is missing or wrong inside, in words. Pure. */
export function insideFaults(expected: ExpectedInside, seen: SeenInside): string[] {
  const { ifname, result, state } = expected;
  const inside = (result.interfaces ?? []).find((one) => one.name === ifname && one.sandbox);
  const faults: string[] = [];
  const expect = (ok: boolean, fault: string): void => {
    if (!ok) faults.push(fault);
  };
  if (!seen.inside) return [`${ifname} is missing in the container`];
  expect(seen.inside.up || state === 'any', `${ifname} is down in the container`);
  expect(
    inside?.mac === undefined || inside.mac === seen.inside.mac,
    `${ifname} has MAC ${seen.inside.mac}, not ${inside?.mac}`,
  );
  const at = (result.interfaces ?? []).indexOf(inside as never);
  for (const ip of (result.ips ?? []).filter((one) => one.interface === undefined || one.interface === at))
    expect(seen.inside.addresses.includes(ip.address), `${ifname} lacks address ${ip.address}`);
  for (const route of result.routes ?? [])
    expect(seen.routes.includes(routeKey(route.dst)), `no route to ${route.dst}`);
  return faults;
}
