// CNI plugin bridge: a veth pair between the container and a bridge of this machine, addresses from an IPAM plugin.
// Assumes root, iproute2, and (ipMasq) nftables. An ADD is two lists of changes, one in each namespace, and file reads; a
// DEL is one `ip`, which waits for the kernel in our place. Names follow from the container's id, so DEL needs no memory.
// Invariants: what ADD made is unmade when it fails; DEL may be repeated after any failure; the link goes before its lease.
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { isExists, isNotSupported } from '../../lib/kernel/errors.ts';
import { hasIpv6 } from '../../lib/kernel/link.ts';
import { kernelHas, lackOf } from '../../lib/kernel/link-info.ts';
import { failedOp, ipLine, type LinkFacts, type Net, type NetOp } from '../../lib/kernel/net.ts';
import { writeSysctl } from '../../lib/kernel/sysctl.ts';
import { traceFromEnv } from '../../lib/kernel/trace.ts';
import { addIpam, asCniError, forward, type Undo, undone } from '../lib/attachment.ts';
import { aliasOf, randomMac, vethName } from '../lib/names.ts';
import { netOf } from '../lib/net.ts';
import { families, netnsWord } from '../lib/pod.ts';
import { addGuard, dropGuard, dropGuards } from '../lib/spoof.ts';
import { collectPairs, deletePair, isVethOf, pairExists, masquerade, validVeths } from '../lib/veth.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { checkAttached, guardOf } from './check.ts';
import { type BridgeConf, parseConf } from './conf.ts';
import { type AddPlan, heldOps, planAdd, vlanGatewayOps, type Wish } from './plan.ts';
import { gatewayName, gatewayPairOps, type Vlans } from './vlan.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf, call.args);
  const net = netOf(call);
  const undo: Undo = [];
  try {
    const ipam = conf.ipam === '' ? {} : await addIpam(conf.ipam, call, undo);
    const plan = await attach({ call, net, wish: wishOf(conf, call, ipam), undo });
    for (const family of conf.isGateway ? families(plan.result.ips ?? []) : []) await forward(family);
    if (conf.ipMasq) await masquerade(call, plan.result.ips ?? [], undo);
    return plan.result;
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

const wishOf = (conf: BridgeConf, call: PluginCall, ipam: CniResult): Wish => ({
  conf,
  netns: call.netns,
  ifname: call.ifname,
  veth: vethName(call.name, call.containerId, call.ifname),
  alias: aliasOf(call),
  macs: { bridge: randomMac(), host: randomMac(), container: conf.mac ?? randomMac() },
  ipv6: hasIpv6(conf.mtu),
  ipam,
});

interface Attaching {
  readonly call: PluginCall;
  readonly net: Net;
  readonly wish: Wish;
  readonly undo: Undo;
}

/** Carries the plan out; where another ADD made the bridge in between, plans again from what is there now. */
async function attach(task: Attaching): Promise<AddPlan> {
  const { net, wish } = task;
  const inVlan = wish.conf.isGateway && wish.conf.vlans?.access !== undefined;
  for (let attempt = 1; ; attempt++) {
    const seen = net.glance(wish.conf.bridge);
    const hasty = planAdd(wish, seen);
    if (process.env.PODWIRE_TRACE) tellHeld(heldOps(wish, seen));
    try {
      const [looked] = await applyHost(task, hasty);
      if (seen === undefined && wish.ipv6) await ownRoutes(wish.conf.bridge);
      const plan = looked ? planAdd(wish, looked) : hasty;
      if (looked) await net.apply(plan.gateway);
      const result = inVlan ? await vlanGateway(task, plan.result) : plan.result;
      if (wish.conf.macSpoofCheck) await guard(task);
      await net.apply(plan.pod, netnsWord(wish.netns));
      return { ...plan, result };
    } catch (error) {
      const raced = isExists(error) && failedOp(error, hasty.host)?.op === 'addBridge' && attempt < 5;
      if (!raced) throw await explained(task, error, hasty);
    }
  }
}

async function applyHost({ net, wish, undo }: Attaching, plan: AddPlan): Promise<LinkFacts[]> {
  const unmake = () => net.deleteLink(wish.veth);
  try {
    const looked = await net.apply(plan.host);
    undo.push(unmake);
    return looked;
  } catch (error) {
    // Only a pair that this ADD made is ours to remove: with EEXIST it is another attachment's.
    const made = plan.host.findIndex((op) => op.op === 'addVeth');
    const failed = failedOp(error, plan.host);
    if (failed && plan.host.indexOf(failed) > made) undo.push(unmake);
    throw error;
  }
}

/** From here on nothing leaves the container but what it was given; its interface is still down. */
async function guard({ call, wish, undo }: Attaching): Promise<void> {
  undo.push(() => dropGuard(wish.veth, { exec: call.host.exec }));
  await addGuard(guardOf(wish.conf, call, { mac: wish.macs.container, ips: wish.ipam.ips ?? [] }), {
    exec: call.host.exec,
  });
}

/** The gateway of a VLAN: made where it is missing, and given its addresses. Stays, as the bridge does. */
async function vlanGateway({ net, wish }: Attaching, result: CniResult): Promise<CniResult> {
  const { bridge, vlans } = wish.conf as BridgeConf & { vlans: Vlans & { access: number } };
  const name = gatewayName(bridge, vlans.access);
  if (net.glance(name) === undefined) {
    const macs = { gateway: randomMac(), port: randomMac() };
    try {
      await net.apply(gatewayPairOps(bridge, vlans, macs));
    } catch (error) {
      if (!isExists(error)) throw error; // another ADD was faster
    }
  }
  const seen = await net.inspect(name);
  if (!seen) throw new CniError(ownCodes.bridgeConflict, `${name}: removed while this ADD used it`);
  await net.apply(vlanGatewayOps(wish, seen, result));
  return { ...result, interfaces: [...(result.interfaces ?? []), { name, mac: seen.mac }] };
}

/** For `explain`: what would be done on a machine without the bridge. */
function tellHeld(held: readonly NetOp[]): void {
  if (held.length > 0) traceFromEnv()({ tool: 'ip', lines: held.map(ipLine), held: true });
}

/** Routes on the bridge are ours: a container must not change them by router advertisements (CVE-2020-10749). */
async function ownRoutes(bridge: string): Promise<void> {
  await writeSysctl(`net/ipv6/conf/${bridge}/accept_ra`, '0');
}

/** A failure that a person can act on, where the kernel's own words are too short; looked into only once it failed. */
async function explained({ call, net, wish }: Attaching, error: unknown, plan: AddPlan): Promise<unknown> {
  const op = failedOp(error, plan.host);
  const details = { details: messageOf(error), cause: error };
  if (op?.op === 'addVeth' && isExists(error)) return pairExists(call, error);
  if (isNotSupported(error) && ((op && 'vlanFiltering' in op) || op?.op === 'addPortVlan'))
    return cniError('CNI_NOT_AVAILABLE', `vlan, vlanTrunk: ${lackOf('bridge vlans')}`, details);
  if (op?.op === 'setBridge' || (op?.op === 'setLink' && op.master !== undefined)) {
    const kind = (await net.inspect(wish.conf.bridge))?.kind;
    const shown = kind === '' ? '' : ` (${kind})`;
    if (kind !== undefined && kind !== 'bridge')
      return new CniError(
        ownCodes.bridgeConflict,
        `bridge: ${wish.conf.bridge} exists and is no bridge${shown}`,
        details,
      );
  }
  return error;
}

async function del(call: PluginCall): Promise<void> {
  const port = vethName(call.name, call.containerId, call.ifname);
  const guarded = call.conf.object.macspoofchk === true;
  await deletePair(call, guarded ? [() => dropGuard(port, { exec: call.host.exec })] : []);
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  if (conf.ipam !== '') await delegate(conf.ipam, 'CHECK', call);
  await checkAttached(conf, call);
}

async function status(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  if (conf.vlans && !(await kernelHas('bridge vlans', { exec: call.host.exec })))
    throw cniError('CNI_NOT_AVAILABLE', `vlan, vlanTrunk: ${lackOf('bridge vlans')}`);
  if (conf.ipam !== '') await delegate(conf.ipam, 'STATUS', call);
}

async function gc(call: PluginCall): Promise<void> {
  const stays = validVeths(call);
  const isStale = (port: string): boolean => isVethOf(call.name, port) && !stays.has(port);
  const guarded = call.conf.object.macspoofchk === true;
  await collectPairs(call, guarded ? [() => dropGuards(isStale, { exec: call.host.exec })] : []);
}

export const bridge: Plugin = { type: 'bridge', add, del, check, status, gc };
