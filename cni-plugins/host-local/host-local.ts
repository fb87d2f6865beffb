// CNI plugin host-local: addresses out of ranges of this machine's own, remembered as files.
// Assumes one machine writes the folder; the reference plugin may share it (same files, same lock).
// ADD and DEL cost a few file operations, however many leases there are: no process, and no lock but in the first ADD
// after a boot. Only a range of which less than a hundredth is free has its folder read through.
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { formatIp, type Ip, parseCidr } from '../../lib/cni/address.ts';
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { KernelError } from '../../lib/kernel/errors.ts';
import { withFileLock } from '../../lib/kernel/flock.ts';
import { ownCodes } from '../skel/codes.ts';
import type { Plugin, PluginCall } from '../skel/skel.ts';
import { type Choice, chooseNext, chooseRequested } from './allocator.ts';
import {
  capacity,
  defaultDataDir,
  describeSet,
  type HostLocalConf,
  inRange,
  parseConf,
  type RangeSet,
} from './conf.ts';
import { parseResolvConf } from './resolv-conf.ts';
import { DiskStore, type Store } from './store.ts';

async function add(call: PluginCall): Promise<CniResult> {
  const conf = parseConf(call.conf, call.args);
  const dns = readDns(conf);
  const choices = await withStore(conf, (store) => lease(conf, store, call));
  return {
    ips: choices.map(({ ip, range }) => ({
      address: `${formatIp(ip)}/${range.subnet.length}`,
      gateway: formatIp(range.gateway),
    })),
    ...(conf.routes.length > 0 ? { routes: [...conf.routes] } : {}),
    ...(dns ? { dns } : {}),
  };
}

/**
 * Chooses one address a set and reserves them together: all or none. Where another ADD was faster, chooses again.
 * @throws CniError 100, 101, 102
 */
export function lease(
  conf: HostLocalConf,
  store: Store,
  owner: { containerId: string; ifname: string },
): Choice[] {
  for (;;) {
    const choices = chooseAll(conf, store, owner);
    if (
      store.reserve(
        owner,
        choices.map(({ ip }) => ip),
      )
    )
      return choices;
  }
}

function chooseAll(
  conf: HostLocalConf,
  store: Store,
  owner: { containerId: string; ifname: string },
): Choice[] {
  const held = store.find(owner);
  if (held)
    throw new CniError(
      ownCodes.alreadyLeased,
      `${owner.containerId} ${owner.ifname} already holds ${held.ips.join(', ')} of network ${conf.network}`,
    );
  const wanted = [...conf.requested];
  const choices = conf.sets.map((set, at) => chooseFrom(set, at, { store, wanted }));
  if (wanted.length > 0)
    throw new CniError(
      ownCodes.addressNotAvailable,
      `requested address ${wanted.map(formatIp).join(', ')} is in none of ${conf.sets.map(describeSet).join('; ')}`,
    );
  return choices;
}

function chooseFrom(set: RangeSet, at: number, from: { store: Store; wanted: Ip[] }): Choice {
  const { store, wanted } = from;
  const leases = {
    isTaken: (ip: Ip) => store.isTaken(ip),
    allTaken: () => store.allTaken(),
    random: () => Math.random(), // bun seeds it when Math.random is first looked up: 0.05 ms
  };
  const asked = wanted.findIndex((ip) => set.some((range) => inRange(range, ip)));
  if (asked >= 0) {
    const [ip] = wanted.splice(asked, 1) as [Ip];
    const choice = chooseRequested(set, ip, leases.isTaken);
    if (typeof choice === 'object') return choice;
    throw new CniError(
      ownCodes.addressNotAvailable,
      `requested address ${formatIp(ip)} ${choice === 'gateway' ? 'is the gateway' : 'is taken'} in ${describeSet(set)}`,
    );
  }
  const choice = chooseNext(set, store.lastReserved(at), leases);
  if (choice) return choice;
  throw new CniError(ownCodes.rangeExhausted, `no free address in range ${describeSet(set)}`, {
    details: 'all addresses are leased; remove containers, or give the network a larger range',
  });
}

