// CNI plugin static: the addresses that the configuration names, no more. Assumes that whoever wrote them sees to it that
// no two containers get the same: nothing is remembered, so DEL and GC have nothing to do. No process, no file.
import { type Cidr, parseCidr, sameIp } from '../../lib/cni/address.ts';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniIp, CniResult } from '../../lib/cni/types.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { parseConf } from './conf.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const { ips, routes, dns } = parseConf(call.conf, call.args);
  return { ips: [...ips], routes: [...routes], dns };
}

/** @throws CniError 110 where prevResult lacks an address of the configuration, or has it with another gateway */
async function check(call: PluginCall): Promise<void> {
  const { ips } = parseConf(call.conf, call.args);
  const faults = findFaults(ips, call.prevResult?.ips ?? []);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** Pure. */
export function findFaults(wanted: readonly CniIp[], given: readonly CniIp[]): string[] {
  const ipOf = (one: CniIp) => (parseCidr(one.address) as Cidr).ip;
  return wanted.flatMap((ip) => {
    const match = given.find((other) => sameIp(ipOf(other), ipOf(ip)));
    if (!match) return [`address ${ip.address} is not in prevResult`];
    if (ip.gateway === undefined || ip.gateway === match.gateway) return [];
    return [`address ${ip.address} has gateway ${match.gateway ?? 'none'} in prevResult, not ${ip.gateway}`];
  });
}

async function status(call: PluginCall): Promise<void> {
  parseConf(call.conf, {});
}

async function del(): Promise<void> {}

export const staticPlugin: Plugin = { type: 'static', add, del, check, status, ipam: true };
