// CNI plugin firewall: who may reach a container through this machine, by nftables. Chained after bridge or ptp.
// Assumes root and nftables >= 1.0. It changes no table but its own; an accept there cannot undo another table's drop.
// An ADD is one `nft` transaction; a DEL two `nft` runs. Every element names its owner, so DEL and GC need no result.
import { CniError, cniError } from '../../lib/cni/errors.ts';
import { badValue } from '../../lib/cni/json.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { messageOf, settleAll } from '../../lib/exec/errors.ts';
import { isExists } from '../../lib/kernel/errors.ts';
import { linkIsHere } from '../../lib/kernel/link.ts';
import { asCniError } from '../lib/attachment.ts';
import { allAddresses, machineLinks, needPrevious } from '../lib/chained.ts';
import {
  applyOn,
  chainsWithRules,
  dropElements,
  elementsIn,
  listTable,
  type OwnedElement,
} from '../lib/elements.ts';
import { isStaleIn, keyOf, ownerComment, ownerKey } from '../lib/owner.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { parseConf } from './conf.ts';
import { dropWarning, findDroppingChains } from './forward-policy.ts';
import {
  addLines,
  bridgeTable,
  elementsOf,
  sharedElement,
  skeletonLines,
  table,
  type Target,
} from './rules.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const target = targetOf(call);
  try {
    if (await putElements(target, call)) await warn(call);
    return needPrevious(call);
  } catch (error) {
    throw asCniError(error, call);
  }
}

/** True: the tables were made, too. */
async function putElements(target: Target, call: PluginCall): Promise<boolean> {
  const [skeleton, comment] = [skeletonLines(target.policy), ownerComment(call.name, call)];
  const options = { exec: call.host.exec };
  try {
    return await applyOn(skeleton, addLines(target, comment), options);
  } catch (error) {
    // Left by a container of the same address that is gone: every attachment holds that of its address.
    if (!isExists(error)) throw error;
    return applyOn(skeleton, addLines(target, comment, 'take'), options);
  }
}

/** @throws CniError 7 where a policy needs a link of the machine and prevResult has none */
function targetOf(call: PluginCall): Target {
  const { ingressPolicy: policy } = parseConf(call.conf);
  const result = needPrevious(call);
  const links = machineLinks(result).slice(0, 2);
  if (policy !== 'open' && links.length === 0)
    throw badValue(
      'prevResult.interfaces',
      result.interfaces ?? [],
      `the machine's link, which ingressPolicy ${policy} needs`,
    );
  return { policy, addresses: allAddresses(result, call.ifname), links };
}

async function warn(call: PluginCall): Promise<void> {
  const chains = await findDroppingChains({ exec: call.host.exec });
  if (chains.length > 0) call.host.log?.(dropWarning(chains));
}

async function del(call: PluginCall): Promise<void> {
  const own = ownerKey(call.name, call);
  await drop(call, (comment) => keyOf(comment) === own, {
    // The other table is looked at where the configuration says that there may be something; GC always looks.
    bridges: call.conf.object.ingressPolicy === 'isolated',
  });
}

const gc = (call: PluginCall): Promise<void> => drop(call, isStaleIn(call), { bridges: true });

async function drop(
  call: PluginCall,
  isStale: (comment: string) => boolean,
  look: { readonly bridges: boolean },
): Promise<void> {
  const options = { exec: call.host.exec };
  const isGone = ({ set, key, comment }: OwnedElement): boolean =>
    comment === '' ? set === 'bridges' && !linkIsHere(key.slice(1, -1)) : isStale(comment);
  await settleAll('DEL', [
    () => dropElements(table, isGone, options),
    ...(look.bridges ? [() => dropElements(bridgeTable, isGone, options)] : []),
  ]);
}

async function check(call: PluginCall): Promise<void> {
  const target = targetOf(call);
  const options = { exec: call.host.exec };
  const objects = await listTable(table, options);
  const bridgeObjects = target.policy === 'isolated' ? await listTable(bridgeTable, options) : [];
  const held = [...elementsIn(table, objects), ...elementsIn(bridgeTable, bridgeObjects)];
  const faults = [
    ...(chainsWithRules(objects).has('forward')
      ? []
      : [`chain forward of table ${table} is missing or empty`]),
    ...missing(target, held, ownerKey(call.name, call)),
  ];
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
  await warn(call);
}

function missing(target: Target, held: readonly OwnedElement[], own: string): string[] {
  const has = (at: string, set: string, key: string) =>
    held.find((one) => one.table === at && one.set === set && one.key === key);
  const { present, absent } = elementsOf(target);
  const shared = sharedElement(target);
  return [
    ...(shared && !has(table, shared.set, shared.key) ? [`bridges has no element for ${shared.key}`] : []),
    ...present
      .filter((one) => keyOf(has(one.table, one.set, one.key)?.comment ?? '') !== own)
      .map((one) => `${one.set} of ${one.table} has no element of this container for ${one.key}`),
    ...absent
      .filter((one) => has(one.table, one.set, one.key))
      .map(
        (one) =>
          `${one.set} of ${one.table} has an element for ${one.key} that ingressPolicy ${target.policy} has not`,
      ),
  ];
}

/** @throws CniError 50 where nftables cannot be used */
async function status(call: PluginCall): Promise<void> {
  parseConf(call.conf);
  try {
    await warn(call);
  } catch (error) {
    throw cniError('CNI_NOT_AVAILABLE', `nftables: ${messageOf(error)}`, { cause: error });
  }
}

export const firewall: Plugin = { type: 'firewall', add, del, check, status, gc };
