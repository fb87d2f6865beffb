// CNI plugin vxlan: Pods of several machines on one routed overlay. Each machine has subnets of its own, a bridge for its
// Pods (the plugin bridge, in this process), and a VTEP with static routes, neighbours and FDB entries for its peers:
// nothing is flooded, nothing learned, and the real source addresses stay. Assumes root, iproute2, a kernel with vxlan.
// The VTEP stays when the last container goes: the machine itself reaches Pods elsewhere by it, and an ADD may be on its
// way. GC removes it once no attachment is left.
import { type Cidr, formatCidr, networkOf, parseCidr } from '../../lib/cni/address.ts';
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { CniIp, CniResult } from '../../lib/cni/types.ts';
import { settleAll } from '../../lib/exec/errors.ts';
import { linkIsHere } from '../../lib/kernel/link.ts';
import { kernelHas, lackOf } from '../../lib/kernel/link-info.ts';
import { nftApply } from '../../lib/kernel/nftables.ts';
import { bridge } from '../bridge/bridge.ts';
import { asCniError, type Undo, undone } from '../lib/attachment.ts';
import { addMasquerade, nearText, ownerOf } from '../lib/masquerade.ts';
import { netOf } from '../lib/net.ts';
import { isV6 } from '../lib/pod.ts';
import { unmasquerade } from '../lib/veth.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { bridgeConf, parseConf, peersNow, type VxlanConf } from './conf.ts';
import { ensureOverlay, lookAt, plannedVtep, standingVtep, type Wanted, withVtepLock } from './overlay.ts';
import type { Peer } from './peers.ts';
import { tooSmallForIpv6 } from './underlay.ts';
import { isOurs, judge, type Vtep } from './vtep.ts';

const bridgeCall = (call: PluginCall, conf: VxlanConf, mtu?: number): PluginCall => ({
  ...call,
  conf: bridgeConf(call.conf, { bridge: conf.bridge, mtu }),
});

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf);
  const undo: Undo = [];
  try {
    const vtep =
      standingVtep(conf, await lookAt(conf.vtep, call), call) ??
      (await plannedVtep(conf, peersNow(conf), call));
    const result = await bridge.add(bridgeCall(call, conf, vtep.mtu));
    undo.push(() => bridge.del(call));
    checkFamilies(result, vtep);
    const wanted = await withVtepLock(conf.vtep, () =>
      ensureNow(conf, vtep, { call, ips: result.ips ?? [] }),
    );
    if (conf.ipMasq) {
      undo.push(() => unmasquerade(call));
      await masquerade(call, result.ips ?? [], wanted);
    }
    const { name, mac, mtu } = vtep;
    return { ...result, interfaces: [...(result.interfaces ?? []), { name, mac, mtu }] };
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

/** Under the lock: peers are read here, so that what is applied is the newest. */
async function ensureNow(
  conf: VxlanConf,
  vtep: Vtep,
  { call, ips }: { call: PluginCall; ips: readonly CniIp[] },
): Promise<Wanted> {
  const wanted = { vtep, peers: peersNow(conf), nets: await ownNets(conf, ips, call) };
  await ensureOverlay(wanted, call);
  return wanted;
}

function checkFamilies(result: CniResult, { mtu }: Vtep): void {
  if (tooSmallForIpv6(mtu) && (result.ips ?? []).some((ip) => isV6(ip.address)))
    throw cniError(
      'CNI_INVALID_CONFIG',
      `mtu: ${mtu} is left for the overlay, and IPv6 needs 1280 (RFC 8200)`,
    );
}

/** Subnets of this container, and those of the bridge, which is the gateway of all others. */
async function ownNets(conf: VxlanConf, ips: readonly CniIp[], call: PluginCall): Promise<Cidr[]> {
  const net = netOf(call);
  const glanced = net.glance(conf.bridge);
  const seen = glanced === 'unknown' ? await net.inspect(conf.bridge) : glanced;
  const texts = [...ips.map((ip) => ip.address), ...(seen?.addresses ?? [])];
  const nets = texts.flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr && !text.startsWith('fe80:') ? [{ ip: networkOf(cidr), length: cidr.length }] : [];
  });
  return [...new Map(nets.map((one) => [formatCidr(one), one])).values()];
}

/**
 * No NAT between Pods: neither to this machine's nor to the peers' subnets. In two transactions, as nft cannot add to a
 * set of intervals and empty it in one.
 */
async function masquerade(call: PluginCall, ips: readonly CniIp[], wanted: Wanted): Promise<void> {
  const { exec } = call.host;
  await addMasquerade(call.name, ips, { exec, owner: ownerOf(call.containerId, call.ifname) });
  await nftApply(nearText(call.name, nearNets(wanted)), { exec });
}

const nearNets = ({ nets, peers }: Wanted): string[] =>
  [...nets, ...peers.flatMap((peer: Peer) => peer.subnets)].map(formatCidr);

/** Everything that bridge and IPAM check; the VTEP; and its peers, which are read again and applied. */
async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf);
  const ips = call.prevResult?.ips ?? [];
  const vtep = await plannedVtep(conf, peersNow(conf), call);
  await bridge.check?.(bridgeCall(call, conf, vtep.mtu));
  const fault = (what: string) => new CniError(ownCodes.checkFailed, `VTEP ${conf.vtep}: ${what}`);
  await withVtepLock(conf.vtep, async () => {
    const seen = await lookAt(conf.vtep, call);
    if (!seen) throw fault('missing');
    const verdict = judge(seen, vtep, call.name);
    if (verdict.do !== 'reuse') throw fault(verdict.reasons.join(', '));
    const wanted = await ensureNow(conf, vtep, { call, ips });
    if (conf.ipMasq) await masquerade(call, ips, wanted);
  });
}

/** @throws CniError 50 */
async function status(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf);
  if (!linkIsHere(conf.vtep) && !(await kernelHas('vxlan', { exec: call.host.exec })))
    throw cniError('CNI_NOT_AVAILABLE', `vxlan: ${lackOf('vxlan')}`);
  let peers: Peer[];
  try {
    peers = peersNow(conf);
  } catch (cause) {
    throw cniError('CNI_NOT_AVAILABLE', cause instanceof Error ? cause.message : String(cause), { cause });
  }
  await plannedVtep(conf, peers, call);
  await bridge.status?.(bridgeCall(call, conf));
}

/** What bridge collects; and the VTEP, with all it knows, when nobody is left to use it. */
async function gc(call: PluginCall): Promise<void> {
  const steps: Array<() => unknown> = [() => bridge.gc?.(call)];
  if (call.validAttachments.length === 0) steps.push(() => removeVtep(call));
  await settleAll('GC', steps);
}

async function removeVtep(call: PluginCall): Promise<void> {
  const { vtep } = parseConf(call.conf);
  if (!linkIsHere(vtep)) return;
  await withVtepLock(vtep, async () => {
    const seen = await lookAt(vtep, call);
    if (seen && isOurs(seen, call.name)) await netOf(call).deleteLink(vtep);
  });
}

export const vxlan: Plugin = { type: 'vxlan', add, del: (call) => bridge.del(call), check, status, gc };
