// Brings the VTEP and what it knows of its peers to what is wanted, and says on standard error what it had to change.
// Assumes one lock a VTEP: the peers are read and applied under it, so an older list never overwrites a newer one.
// With nothing to change, one look at the link, one file read and the routes of /proc; linear in peers otherwise.
import { mkdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type Cidr, formatIp, parseIp } from '../../lib/cni/address.ts';
import { CniError, cniError } from '../../lib/cni/errors.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { isAbsent, isExists, isNotSupported } from '../../lib/kernel/errors.ts';
import { withFileLock } from '../../lib/kernel/flock.ts';
import { ipJson } from '../../lib/kernel/ip.ts';
import { type LinkInfo, lackOf, readLinkInfo } from '../../lib/kernel/link-info.ts';
import { type Entries, noEntries, parseEntries, planEntries, vtepMac } from '../../lib/kernel/overlay.ts';
import { routeFileKey, routesBy } from '../../lib/kernel/route-files.ts';
import { netOf } from '../lib/net.ts';
import { ownCodes } from '../skel/codes.ts';
import type { PluginCall } from '../skel/skel.ts';
import type { VxlanConf } from './conf.ts';
import { entriesOf } from './entries.ts';
import { checkAgainstOwn, type Peer } from './peers.ts';
import { findUnderlay, overlayMtu } from './underlay.ts';
import { aliasOf, isOurs, judge, makeOps, ownAddressOps, type Vtep } from './vtep.ts';

export interface Wanted {
  readonly vtep: Vtep;
  readonly peers: readonly Peer[];
  /** This machine's own subnets. */
  readonly nets: readonly Cidr[];
}

const folder = '/run/podwire-cni';

/** Runs `work` alone among all that touch this VTEP. */
export async function withVtepLock<T>(vtep: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return withFileLock(`${folder}/${encodeURIComponent(vtep)}.lock`, work, 30_000);
}

export const lookAt = (name: string, call: PluginCall): Promise<LinkInfo | undefined> =>
  readLinkInfo(name, { exec: call.host.exec });

/** The VTEP as the configuration and the underlay want it. @throws CniError 50, 7 */
export async function plannedVtep(conf: VxlanConf, peers: readonly Peer[], call: PluginCall): Promise<Vtep> {
  const underlay = await findUnderlay(conf, peers, { exec: call.host.exec });
  return {
    name: conf.vtep,
    id: conf.id,
    port: conf.port,
    local: formatIp(underlay.local),
    device: underlay.device,
    mac: vtepMac(conf.node),
    mtu: overlayMtu(underlay, conf.mtu),
  };
}

/** The VTEP that is there, where it serves this configuration; its underlay is not asked about again. */
export function standingVtep(
  conf: VxlanConf,
  seen: LinkInfo | undefined,
  call: PluginCall,
): Vtep | undefined {
  if (!seen || !isOurs(seen, call.name)) return undefined;
  const { link, local: four, local6: six } = seen.data;
  const [device, local] = [String(link ?? ''), String(four ?? six ?? '')];
  const held = networkInterfaces()[device]?.some(({ address }) => address === local) === true;
  const asAsked =
    (conf.device === '' || conf.device === device) &&
    (conf.local === undefined || formatIp(conf.local) === local) &&
    (conf.mtu === undefined || conf.mtu === seen.mtu);
  const vtep = {
    name: conf.vtep,
    id: conf.id,
    port: conf.port,
    local,
    device,
    mac: vtepMac(conf.node),
    mtu: seen.mtu,
  };
  return held && asAsked && judge(seen, vtep, call.name).do === 'reuse' ? vtep : undefined;
}

/** True where the last one to change it left it just so, and nobody took its routes away since. */
function isDone(seen: LinkInfo | undefined, wanted: Wanted, call: PluginCall): boolean {
  if (!seen?.up || seen.alias !== aliasOf(call.name, wanted.vtep, wanted)) return false;
  const routes = routesBy(wanted.vtep.name);
  return wanted.peers.every(({ subnets }) =>
    subnets.every(({ ip, length }) => routes.has(routeFileKey({ ...ip, length }))),
  );
}

