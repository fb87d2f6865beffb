// Plugins whose interface sits on a link of the machine (its parent) and lives in the container: macvlan, vlan. What they
// share: common keys, ADD, DEL, CHECK, STATUS, GC. Each brings the change that makes its kind, and what CHECK compares.
// Assumes root and iproute2. An ADD is a look at the parent and two `ip -batch` runs. The interface goes with its
// namespace, so a lost DEL leaves nothing on the machine but the lease, which GC takes back.
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import { parseDns } from '../../lib/cni/result.ts';
import type { CniDns, CniResult } from '../../lib/cni/types.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { isExists, isNotSupported } from '../../lib/kernel/errors.ts';
import { sha256 } from '../../lib/kernel/hash.ts';
import { ipJson } from '../../lib/kernel/ip.ts';
import { defaultRouteDevice, isLinkName } from '../../lib/kernel/link.ts';
import { kernelHas, lackOf, type LinkInfo, readLinkInfo } from '../../lib/kernel/link-info.ts';
import type { LinkFacts, NetOp } from '../../lib/kernel/net.ts';
import { writeSysctl } from '../../lib/kernel/sysctl.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { addIpam, asCniError, parseIpam, type Undo, undone } from './attachment.ts';
import { insideFaults, lookInside } from './check-inside.ts';
import { netOf } from './net.ts';
import { isV6, netnsWord, podOps } from './pod.ts';
import { removeInside } from './veth.ts';

/** Keys that all of them have. */
export interface SubLinkConf {
  /** The parent; '': whatever the default route leaves by. */
  readonly master: string;
  /** undefined: the parent's. */
  readonly mtu: number | undefined;
  /** The parent is in the container's namespace, not in the machine's. */
  readonly linkInContainer: boolean;
  readonly mac: string | undefined;
  readonly ipam: string;
  readonly dns: CniDns;
}

/** What a change that makes the link is told. `netns`: absent where it is made in the parent's own namespace. */
export interface Making {
  readonly name: string;
  readonly parent: string;
  readonly mtu?: number;
  readonly netns?: string;
}

export interface SubLinkKind<Conf extends SubLinkConf> {
  readonly type: 'macvlan' | 'vlan';
  readonly parseConf: (conf: Fields, args: Readonly<Record<string, string>>) => Conf;
  readonly make: (conf: Conf, making: Making) => NetOp;
  /** The MAC of the new link. */
  readonly macOf: (op: NetOp, parent: LinkFacts) => string;
  /** What of the kind's own settings is not as configured, in words. */
  readonly faults: (conf: Conf, seen: LinkInfo) => string[];
}

