// CNI plugin bandwidth: limits how fast a container may receive and send. Chained after bridge or ptp.
// Assumes root, iproute2, and a veth pair. An ADD is one `tc` run, and one `ip` run more where it shapes what the
// container sends; a DEL is one `ip`. The ifb device is named after the attachment, so DEL and GC need no memory.
import { readdirSync } from 'node:fs';
import { CniError, cniError } from '../../lib/cni/errors.ts';
import { badValue } from '../../lib/cni/json.ts';
import type { CniInterface, CniResult } from '../../lib/cni/types.ts';
import { messageOf, settleAll } from '../../lib/exec/errors.ts';
import { ipBatch } from '../../lib/kernel/ip.ts';
import { hasIpv6, isLinkName, linkIsHere } from '../../lib/kernel/link.ts';
import type { LinkFacts } from '../../lib/kernel/net.ts';
import { tcAsk, tcBatch } from '../../lib/kernel/tc.ts';
import { asCniError, undone, type Undo } from '../lib/attachment.ts';
import { needPrevious } from '../lib/chained.ts';
import { aliasOf, randomMac } from '../lib/names.ts';
import { netOf } from '../lib/net.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { type BandwidthConf, parseConf } from './conf.ts';
import {
  askLines,
  ifbLines,
  ifbName,
  ifbPrefix,
  portCandidates,
  shapeFaults,
  shapeLines,
  tightBuckets,
  unshapeLines,
} from './plan.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf);
  const result = needPrevious(call);
  if (!conf.ingress && !conf.egress) return result;
  const undo: Undo = [];
  try {
    const port = await findPort(call, result);
    for (const text of tightBuckets(conf, port.mtu ?? 1500)) call.host.log?.(`bandwidth: ${text}\n`);
    const made = conf.egress ? [await makeIfb(call, port, undo)] : [];
    undo.push(() => unshape(conf, port, call));
    await tcBatch(shapeLines(conf, port.name, ifbName(call.name, call)), { exec: call.host.exec });
    return { ...result, interfaces: [...(result.interfaces ?? []), ...made] };
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

/** The machine's end of the container's pair. @throws CniError 7 where prevResult has none that is there */
async function findPort(call: PluginCall, result: CniResult): Promise<LinkFacts> {
  for (const name of portCandidates(result, call.ifname).filter(isLinkName)) {
    const facts = await netOf(call).inspect(name);
    if (facts?.kind === 'veth') return facts;
  }
  throw badValue(
    'prevResult.interfaces',
    result.interfaces ?? [],
    `the machine's end of ${call.ifname}, a veth pair as bridge and ptp make it`,
  );
}

async function makeIfb(call: PluginCall, port: LinkFacts, undo: Undo): Promise<CniInterface> {
  const name = ifbName(call.name, call);
  // Left by an ADD of this very attachment that was never undone.
  if (linkIsHere(name)) await netOf(call).deleteLink(name);
  const ifb = {
    name,
    mac: randomMac(),
    mtu: port.mtu ?? 1500,
    alias: aliasOf(call),
    ipv6: hasIpv6(port.mtu),
  };
  undo.push(() => netOf(call).deleteLink(name));
  await ipBatch(ifbLines(ifb), { exec: call.host.exec });
  return { name, mac: ifb.mac, ...(port.mtu === undefined ? {} : { mtu: port.mtu }) };
}

/** One by one: a batch that failed half-way left some of them undone. */
async function unshape(conf: BandwidthConf, port: LinkFacts, call: PluginCall): Promise<void> {
  for (const line of unshapeLines(conf, port.name)) {
    try {
      await tcBatch([line], { exec: call.host.exec });
    } catch (error) {
      call.host.log?.(`bandwidth: undoing: ${messageOf(error)}\n`); // mostly: it was not there yet
    }
  }
}

/** The buckets of the pair go with the pair. */
async function del(call: PluginCall): Promise<void> {
  await netOf(call).deleteLink(ifbName(call.name, call));
}

async function gc(call: PluginCall): Promise<void> {
  const prefix = ifbPrefix(call.name);
  const valid = new Set(call.validAttachments.map((one) => ifbName(call.name, one)));
  const links = readdirSync('/proc/sys/net/ipv4/conf').filter((name) => /^pwb[0-9a-f]{12}$/.test(name));
  const stale = links.filter((name) => name.startsWith(prefix) && !valid.has(name));
  await settleAll(
    'GC',
    stale.map((name) => () => netOf(call).deleteLink(name)),
  );
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf);
  const result = needPrevious(call);
  if (!conf.ingress && !conf.egress) return;
  const names = { port: (await findPort(call, result)).name, ifb: ifbName(call.name, call) };
  if (conf.egress && !linkIsHere(names.ifb))
    throw new CniError(
      ownCodes.checkFailed,
      `${names.ifb} is missing: what the container sends is not limited`,
    );
  const answers = await tcAsk(askLines(conf, names.port, names.ifb), { exec: call.host.exec });
  const faults = shapeFaults(conf, names, answers);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** @throws CniError 50 where tc cannot be used */
async function status(call: PluginCall): Promise<void> {
  parseConf(call.conf);
  try {
    await tcAsk(['qdisc show dev lo'], { exec: call.host.exec });
  } catch (error) {
    throw cniError('CNI_NOT_AVAILABLE', `tc: ${messageOf(error)}`, { cause: error });
  }
}

export const bandwidth: Plugin = { type: 'bandwidth', add, del, check, status, gc };