/** To be called under the lock. @throws CniError 113, 50, 7; KernelError */
export async function ensureOverlay(wanted: Wanted, call: PluginCall): Promise<void> {
  const { vtep, peers, nets } = wanted;
  const local = parseIp(vtep.local);
  if (local) checkAgainstOwn(peers, { local, nets });
  const seen = await lookAt(vtep.name, call);
  if (isDone(seen, wanted, call)) return;
  const made = await ensureVtep(seen, vtep, call);
  try {
    await fill(wanted, made ? noEntries : await readEntries(vtep.name, call), call);
  } catch (error) {
    if (made) await netOf(call).deleteLink(vtep.name);
    throw error;
  }
}

/** True where the link is a new one. */
async function ensureVtep(seen: LinkInfo | undefined, vtep: Vtep, call: PluginCall): Promise<boolean> {
  const net = netOf(call);
  const verdict = seen && judge(seen, vtep, call.name);
  if (verdict?.do === 'refuse')
    throw new CniError(
      ownCodes.vtepConflict,
      `vtep: link ${vtep.name} is there and not this network's: ${verdict.reasons.join(', ')}`,
      { details: 'give the network another vtep, or remove the link' },
    );
  if (verdict?.do === 'reuse') {
    if (verdict.reasons.length > 0) tell(call, `${vtep.name} set right: ${verdict.reasons.join(', ')}`);
    await net.apply(verdict.fix);
    return false;
  }
  if (verdict) {
    tell(call, `${vtep.name} is made anew: ${verdict.reasons.join(', ')}`);
    await net.deleteLink(vtep.name);
  }
  try {
    await net.apply(makeOps(vtep, call.name));
  } catch (error) {
    throw explained(error, vtep);
  }
  return true;
}

function explained(error: unknown, { id, port, name }: Vtep): unknown {
  const details = { details: messageOf(error), cause: error };
  if (isNotSupported(error)) return cniError('CNI_NOT_AVAILABLE', `vxlan: ${lackOf('vxlan')}`, details);
  if (!isExists(error)) return error;
  const message = `id, port: VNI ${id} at port ${port} belongs to another link than ${name}`;
  return new CniError(ownCodes.vtepConflict, message, details);
}

/** Own addresses, entries of peers, and last the alias, which says that all of it is done. */
async function fill({ vtep, peers, nets }: Wanted, seen: Entries, call: PluginCall): Promise<void> {
  const changes = planEntries(vtep.name, entriesOf(peers), seen);
  const isNew = seen === noEntries;
  if (changes.length > 0 && !isNew)
    tell(call, `${vtep.name}: ${changes.length} entries changed for ${peers.length} peers`);
  const fdb = changes.filter(({ op }) => op === 'putFdb' || op === 'deleteFdb');
  const rest = changes.filter((op) => !fdb.includes(op));
  const alias = aliasOf(call.name, vtep, { peers, nets });
  await netOf(call).apply([
    ...fdb,
    ...ownAddressOps(vtep.name, nets),
    ...rest,
    { op: 'setLink', name: vtep.name, alias },
  ]);
}

async function readEntries(dev: string, call: PluginCall): Promise<Entries> {
  const { exec } = call.host;
  const ask = async (tool: 'ip' | 'bridge', ...args: string[]): Promise<unknown[]> => {
    try {
      return await ipJson(args, { exec, tool });
    } catch (error) {
      if (isAbsent(error)) return []; // a machine without that family
      throw error;
    }
  };
  return parseEntries({
    routes: [
      ...(await ask('ip', '-4', 'route', 'show', 'dev', dev)),
      ...(await ask('ip', '-6', 'route', 'show', 'dev', dev)),
    ],
    neighbours: await ask('ip', 'neigh', 'show', 'dev', dev, 'nud', 'permanent'),
    fdb: await ask('bridge', 'fdb', 'show', 'dev', dev),
  });
}

const tell = (call: PluginCall, text: string): void => call.host.log?.(`podwire vxlan: ${text}\n`);
