// CNI plugin bridge: a veth pair between the container and a bridge of this machine, addresses from an IPAM plugin.
// Assumes root, iproute2, and (ipMasq) nftables. An ADD is two `ip -batch` runs, one in each namespace, and file reads;
// a DEL is one `ip`. Names follow from the container's id, so DEL needs no memory.
// Invariants: what ADD made is unmade when it fails; DEL may be repeated after any failure; the link goes before its lease.
import { readdirSync } from 'node:fs';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { messageOf, settleAll } from '../../lib/exec/errors.ts';
import { isAbsent, isExists } from '../../lib/kernel/errors.ts';
import { hasIpv6, isLinkName } from '../../lib/kernel/link.ts';
import { failedOp, ipLine, ipNet, type LinkFacts, type Net } from '../../lib/kernel/net.ts';
import { writeSysctl } from '../../lib/kernel/sysctl.ts';
import { traceFromEnv } from '../../lib/kernel/trace.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { addIpam, asCniError, forward, type Undo, undone } from '../lib/attachment.ts';
import { addMasquerade, dropMasquerade, ownerOf } from '../lib/masquerade.ts';
import { aliasOf, randomMac, vethName, vethPrefix } from '../lib/names.ts';
import { families, netnsWord } from '../lib/pod.ts';
import { checkAttached } from './check.ts';
import { type BridgeConf, parseConf } from './conf.ts';
import { type AddPlan, planAdd, type Wish } from './plan.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf, call.args);
  const net = ipNet({ exec: call.host.exec });
  const undo: Undo = [];
  try {
    const ipam = conf.ipam === '' ? {} : await addIpam(conf.ipam, call, undo);
    const plan = await attach({ net, wish: wishOf(conf, call, ipam), undo });
    for (const family of conf.isGateway ? families(plan.result.ips ?? []) : []) await forward(family);
    if (conf.ipMasq) {
      undo.push(() => unmasquerade(call));
      await addMasquerade(call.name, plan.result.ips ?? [], {
        exec: call.host.exec,
        owner: ownerOf(call.containerId, call.ifname),
      });
    }
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
  ipv6: hasIpv6(),
  ipam,
});

interface Attaching {
  readonly net: Net;
  readonly wish: Wish;
  readonly undo: Undo;
}

/** Carries the plan out; where another ADD made the bridge in between, plans again from what is there now. */
async function attach(task: Attaching): Promise<AddPlan> {
  const { net, wish } = task;
  for (let attempt = 1; ; attempt++) {
    const seen = net.glance(wish.conf.bridge);
    const hasty = planAdd(wish, seen);
    tellHeld(hasty);
    try {
      const [looked] = await applyHost(task, hasty);
      if (seen === undefined) await ownRoutes(wish.conf.bridge);
      const plan = looked ? planAdd(wish, looked) : hasty;
      if (looked) await net.apply(plan.gateway);
      await net.apply(plan.pod, netnsWord(wish.netns));
      return plan;
    } catch (error) {
      const raced = isExists(error) && failedOp(error, hasty.host)?.op === 'addBridge' && attempt < 5;
      if (!raced) throw await explained({ error, net, wish, plan: hasty });
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

/** For `explain`: what would be done on a machine without the bridge. */
function tellHeld(plan: AddPlan): void {
  if (plan.held.length > 0) traceFromEnv()({ tool: 'ip', lines: plan.held.map(ipLine), held: true });
}

/** Routes on the bridge are ours: a container must not change them by router advertisements (CVE-2020-10749). */
async function ownRoutes(bridge: string): Promise<void> {
  if (hasIpv6()) await writeSysctl(`net/ipv6/conf/${bridge}/accept_ra`, '0');
}

/** A failure that a person can act on, where the kernel's own words are too short; looked into only once it failed. */
async function explained(failed: { error: unknown; net: Net; wish: Wish; plan: AddPlan }): Promise<unknown> {
  const { error, net, wish, plan } = failed;
  const op = failedOp(error, plan.host);
  const own = (code: number, message: string) =>
    new CniError(code, message, { details: messageOf(error), cause: error });
  if (op?.op === 'addVeth' && isExists(error)) {
    const taken = net.glance(wish.veth)
      ? `${wish.veth} of the same container and interface is there`
      : `${wish.netns} has one`;
    return own(ownCodes.interfaceExists, `interface ${wish.ifname} exists already: ${taken}`);
  }
  if (op?.op === 'setLink' && op.master !== undefined) {
    const kind = (await net.inspect(wish.conf.bridge))?.kind;
    if (kind !== undefined && kind !== 'bridge')
      return own(
        ownCodes.bridgeConflict,
        `bridge: ${wish.conf.bridge} exists and is no bridge${kind === '' ? '' : ` (${kind})`}`,
      );
  }
  return error;
}

async function del(call: PluginCall): Promise<void> {
  const { name, containerId, ifname } = call;
  const { ipam, masquerades } = delConf(call);
  const steps: Array<() => unknown> = [() => removeLink(call)];
  if (masquerades)
    steps.push(() =>
      dropMasquerade(name, (owner) => owner === ownerOf(containerId, ifname), { exec: call.host.exec }),
    );
  await settleAll('DEL', steps);
  // Last, and only when the link is gone: an address must not be leased again while a container can still use it.
  if (ipam !== '') await delegate(ipam, 'DEL', call);
}

/** What DEL needs; a configuration that ADD would refuse must not keep anything alive. */
function delConf(call: PluginCall): { ipam: string; masquerades: boolean } {
  const type = call.conf.fields('ipam').string('type') ?? '';
  return { ipam: type, masquerades: call.conf.object.ipMasq === true };
}

const unmasquerade = (call: PluginCall): Promise<void> =>
  dropMasquerade(call.name, (owner) => owner === ownerOf(call.containerId, call.ifname), {
    exec: call.host.exec,
  });

async function removeLink(call: PluginCall): Promise<void> {
  const net = ipNet({ exec: call.host.exec });
  if (await net.deleteLink(vethName(call.name, call.containerId, call.ifname))) return;
  if (call.netns === '') return;
  // Made by another bridge plugin, or by none: what the container calls so is to go all the same.
  try {
    await net.deleteLink(call.ifname, netnsWord(call.netns));
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  if (conf.ipam !== '') await delegate(conf.ipam, 'CHECK', call);
  await checkAttached(conf, call);
}

async function status(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  if (conf.ipam !== '') await delegate(conf.ipam, 'STATUS', call);
}

/** Removes the pairs, masquerade elements and leases of this network that belong to no valid attachment. */
async function gc(call: PluginCall): Promise<void> {
  const { ipam, masquerades } = delConf(call);
  const { exec } = call.host;
  const names = new Set(call.validAttachments.map((one) => vethName(call.name, one.containerId, one.ifname)));
  const owners = new Set(call.validAttachments.map((one) => ownerOf(one.containerId, one.ifname)));
  const prefix = vethPrefix(call.name);
  const links = readdirSync('/proc/sys/net/ipv4/conf').filter(isLinkName);
  const stale = links.filter((link) => link.startsWith(prefix) && link.length === 15 && !names.has(link));
  const net = ipNet({ exec });
  const steps: Array<() => unknown> = stale.map((link) => () => net.deleteLink(link));
  if (masquerades) steps.push(() => dropMasquerade(call.name, (owner) => !owners.has(owner), { exec }));
  if (ipam !== '') steps.push(() => delegate(ipam, 'GC', call));
  await settleAll('GC', steps);
}

export const bridge: Plugin = { type: 'bridge', add, del, check, status, gc };
