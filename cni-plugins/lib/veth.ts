// The life of a veth pair between machine and container, as bridge and ptp share it: what a failure to make it means, its
// end (DEL), and the end of those that nobody owns any more (GC). Names follow from the owner, so no memory is needed.
// Assumes one network's pairs share a prefix. The link goes before its lease, which is never free while it can be used.
import { readdirSync } from 'node:fs';
import { CniError } from '../../lib/cni/errors.ts';
import type { CniIp } from '../../lib/cni/types.ts';
import { messageOf, settleAll } from '../../lib/exec/errors.ts';
import { isAbsent } from '../../lib/kernel/errors.ts';
import { isLinkName } from '../../lib/kernel/link.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { PluginCall } from '../skel/skel.ts';
import type { Undo } from './attachment.ts';
import { addMasquerade, dropMasquerade, ownerOf } from './masquerade.ts';
import { vethName, vethPrefix } from './names.ts';
import { netOf } from './net.ts';
import { netnsWord } from './pod.ts';

/** The error of an ADD that found the pair's names taken; looked into only once it failed. */
export function pairExists(call: PluginCall, cause: unknown): CniError {
  const veth = vethName(call.name, call.containerId, call.ifname);
  const taken = netOf(call).glance(veth)
    ? `${veth} of the same container and interface is there`
    : `${call.netns} has one`;
  const message = `interface ${call.ifname} exists already: ${taken}`;
  return new CniError(ownCodes.interfaceExists, message, { details: messageOf(cause), cause });
}

type Step = () => unknown;

/** The pair, its masquerading, `more`, and then the lease. Goes on past a failure; repeatable. */
export async function deletePair(call: PluginCall, more: readonly Step[] = []): Promise<void> {
  const { ipam, masquerades } = delConf(call);
  await settleAll('DEL', [
    () => removeLink(call),
    ...(masquerades ? [() => unmasquerade(call)] : []),
    ...more,
  ]);
  // Last, and only when the link is gone: an address must not be leased again while a container can still use it.
  if (ipam !== '') await delegate(ipam, 'DEL', call);
}

/** What DEL needs; a configuration that ADD would refuse must not keep anything alive. */
function delConf(call: PluginCall): { ipam: string; masquerades: boolean } {
  const type = call.conf.fields('ipam').string('type') ?? '';
  return { ipam: type, masquerades: call.conf.object.ipMasq === true };
}

/** What leaves these addresses gets the machine's own; undone with the rest of a failed ADD. */
export async function masquerade(call: PluginCall, ips: readonly CniIp[], undo: Undo): Promise<void> {
  undo.push(() => unmasquerade(call));
  const { exec } = call.host;
  await addMasquerade(call.name, ips, { exec, owner: ownerOf(call.containerId, call.ifname) });
}

export const unmasquerade = (call: PluginCall): Promise<void> =>
  dropMasquerade(call.name, (owner) => owner === ownerOf(call.containerId, call.ifname), {
    exec: call.host.exec,
  });

async function removeLink(call: PluginCall): Promise<void> {
  if (await netOf(call).deleteLink(vethName(call.name, call.containerId, call.ifname))) return;
  // Made by another plugin, or by none: what the container calls so is to go all the same.
  await removeInside(call, call.ifname);
}

/** Removes a link of the container's. False: there was none, or no namespace to look into. */
export async function removeInside(call: PluginCall, name: string): Promise<boolean> {
  if (call.netns === '') return false;
  try {
    return await netOf(call).deleteLink(name, netnsWord(call.netns));
  } catch (error) {
    if (!isAbsent(error)) throw error;
    return false;
  }
}

/** Removes the pairs, masquerade elements and leases of this network that belong to no valid attachment, and `more`. */
export async function collectPairs(call: PluginCall, more: readonly Step[] = []): Promise<void> {
  const { ipam, masquerades } = delConf(call);
  const owners = new Set(call.validAttachments.map((one) => ownerOf(one.containerId, one.ifname)));
  const net = netOf(call);
  const steps: Step[] = [...stalePairs(call).map((link) => () => net.deleteLink(link)), ...more];
  if (masquerades)
    steps.push(() => dropMasquerade(call.name, (owner) => !owners.has(owner), { exec: call.host.exec }));
  if (ipam !== '') steps.push(() => delegate(ipam, 'GC', call));
  await settleAll('GC', steps);
}

function stalePairs(call: PluginCall): string[] {
  const names = validVeths(call);
  const links = readdirSync('/proc/sys/net/ipv4/conf').filter(isLinkName);
  return links.filter((link) => isVethOf(call.name, link) && !names.has(link));
}

/** Of GC: the host ends that are to stay. */
export const validVeths = (call: PluginCall): ReadonlySet<string> =>
  new Set(call.validAttachments.map((one) => vethName(call.name, one.containerId, one.ifname)));

/** By the form of its name. */
export const isVethOf = (network: string, link: string): boolean =>
  link.startsWith(vethPrefix(network)) && link.length === 15;