/** @throws CniError 7 that names the key */
export function parseSubLink(conf: Fields, mac: string | undefined): SubLinkConf {
  const master = conf.string('master') ?? '';
  if (master !== '' && (!isLinkName(master) || /["\\]/.test(master)))
    throw conf.bad('master', "a link name of 1 to 15 characters without '/' and ':'");
  const mtu = conf.integer('mtu', { min: 0, max: 65535 }) || undefined;
  if (mtu !== undefined && mtu < 68) throw conf.bad('mtu', 'at least 68 (RFC 791)');
  return {
    master,
    mtu,
    linkInContainer: conf.boolean('linkInContainer') ?? false,
    mac,
    ipam: parseIpam(conf),
    dns: parseDns(conf.fields('dns')),
  };
}

/** The namespace of the parent; undefined: the machine's. */
const placeOf = (conf: SubLinkConf, call: PluginCall): string | undefined =>
  conf.linkInContainer ? netnsWord(call.netns) : undefined;

/** @throws CniError 7 */
async function findParent(conf: SubLinkConf, call: PluginCall): Promise<LinkFacts> {
  const netns = placeOf(conf, call);
  const name = conf.master || (await defaultDevice(call, netns));
  const parent = name === undefined ? undefined : await netOf(call).inspect(name, netns);
  const where = netns === undefined ? 'on this machine' : 'in the container';
  if (!parent)
    throw cniError(
      'CNI_INVALID_CONFIG',
      name
        ? `master: no link ${name} ${where}`
        : `master: not given, and no default route ${where} to take one from`,
    );
  if (conf.mtu !== undefined && parent.mtu !== undefined && conf.mtu > parent.mtu)
    throw call.conf.bad('mtu', `at most ${parent.mtu}, the MTU of ${parent.name}`);
  return parent;
}

async function defaultDevice(call: PluginCall, netns: string | undefined): Promise<string | undefined> {
  const four = netns === undefined ? defaultRouteDevice() : undefined;
  if (four !== undefined) return four;
  for (const family of ['-4', '-6']) {
    const routes = await ipJson([family, 'route', 'show', 'default'], { netns, exec: call.host.exec });
    const [first] = routes as Array<{ dev?: string }>;
    if (first?.dev !== undefined) return first.dev;
  }
  return undefined;
}

/** The link is made under this name: the kernel refuses its own where the machine has a link that is called so. */
const makingName = (call: PluginCall): string =>
  `pw${sha256(`${call.name}\n${call.containerId}\n${call.ifname}`).slice(0, 12)}`;

async function add<Conf extends SubLinkConf>(kind: SubLinkKind<Conf>, call: PluginCall): Promise<CniResult> {
  const conf = kind.parseConf(call.conf, call.args);
  const undo: Undo = [];
  try {
    const parent = await findParent(conf, call);
    const ipam = conf.ipam === '' ? {} : await addIpam(conf.ipam, call, undo);
    const mac = await makeLink({ kind, conf, call, parent, undo });
    await configure(call, mac, ipam);
    const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
    return {
      interfaces: [{ name: call.ifname, mac, ...mtu, sandbox: call.netns }],
      ips: (ipam.ips ?? []).map((ip) => ({ ...ip, interface: 0 })),
      routes: ipam.routes ?? [],
      dns: Object.keys(conf.dns).length > 0 ? conf.dns : (ipam.dns ?? {}),
    };
  } catch (cause) {
    throw await undone(undo, asCniError(cause, call));
  }
}

interface Task<Conf extends SubLinkConf> {
  readonly kind: SubLinkKind<Conf>;
  readonly conf: Conf;
  readonly call: PluginCall;
  readonly parent: LinkFacts;
  readonly undo: Undo;
}

/** Makes the link, in the container and under its name; gives its MAC. */
async function makeLink<Conf extends SubLinkConf>(task: Task<Conf>): Promise<string> {
  const { kind, conf, call, parent, undo } = task;
  const net = netOf(call);
  const name = makingName(call);
  const there = netnsWord(call.netns);
  const mtu = conf.mtu === undefined ? {} : { mtu: conf.mtu };
  const target = conf.linkInContainer ? {} : { netns: there };
  const op = kind.make(conf, { name, parent: parent.name, ...mtu, ...target });
  try {
    await net.apply([op], placeOf(conf, call));
  } catch (error) {
    throw explained(kind.type, error);
  }
  const unmake = { name };
  undo.push(() => net.deleteLink(unmake.name, there));
  const rename: NetOp[] = [{ op: 'renameLink', name, to: call.ifname }];
  try {
    await net.apply(rename, there);
  } catch (error) {
    if (!isExists(error)) throw error;
    const message = `interface ${call.ifname} exists already: ${call.netns} has one`;
    throw new CniError(ownCodes.interfaceExists, message, { details: messageOf(error), cause: error });
  }
  unmake.name = call.ifname;
  return kind.macOf(op, parent);
}

function explained(type: 'macvlan' | 'vlan', error: unknown): unknown {
  if (!isNotSupported(error)) return error;
  return cniError('CNI_NOT_AVAILABLE', `${type}: ${lackOf(type)}, or its parent takes none`, {
    details: messageOf(error),
    cause: error,
  });
}

/** Addresses while the link is down, then up: so the kernel announces them, and no switch or host keeps an older MAC. */
async function configure(call: PluginCall, mac: string, ipam: CniResult): Promise<void> {
  const netns = netnsWord(call.netns);
  const { exec } = call.host;
  const ips = ipam.ips ?? [];
  const keys = [
    ...(ips.some((ip) => !isV6(ip.address)) ? [`net/ipv4/conf/${call.ifname}/arp_notify`] : []),
    ...(ips.some((ip) => isV6(ip.address)) ? [`net/ipv6/conf/${call.ifname}/ndisc_notify`] : []),
  ];
  for (const key of keys) await writeSysctl(key, '1', { netns, exec });
  const ops = podOps({ ifname: call.ifname, mac, enableDad: false }, ips, ipam.routes ?? []);
  const isUp = (op: NetOp): boolean => op.op === 'setLink' && op.state === 'up';
  const isRoute = (op: NetOp): boolean => op.op === 'addRoute';
  await netOf(call).apply(
    [...ops.filter((op) => !isUp(op) && !isRoute(op)), ...ops.filter(isUp), ...ops.filter(isRoute)],
    netns,
  );
}

/** The link goes before its lease. A configuration that ADD would refuse must not keep anything alive. */
async function del(call: PluginCall): Promise<void> {
  const removed = await removeInside(call, call.ifname);
  if (!removed) await removeInside(call, makingName(call)); // an ADD that was killed half-way
  const ipam = call.conf.fields('ipam').string('type') ?? '';
  if (ipam !== '') await delegate(ipam, 'DEL', call);
}

async function check<Conf extends SubLinkConf>(kind: SubLinkKind<Conf>, call: PluginCall): Promise<void> {
  const conf = kind.parseConf(call.conf, call.args);
  if (conf.ipam !== '') await delegate(conf.ipam, 'CHECK', call);
  await findParent(conf, call);
  const { exec } = call.host;
  const seen = await readLinkInfo(call.ifname, { netns: netnsWord(call.netns), exec });
  const result = call.prevResult ?? {};
  const faults = insideFaults({ ifname: call.ifname, result, state: 'up' }, await lookInside(call));
  if (seen && seen.kind !== kind.type)
    faults.push(`${call.ifname} is no ${kind.type}${seen.kind === '' ? '' : ` (${seen.kind})`}`);
  else if (seen) faults.push(...kind.faults(conf, seen));
  if (seen && conf.mtu !== undefined && seen.mtu !== conf.mtu)
    faults.push(`${call.ifname} has MTU ${seen.mtu}, not ${conf.mtu}`);
  if (faults.length > 0) throw new CniError(ownCodes.checkFailed, faults.join('; '));
}

/** @throws CniError 50: the kernel lacks the kind, or the machine the parent */
async function status<Conf extends SubLinkConf>(kind: SubLinkKind<Conf>, call: PluginCall): Promise<void> {
  const conf = kind.parseConf(call.conf, call.args);
  if (!(await kernelHas(kind.type, { exec: call.host.exec })))
    throw cniError('CNI_NOT_AVAILABLE', `${kind.type}: ${lackOf(kind.type)}`);
  // A parent in the container is not there yet.
  if (!conf.linkInContainer) await parentThere(conf, call);
  if (conf.ipam !== '') await delegate(conf.ipam, 'STATUS', call);
}

async function parentThere(conf: SubLinkConf, call: PluginCall): Promise<void> {
  try {
    await findParent(conf, call);
  } catch (cause) {
    if (!(cause instanceof CniError) || !cause.message.startsWith('master: ')) throw cause;
    throw cniError('CNI_NOT_AVAILABLE', cause.message, { cause });
  }
}

async function gc(call: PluginCall): Promise<void> {
  const ipam = call.conf.fields('ipam').string('type') ?? '';
  if (ipam !== '') await delegate(ipam, 'GC', call);
}

/** The plugin of a kind. */
export const subLinkPlugin = <Conf extends SubLinkConf>(kind: SubLinkKind<Conf>): Plugin => ({
  type: kind.type,
  add: (call) => add(kind, call),
  del,
  check: (call) => check(kind, call),
  status: (call) => status(kind, call),
  gc,
});
