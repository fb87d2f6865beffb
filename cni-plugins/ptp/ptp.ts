// CNI plugin ptp: a veth pair between container and machine, no bridge: the machine routes every packet, those between
// containers too. Assumes root, iproute2, and (ipMasq) nftables. An ADD is two `ip -batch` runs, a DEL one `ip`.
// Invariants: what ADD made is unmade when it fails; DEL may be repeated after any failure; the link goes before its lease.
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { isExists } from '../../lib/kernel/errors.ts';
import { hasIpv6 } from '../../lib/kernel/link.ts';
import { failedOp } from '../../lib/kernel/net.ts';
import { writeSysctl } from '../../lib/kernel/sysctl.ts';
import { addIpam, asCniError, forward, type Undo, undone } from '../lib/attachment.ts';
import { insideFaults, lookInside } from '../lib/check-inside.ts';
import { aliasOf, randomMac, vethName } from '../lib/names.ts';
import { netOf } from '../lib/net.ts';
import { families, netnsWord } from '../lib/pod.ts';
import { collectPairs, deletePair, pairExists, masquerade } from '../lib/veth.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { parseConf, type PtpConf } from './conf.ts';
import { type AddPlan, planAdd } from './plan.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf, call.args);
  const undo: Undo = [];
  try {
    const plan = planOf(conf, call, await addIpam(conf.ipam, call, undo));
    for (const family of families(plan.result.ips ?? [])) await forward(family);
    await attach(plan, { call, undo, ipv6: hasIpv6(conf.mtu) });
    if (conf.ipMasq) await masquerade(call, plan.result.ips ?? [], undo);
    return plan.result;
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

const planOf = (conf: PtpConf, call: PluginCall, ipam: CniResult): AddPlan =>
  planAdd({
    conf,
    netns: call.netns,
    ifname: call.ifname,
    veth: vethName(call.name, call.containerId, call.ifname),
    alias: aliasOf(call),
    macs: { host: randomMac(), container: conf.mac ?? randomMac() },
    ipv6: hasIpv6(conf.mtu),
    ipam,
  });

async function attach(
  plan: AddPlan,
  { call, undo, ipv6 }: { call: PluginCall; undo: Undo; ipv6: boolean },
): Promise<void> {
  const net = netOf(call);
  const veth = vethName(call.name, call.containerId, call.ifname);
  const unmake = () => net.deleteLink(veth);
  try {
    await net.apply(plan.host);
  } catch (error) {
    // Only a pair that this ADD made is ours to remove: with EEXIST it is another attachment's.
    const failed = failedOp(error, plan.host);
    if (failed?.op === 'addVeth') throw isExists(error) ? pairExists(call, error) : error;
    undo.push(unmake);
    throw error;
  }
  undo.push(unmake);
  // The machine's routes are not the container's to change by router advertisements (CVE-2020-10749).
  if (ipv6) await writeSysctl(`net/ipv6/conf/${veth}/accept_ra`, '0');
  await net.apply(plan.pod, netnsWord(call.netns));
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  await delegate(conf.ipam, 'CHECK', call);
  const veth = vethName(call.name, call.containerId, call.ifname);
  const port = await netOf(call).inspect(veth);
  const result = call.prevResult ?? {};
  const inside = insideFaults({ ifname: call.ifname, result, state: 'up' }, await lookInside(call));
  const state = port ? 'down' : 'missing';
  const faults = [...(port?.up === true ? [] : [`the machine's end ${veth} is ${state}`]), ...inside];
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

async function status(call: PluginCall): Promise<void> {
  await delegate(parseConf(call.conf, call.args).ipam, 'STATUS', call);
}

export const ptp: Plugin = {
  type: 'ptp',
  add,
  del: (call) => deletePair(call),
  check,
  status,
  gc: (call) => collectPairs(call),
};
