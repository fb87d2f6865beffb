// The network below the overlay: by which device and from which address of ours the peers are reached, and what an
// overlay packet may weigh. Assumes the route to the first peer stands for all. One or two questions to `ip`.
import { formatIp, type Ip, parseIp } from '../../lib/cni/address.ts';
import { cniError } from '../../lib/cni/errors.ts';
import { KernelError } from '../../lib/kernel/errors.ts';
import { ipJson, type KernelOptions } from '../../lib/kernel/ip.ts';
import { defaultRouteDevice } from '../../lib/kernel/link.ts';
import { overhead } from '../../lib/kernel/overlay.ts';
import type { VxlanConf } from './conf.ts';
import type { Peer } from './peers.ts';

export interface Underlay {
  readonly device: string;
  readonly local: Ip;
  /** Of the device. */
  readonly mtu: number;
}

const leastMtu = 1280; // RFC 8200: below it IPv6 does not run

/** The MTU of the overlay. @throws CniError 7 where more is asked for than the underlay leaves */
export function overlayMtu({ device, local, mtu }: Underlay, wanted: number | undefined): number {
  const most = mtu - overhead.vxlan(local.family);
  if (wanted !== undefined && (wanted > most || wanted < 68))
    throw cniError(
      'CNI_INVALID_CONFIG',
      `mtu: expected 68 to ${most} (${device} has ${mtu}, VXLAN over IPv${local.family} takes ${mtu - most}), got ${wanted}`,
    );
  return wanted ?? Math.max(most, 68);
}

/** True where IPv6 cannot run over the overlay. Pure. */
export const tooSmallForIpv6 = (mtu: number): boolean => mtu < leastMtu;

interface IpRow {
  ifname: string;
  mtu: number;
  addr_info?: Array<{ family: string; local: string; scope: string }>;
}

/** @throws CniError 50: the machine has no such device, address or route (yet) */
export async function findUnderlay(
  conf: VxlanConf,
  peers: readonly Peer[],
  options: KernelOptions,
): Promise<Underlay> {
  const family = conf.local?.family ?? peers[0]?.publicIP.family;
  const { device, local } = await findWay(conf, peers[0], options);
  const rows = await addressesOf(device, options);
  const all = rows.filter((row) => row.ifname !== undefined && (device === '' || row.ifname === device));
  const pick = (row: IpRow): Ip | undefined => chooseLocal(row, local, family);
  const row = all.find((one) => pick(one) !== undefined);
  if (row) return { device: row.ifname, local: pick(row) as Ip, mtu: row.mtu };
  const what = local ? `address ${formatIp(local)}` : `usable IPv${family ?? 4} address`;
  throw unavailable(device === '' ? `no link has ${what}` : `${device} has no ${what}`);
}

const unavailable = (message: string) =>
  cniError('CNI_NOT_AVAILABLE', `underlay: ${message}`, { details: 'see the keys device and local' });

/** What is known without looking at addresses; device '': whichever has `local`. */
async function findWay(
  conf: VxlanConf,
  peer: Peer | undefined,
  options: KernelOptions,
): Promise<{ device: string; local: Ip | undefined }> {
  if (conf.device !== '' || conf.local) return { device: conf.device, local: conf.local };
  if (!peer) {
    const device = defaultRouteDevice();
    if (device !== undefined) return { device, local: undefined };
    throw unavailable('no peers and no default route to find a device by');
  }
  const to = formatIp(peer.publicIP);
  try {
    const [route] = (await ipJson(['route', 'get', to], options)) as [{ dev?: string; prefsrc?: string }?];
    if (route?.dev !== undefined)
      return { device: route.dev, local: route.prefsrc === undefined ? undefined : parseIp(route.prefsrc) };
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  }
  throw unavailable(`no route to ${peer.node} (${to})`);
}

async function addressesOf(device: string, options: KernelOptions): Promise<IpRow[]> {
  try {
    return (await ipJson(['addr', 'show', ...(device === '' ? [] : ['dev', device])], options)) as IpRow[];
  } catch (error) {
    if (error instanceof KernelError) throw unavailable(`no link ${device}`);
    throw error;
  }
}

/** The address asked for where the link has it; else its first of the family that others can reach. */
function chooseLocal(row: IpRow, local: Ip | undefined, family: 4 | 6 | undefined): Ip | undefined {
  const ips = (row.addr_info ?? [])
    .filter(({ scope }) => scope === 'global')
    .flatMap(({ local: text }) => parseIp(text) ?? []);
  if (local) return ips.find((ip) => ip.family === local.family && ip.value === local.value);
  return (
    ips.find((ip) => (family === undefined ? ip.family === 4 : ip.family === family)) ??
    (family === undefined ? ips[0] : undefined)
  );
}
