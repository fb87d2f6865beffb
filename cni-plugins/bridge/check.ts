// CHECK of bridge: what prevResult says was made is still there, on both sides. Silent when well.
// Assumes later plugins may have added to it, so only what is missing counts. Three questions to `ip`.
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { ipNet, type LinkFacts } from '../../lib/kernel/net.ts';
import { insideFaults, lookInside, type SeenInside } from '../lib/check-inside.ts';
import { ownCodes } from '../skel/codes.ts';
import type { PluginCall } from '../skel/skel.ts';
import type { BridgeConf } from './conf.ts';
import { vethName } from '../lib/names.ts';

interface Seen extends SeenInside {
  readonly bridge: LinkFacts | undefined;
  readonly port: LinkFacts | undefined;
}

/** @throws CniError 110 that lists everything that is wrong */
export async function checkAttached(conf: BridgeConf, call: PluginCall): Promise<void> {
  const net = ipNet({ exec: call.host.exec });
  const seen: Seen = {
    bridge: await net.inspect(conf.bridge),
    port: await net.inspect(vethName(call.name, call.containerId, call.ifname)),
    ...(await lookInside(call)),
  };
  const faults = findFaults({ conf, ifname: call.ifname, result: call.prevResult ?? {} }, seen);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** Everything that is missing or wrong, in words. Pure. */
export function findFaults(
  expected: { conf: BridgeConf; ifname: string; result: CniResult },
  seen: Seen,
): string[] {
  const { conf, ifname, result } = expected;
  const faults: string[] = [];
  if (seen.bridge?.up !== true) faults.push(`bridge ${conf.bridge} is ${seen.bridge ? 'down' : 'missing'}`);
  if (seen.port?.master !== conf.bridge)
    faults.push(`the host's end is ${seen.port ? `not in ${conf.bridge}` : 'missing'}`);
  return [...faults, ...insideFaults(ifname, result, seen)];
}