async function del(call: PluginCall): Promise<void> {
  // Only where the leases are counts here: a range that makes no sense (any more) must not keep an address leased.
  const conf = placeOf(call);
  if (!isFolder(folderOf(conf))) return;
  await withStore(conf, (store) => store.release(call));
}

async function check(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  const inSets = (ip: Ip): boolean => conf.sets.some((set) => set.some((range) => inRange(range, ip)));
  const expected = (call.prevResult?.ips ?? [])
    .map(({ address }) => parseCidr(address)?.ip)
    .filter((ip) => ip !== undefined && inSets(ip));
  const lost = await withStore(conf, (store) => expected.filter((ip) => !store.holds(call, ip as Ip)));
  if (expected.length === 0 || lost.length > 0) {
    const what = lost.map((ip) => formatIp(ip as Ip)).join(', ') || 'this network';
    throw new CniError(ownCodes.checkFailed, `${call.containerId} ${call.ifname} holds no lease of ${what}`);
  }
}

/** @throws CniError 50 for a range with nothing left */
async function status(call: PluginCall): Promise<void> {
  const conf = parseConf(call.conf, call.args);
  if (!isFolder(folderOf(conf))) return;
  const taken = await withStore(conf, (store) => store.taken());
  for (const set of conf.sets) {
    const used = taken.filter((ip) => set.some((range) => inRange(range, ip))).length;
    if (BigInt(used) >= capacity(set))
      throw cniError('CNI_NOT_AVAILABLE', `no free address in range ${describeSet(set)}`, {
        details: `${used} leased`,
      });
  }
}

/** Releases every lease whose attachment is not valid any more. */
async function gc(call: PluginCall): Promise<void> {
  const conf = placeOf(call);
  if (!isFolder(folderOf(conf))) return;
  const valid = new Set(call.validAttachments.map(({ containerId, ifname }) => `${containerId} ${ifname}`));
  const validIds = new Set(call.validAttachments.map(({ containerId }) => containerId));
  const collect = (store: DiskStore): void => {
    for (const owner of store.owners()) {
      const live =
        owner.ifname === ''
          ? validIds.has(owner.containerId)
          : valid.has(`${owner.containerId} ${owner.ifname}`);
      if (!live) store.release(owner);
    }
  };
  await withStore(conf, (store) => withFileLock(join(folderOf(conf), 'lock'), () => collect(store)));
}

type Place = Pick<HostLocalConf, 'network' | 'dataDir'>;

function placeOf(call: PluginCall): Place {
  const dataDir = call.conf.fields('ipam').string('dataDir') || defaultDataDir;
  return { network: call.name, dataDir };
}

const folderOf = ({ dataDir, network }: Place): string => join(dataDir, network);

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

async function withStore<T>(place: Place, work: (store: DiskStore) => T | Promise<T>): Promise<T> {
  const dir = folderOf(place);
  try {
    const store = new DiskStore(dir);
    if (!store.isSwept()) await sweep(dir, store);
    return await work(store);
  } catch (error) {
    if (error instanceof CniError) throw error;
    if (error instanceof KernelError && error.code === 'EBUSY')
      throw cniError('CNI_TRY_AGAIN', error.message, { cause: error });
    throw cniError('CNI_IO_FAILURE', `${dir}: ${(error as Error).message}`, { cause: error });
  }
}

/** The first ADD (or DEL) after a boot: those that come meanwhile wait here. The lock is the reference's, too. */
async function sweep(dir: string, store: DiskStore): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  await withFileLock(join(dir, 'lock'), () => {
    if (!store.isSwept()) store.sweep();
  });
}

function readDns(conf: HostLocalConf): CniResult['dns'] {
  if (conf.resolvConf === '') return undefined;
  try {
    return parseResolvConf(readFileSync(conf.resolvConf, 'utf8'));
  } catch (cause) {
    throw cniError('CNI_IO_FAILURE', `ipam.resolvConf: ${(cause as Error).message}`, { cause });
  }
}

export const hostLocal: Plugin = { type: 'host-local', add, del, check, status, gc, ipam: true };
