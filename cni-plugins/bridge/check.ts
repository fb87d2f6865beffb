// CHECK of bridge: what prevResult says was made is still there, on both sides. Silent when well.
// Assumes later plugins may have added to it, so only what is missing counts. Three questions to `ip`.
import { CniError } from '../../lib/cni/errors.ts';
import type { CniIp, CniResult } from '../../lib/cni/types.ts';
import { ipJson } from '../../lib/kernel/ip.ts';
import type { LinkFacts } from '../../lib/kernel/net.ts';
import { insideFaults, lookInside, type SeenInside } from '../lib/check-inside.ts';
import { ownerOf } from '../lib/masquerade.ts';
import { vethName } from '../lib/names.ts';
import { netOf } from '../lib/net.ts';
import { type Guard, guardFaults } from '../lib/spoof.ts';
import { ownCodes } from '../skel/codes.ts';
import type { PluginCall } from '../skel/skel.ts';
import type { BridgeConf } from './conf.ts';
import { missingVlans } from './vlan.ts';

interface Seen extends SeenInside {
  readonly bridge: LinkFacts | undefined;
  readonly port: LinkFacts | undefined;
}

/** @throws CniError 110 that lists everything that is wrong */
export async function checkAttached(conf: BridgeConf, call: PluginCall): Promise<void> {
  const net = netOf(call);
  const { exec } = call.host;
  const result = call.prevResult ?? {};
  const port = vethName(call.name, call.containerId, call.ifname);
  const seen: Seen = {
    bridge: await net.inspect(conf.bridge),
    port: await net.inspect(port),
    ...(await lookInside(call)),
  };
  const faults = findFaults({ conf, ifname: call.ifname, result }, seen);
  if (conf.vlans && seen.port) {
    const rows = await ipJson(['vlan', 'show', 'dev', port], { exec, tool: 'bridge' });
    const missing = missingVlans(rows, conf.vlans);
    if (missing.length > 0) faults.push(`${port} is not in VLAN ${missing.join(', ')}`);
  }
  if (conf.macSpoofCheck) faults.push(...(await spoofFaults(conf, call, result)));
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

async function spoofFaults(conf: BridgeConf, call: PluginCall, result: CniResult): Promise<string[]> {
  const at = (result.interfaces ?? []).findIndex((one) => one.name === call.ifname && one.sandbox);
  const mac = result.interfaces?.[at]?.mac;
  if (mac === undefined) return [];
  const ips = (result.ips ?? []).filter((ip) => ip.interface === undefined || ip.interface === at);
  return guardFaults(guardOf(conf, call, { mac, ips }), { exec: call.host.exec });
}

/** What macspoofchk lets out of the container: its MAC and, unless told otherwise, the addresses of IPAM. */
export function guardOf(
  conf: BridgeConf,
  call: PluginCall,
  own: { readonly mac: string; readonly ips: readonly CniIp[] },
): Guard {
  return {
    port: vethName(call.name, call.containerId, call.ifname),
    mac: own.mac,
    addresses: conf.ipSpoofCheck && own.ips.length > 0 ? own.ips.map((ip) => ip.address) : undefined,
    tagged: conf.vlans && conf.vlans.trunk.length > 0 ? 'pass' : 'drop',
    owner: ownerOf(call.containerId, call.ifname),
  };
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
  return [
    ...faults,
    ...insideFaults({ ifname, result, state: conf.containerInterface ? 'up' : 'any' }, seen),
  ];
}
