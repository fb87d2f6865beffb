// The configuration of tuning, narrowed. Assumes the keys and meaning of the reference plugin of that name, and the order
// in which its sources win: the list, CNI_ARGS, runtimeConfig, args.cni. Pure.
import { cniError } from '../../lib/cni/errors.ts';
import { badValue, type Fields } from '../../lib/cni/json.ts';
import { sysctlPath } from '../../lib/kernel/sysctl.ts';
import { checkMac } from '../lib/attachment.ts';

export interface Sysctl {
  /** As it was written. */
  readonly key: string;
  /** Below /proc/sys. */
  readonly path: string;
  readonly value: string;
}

/** What of a link can be set; undefined: left as it is. */
export interface LinkSettings {
  readonly mac?: string;
  readonly mtu?: number;
  readonly promisc?: boolean;
  readonly allmulti?: boolean;
  readonly txQLen?: number;
}

export interface TuningConf {
  readonly sysctls: readonly Sysctl[];
  readonly link: LinkSettings;
  /** Where former values are kept between ADD and DEL. */
  readonly dataDir: string;
}

/** @throws CniError 7 that names the key */
export function parseConf(
  conf: Fields,
  call: { readonly args: Readonly<Record<string, string>>; readonly ifname: string },
): TuningConf {
  const asked = conf.fields('args').fields('cni');
  const mac =
    asked.string('mac') ||
    conf.fields('runtimeConfig').string('mac') ||
    call.args.MAC ||
    conf.string('mac') ||
    '';
  const mtu = number('mtu', 65535, [asked, conf]) || undefined;
  const promisc = asked.boolean('promisc') ?? conf.boolean('promisc') ?? false;
  const allmulti = asked.boolean('allmulti') ?? conf.boolean('allmulti');
  const txQLen = number('txQLen', 2 ** 31 - 1, [asked, conf]);
  if (mtu !== undefined && mtu < 68) throw badValue('mtu', mtu, 'at least 68 (RFC 791)');
  return {
    sysctls: parseSysctls([conf.fields('sysctl'), asked.fields('sysctl')], call.ifname),
    link: {
      ...(mac === '' ? {} : { mac: checkMac('mac', mac) }),
      ...(mtu === undefined ? {} : { mtu }),
      // As the reference has it, false is "leave it".
      ...(promisc ? { promisc } : {}),
      ...(allmulti === undefined ? {} : { allmulti }),
      ...(txQLen === undefined ? {} : { txQLen }),
    },
    dataDir: dataDirOf(conf),
  };
}

const number = (key: string, max: number, sources: readonly Fields[]): number | undefined =>
  sources.map((fields) => fields.integer(key, { min: 0, max })).find((value) => value !== undefined);

/** @throws CniError 7 */
export function dataDirOf(conf: Fields): string {
  const dataDir = conf.string('dataDir') || '/run/cni/tuning';
  if (!dataDir.startsWith('/')) throw conf.bad('dataDir', 'an absolute path');
  return dataDir;
}

/** The later source wins where both name the same key; two spellings of one key in a source clash. */
function parseSysctls(sources: readonly Fields[], ifname: string): Sysctl[] {
  const all = new Map<string, Sysctl>();
  for (const fields of sources) {
    const own = new Map<string, Sysctl>();
    for (const key of Object.keys(fields.object)) {
      const one = parseSysctl(fields, key, ifname);
      const other = own.get(one.path);
      if (other) throw fields.bad(key, `one spelling of ${other.key}`);
      own.set(one.path, one);
    }
    for (const [path, one] of own) all.set(path, one);
  }
  return [...all.values()];
}

/** `IFNAME` as a part of the key stands for the container's interface. Only net.* belongs to the Pod's namespace. */
function parseSysctl(fields: Fields, key: string, ifname: string): Sysctl {
  const value = fields.string(key);
  if (value === undefined || !/^[ -~\t]+$/.test(value)) throw fields.bad(key, 'a value as text of one line');
  const parts = key.split(key.includes('/') ? '/' : '.').map((part) => (part === 'IFNAME' ? ifname : part));
  if (parts[0] !== 'net' || parts.length < 3)
    throw badValue(fields.path(key), value, "a key below net.: all others are the whole machine's");
  try {
    return { key, path: sysctlPath(parts.join('/')), value };
  } catch {
    throw badValue(fields.path(key), value, 'a key such as net.ipv4.conf.IFNAME.arp_filter');
  }
}

/**
 * Keys must match a line of the allow list, each a regular expression that may match anywhere in the key; without a list
 * all are allowed. @throws CniError 7
 */
export function checkAllowed(sysctls: readonly Sysctl[], list: string | undefined): void {
  if (list === undefined) return;
  const lines = list
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  const patterns = lines.map(toPattern);
  for (const { key } of sysctls)
    if (!patterns.some((pattern) => pattern.test(key)))
      throw cniError('CNI_INVALID_CONFIG', `sysctl.${key}: not allowed on this machine by ${allowlist}`, {
        details: `allowed: ${lines.join(' ')}`,
      });
}

export const allowlist = '/etc/cni/tuning/allowlist.conf';

function toPattern(line: string): RegExp {
  try {
    return new RegExp(line);
  } catch (cause) {
    throw cniError('CNI_INVALID_CONFIG', `${allowlist}: ${(cause as Error).message}`, { cause });
  }
}
