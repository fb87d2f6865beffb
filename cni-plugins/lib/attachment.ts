// What every plugin that makes an interface does the same way: ask IPAM, forward, undo a failed ADD, say what failed.
// Assumes `undo` is run backwards. A plugin pushes the undo of a step as soon as the step may have had an effect.
import { CniError, cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import { findPlugin } from '../../lib/cni/plugin-exec.ts';
import type { CniResult } from '../../lib/cni/types.ts';
import { messageOf, settleAll } from '../../lib/exec/errors.ts';
import { KernelError } from '../../lib/kernel/errors.ts';
import { ensureSysctl } from '../../lib/kernel/sysctl.ts';
import { ownCodes } from '../skel/codes.ts';
import { delegate } from '../skel/delegate.ts';
import type { PluginCall } from '../skel/skel.ts';

export type Undo = Array<() => Promise<unknown>>;

/** Type of the IPAM plugin; '' where there is none. @throws CniError 7 */
export function parseIpam(conf: Fields): string {
  const ipam = conf.fields('ipam');
  const type = ipam.string('type') ?? '';
  if (type !== '' && !/^[A-Za-z0-9][\w.-]*$/.test(type)) throw ipam.bad('type', 'the name of a plugin');
  return type;
}

/** The MAC asked for: CNI_ARGS MAC, args.cni.mac, the capability mac; the later wins. @throws CniError 7 */
export function parseMac(conf: Fields, args: Readonly<Record<string, string>>): string | undefined {
  const named = conf.fields('args').fields('cni').string('mac');
  const mac = conf.fields('runtimeConfig').string('mac') || named || args.MAC || undefined;
  return mac === undefined ? undefined : checkMac('mac', mac);
}

/** A unicast MAC in lower case. @throws CniError 7 that names the key */
export function checkMac(key: string, mac: string): string {
  const octet = Number.parseInt(mac.slice(0, 2), 16);
  if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac) && (octet & 1) === 0) return mac.toLowerCase();
  throw cniError(
    'CNI_INVALID_CONFIG',
    `${key}: expected a unicast MAC address such as 02:00:00:00:00:01, got ${JSON.stringify(mac)}`,
  );
}

/** Addresses of IPAM, with their release as an undo. @throws CniError */
export async function addIpam(type: string, call: PluginCall, undo: Undo): Promise<CniResult> {
  findPlugin(type, call.path); // one that is not there has nothing to undo
  // Pushed first: the specification wants a DEL after an IPAM ADD that failed, too. But not where that ADD says that
  // the lease is an earlier ADD's: undoing it would take a running container's address.
  const release = () => delegate(type, 'DEL', call);
  undo.push(release);
  try {
    const ipam = await delegate(type, 'ADD', call);
    if (!ipam.ips || ipam.ips.length === 0)
      throw cniError('CNI_INVALID_CONFIG', `ipam.type: ${type} gave no address`);
    return ipam;
  } catch (error) {
    if (error instanceof CniError && error.cniCode === ownCodes.alreadyLeased)
      undo.splice(undo.indexOf(release), 1);
    throw error;
  }
}

/** Lets the machine forward a family. */
export async function forward(family: 4 | 6): Promise<void> {
  await ensureSysctl(family === 4 ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding', '1');
}

/** A failure of the kernel's in CNI's terms. */
export function asCniError(error: unknown, call: PluginCall): unknown {
  if (error instanceof CniError || !(error instanceof KernelError)) return error;
  return new CniError(ownCodes.kernel, `${call.ifname} of ${call.containerId}: ${error.message}`, {
    details: error.code,
    cause: error,
  });
}

/** Runs the undos; gives the error to throw, which tells of those that failed too. */
export async function undone(undo: Undo, cause: unknown): Promise<unknown> {
  try {
    await settleAll('undo', undo.reverse());
    return cause;
  } catch (failure) {
    return new AggregateError(
      [cause, failure],
      `${messageOf(cause)} (and undoing it failed: ${messageOf(failure)})`,
      { cause },
    );
  }
}
