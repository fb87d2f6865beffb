// CNI plugin portmap: ports of the machine lead to ports of the container, by nftables. Chained after an address plugin.
// Assumes root and nftables >= 1.0; it reserves nothing: a service of the machine on the same port loses its callers.
// An ADD is one `nft` transaction and one file read; a DEL is two `nft` runs. Invariants: one key, one holder (the kernel
// refuses the second); every element names its owner, so DEL and GC need neither result nor cache.
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { ExecError, messageOf } from '../../lib/exec/errors.ts';
import { dropFlows } from '../../lib/kernel/conntrack.ts';
import { isExists } from '../../lib/kernel/errors.ts';
import { linkIsHere } from '../../lib/kernel/link.ts';
import { nftList } from '../../lib/kernel/nftables.ts';
import { ensureSysctl, readSysctl } from '../../lib/kernel/sysctl.ts';
import { asCniError, undone, type Undo } from '../lib/attachment.ts';
import { containerAddresses, needPrevious, routingLink } from '../lib/chained.ts';
import {
  applyOn,
  chainsWithRules,
  deleteLine,
  dropElements,
  type Element,
  elementsIn,
  listTable,
} from '../lib/elements.ts';
import { isStaleIn, keyOf, ownerComment, ownerKey, ownerWords } from '../lib/owner.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { parseConf } from './conf.ts';
import {
  elementLines,
  flowsOf,
  mapElements,
  masqueradeElements,
  neededChains,
  networkLines,
  skeletonLines,
  table,
  type Target,
} from './rules.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf);
  const result = needPrevious(call);
  if (conf.mappings.length === 0) return result;
  const target = targetOf(call, result);
  const undo: Undo = [];
  try {
    await putElements(target, call);
    undo.push(() => drop(call));
    await forgetFlows(mapElements(target), call);
    const localnet = localnetKey(target);
    if (localnet !== undefined) await ensureSysctl(localnet, '1');
    return result;
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

/** @throws CniError 7 where the container has no address that could be mapped to */
function targetOf(call: PluginCall, result: CniResult): Target {
  const conf = parseConf(call.conf);
  const addresses = containerAddresses(result, call.ifname);
  const target = { network: call.name, conf, addresses, link: routingLink(result) };
  if (addresses.length === 0)
    throw cniError(
      'CNI_INVALID_CONFIG',
      `prevResult: ${call.ifname} has no address that a port could lead to`,
    );
  for (const { hostIp, hostPort, families } of conf.mappings)
    if (!addresses.some(({ family }) => families.includes(family)))
      call.host.log?.(
        `portmap: ${hostIp ?? `IPv${families[0]}`} port ${hostPort}: ${call.ifname} has no address of that family\n`,
      );
  return target;
}

async function putElements(target: Target, call: PluginCall): Promise<void> {
  const options = { exec: call.host.exec };
  const comment = ownerComment(call.name, call);
  // Chains of a network's own make sense only beside the shared ones: one text then, in the order of its parts.
  const [skeleton, own] = [skeletonLines(), networkLines(target.network, target.conf)];
  try {
    await applyOn(skeleton, [...own, ...elementLines(target, comment)], options);
  } catch (error) {
    if (!isExists(error)) throw error;
    const left = await holdersOf(target, call);
    const lines = [...own, ...left.map(deleteLine), ...elementLines(target, comment, 'take')];
    await applyOn(skeleton, lines, options);
  }
}

/** What this very attachment still holds (of an ADD without its DEL). @throws CniError 130 where another holds a port */
async function holdersOf(target: Target, call: PluginCall): Promise<Element[]> {
  const held = elementsIn(table, await listTable(table, { exec: call.host.exec }));
  const own = ownerKey(call.name, call);
  for (const wanted of mapElements(target)) {
    const holder = held.find(({ set, key }) => set === wanted.set && key === wanted.key);
    if (holder && keyOf(holder.comment) !== own)
      throw new CniError(
        ownCodes.hostPortTaken,
        `host port ${portWords(wanted)} is taken by ${ownerWords(holder.comment)}`,
        { details: 'choose another hostPort, hostIP or protocol, or remove that container' },
      );
  }
  return held.filter(({ comment }) => keyOf(comment) === own);
}

/** `8080/tcp` or `8080/tcp of 192.0.2.1`. */
function portWords({ key }: Element): string {
  const words = key.split(' . ');
  return `${words.at(-1)}/${words.at(-2)}${words.length > 2 ? ` of ${words[0]}` : ''}`;
}

/** The switch that lets 127.0.0.1 be routed to the container, on the one link where it must be. */
function localnetKey({ conf, addresses, link }: Target): string | undefined {
  if (!conf.snat || link === undefined || !addresses.some(({ family }) => family === 4)) return undefined;
  return linkIsHere(link) ? `net/ipv4/conf/${link}/route_localnet` : undefined;
}

/** A UDP flow has no end: without this, packets follow the former way for as long as they keep coming. */
async function forgetFlows(elements: readonly Element[], call: PluginCall): Promise<void> {
  const filters = flowsOf(elements);
  try {
    if (await dropFlows(filters, { exec: call.host.exec })) return;
    call.host.log?.(
      'portmap: no conntrack program (package conntrack): UDP flows of before keep their former way\n',
    );
  } catch (error) {
    call.host.log?.(`portmap: UDP flows of before may keep their former way: ${messageOf(error)}\n`);
  }
}

const drop = (call: PluginCall) => {
  const own = ownerKey(call.name, call);
  return dropElements(table, ({ comment }) => keyOf(comment) === own, { exec: call.host.exec });
};

async function del(call: PluginCall): Promise<void> {
  await forgetFlows(await drop(call), call);
}

async function gc(call: PluginCall): Promise<void> {
  const isStale = isStaleIn(call);
  const gone = await dropElements(table, ({ comment }) => isStale(comment), { exec: call.host.exec });
  await forgetFlows(gone, call);
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf);
  const result = needPrevious(call);
  if (conf.mappings.length === 0) return;
  const target = targetOf(call, result);
  const objects = await listTable(table, { exec: call.host.exec });
  const [held, chains, own] = [
    elementsIn(table, objects),
    chainsWithRules(objects),
    ownerKey(call.name, call),
  ];
  const faults = neededChains(call.name, conf)
    .filter((name) => !chains.has(name))
    .map((name) => `chain ${name} of table ${table} is missing or empty`);
  for (const wanted of [...mapElements(target), ...masqueradeElements(target)]) {
    const there = held.find(({ set, key }) => set === wanted.set && key === wanted.key);
    if (there && keyOf(there.comment) === own && there.value === wanted.value) continue;
    faults.push(`${wanted.set} has ${there ? 'another' : 'no'} element for ${wanted.key}`);
  }
  const localnet = localnetKey(target);
  if (localnet !== undefined && (await readSysctl(localnet)) !== '1') faults.push(`${localnet} is not 1`);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** @throws CniError 50 where nftables cannot be used */
async function status(call: PluginCall): Promise<void> {
  parseConf(call.conf);
  try {
    await nftList(['tables'], { exec: call.host.exec });
  } catch (error) {
    const details = error instanceof ExecError ? error.code : '';
    throw cniError('CNI_NOT_AVAILABLE', `nftables: ${messageOf(error)}`, { details, cause: error });
  }
}

export const portmap: Plugin = { type: 'portmap', add, del, check, status, gc };
