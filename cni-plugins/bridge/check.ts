// CHECK of bridge: what prevResult says was made is still there, on both sides. Silent when well.
// Assumes later plugins may have added to it, so only what is missing counts. Three questions to `ip`.
import { formatCidr, parseCidr } from '../../lib/cni/address.ts';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult, CniRoute } from '../../lib/cni/types.ts';
import { isAbsent } from '../../lib/kernel/errors.ts';
import { ipJson } from '../../lib/kernel/ip.ts';
import { ipNet, type LinkFacts } from '../../lib/kernel/net.ts';
import { ownCodes } from '../skel/codes.ts';
import type { PluginCall } from '../skel/skel.ts';
import type { BridgeConf } from './conf.ts';
import { vethName } from './names.ts';
import { netnsWord } from './plan.ts';

interface Seen {
  readonly bridge: LinkFacts | undefined;
  readonly port: LinkFacts | undefined;
  readonly inside: LinkFacts | undefined;
  /** `dst via dev` as the kernel has them, in text. */
  readonly routes: readonly string[];
}

/** @throws CniError 110 that lists everything that is wrong */
export async function checkAttached(conf: BridgeConf, call: PluginCall): Promise<void> {
  const net = ipNet({ exec: call.host.exec });
  const netns = netnsWord(call.netns);
  const seen: Seen = {
    bridge: await net.inspect(conf.bridge),
    port: await net.inspect(vethName(call.name, call.containerId, call.ifname)),
    inside: await net.inspect(call.ifname, netns),
    routes: await podRoutes(call, netns),
  };
  const faults = findFaults({ conf, ifname: call.ifname, result: call.prevResult ?? {} }, seen);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

async function podRoutes(call: PluginCall, netns: string): Promise<string[]> {
  const rows: unknown[] = [];
  for (const family of ['-4', '-6']) {
    try {
      rows.push(
        ...(await ipJson([family, 'route', 'show', 'dev', call.ifname, 'table', 'all'], {
          netns,
          exec: call.host.exec,
        })),
      );
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }
  return (rows as Array<{ dst: string; gateway?: string }>).map(({ dst, gateway }) => routeKey(dst, gateway));
}

const routeKey = (dst: string, gateway: string | undefined): string => {
  const plain = dst === 'default' ? (gateway?.includes(':') ? '::/0' : '0.0.0.0/0') : dst;
  const cidr = parseCidr(plain.includes('/') ? plain : `${plain}/${plain.includes(':') ? 128 : 32}`);
  return cidr ? formatCidr(cidr) : plain;
};

/** Everything that is missing or wrong, in words. Pure. */
export function findFaults(
  expected: { conf: BridgeConf; ifname: string; result: CniResult },
  seen: Seen,
): string[] {
  const { conf, ifname, result } = expected;
  const inside = (result.interfaces ?? []).find((one) => one.name === ifname && one.sandbox);
  const faults: string[] = [];
  const expect = (ok: boolean, fault: string): void => {
    if (!ok) faults.push(fault);
  };
  expect(seen.bridge?.up === true, `bridge ${conf.bridge} is ${seen.bridge ? 'down' : 'missing'}`);
  expect(
    seen.port?.master === conf.bridge,
    `the host's end is ${seen.port ? `not in ${conf.bridge}` : 'missing'}`,
  );
  expect(seen.inside?.up === true, `${ifname} is ${seen.inside ? 'down' : 'missing'} in the container`);
  if (!seen.inside) return faults;
  expect(
    inside?.mac === undefined || inside.mac === seen.inside.mac,
    `${ifname} has MAC ${seen.inside.mac}, not ${inside?.mac}`,
  );
  const at = (result.interfaces ?? []).indexOf(inside as never);
  for (const ip of (result.ips ?? []).filter((one) => one.interface === undefined || one.interface === at))
    expect(seen.inside.addresses.includes(ip.address), `${ifname} lacks address ${ip.address}`);
  for (const route of result.routes ?? [])
    expect(seen.routes.includes(keyOf(route)), `no route to ${route.dst}`);
  return faults;
}

const keyOf = (route: CniRoute): string => routeKey(route.dst, route.gw);
