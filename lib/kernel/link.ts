// Links: cheap looks through /proc and /sys without a process, and a removal that does not wait for the kernel's grace periods.
// Assumes /proc is mounted. /proc/sys/net and /proc/net are those of the process' own network namespace; /sys/class/net
// is that of whoever mounted /sys, so only the daemon (which never changes namespace) may use readLink and listLinks.
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { type ExecUntil, runUntil } from '../exec/run-sync.ts';
import { isAbsent, KernelError, toKernelError } from './errors.ts';
import { ipArgv, ipBatch, type KernelOptions } from './ip.ts';
import { traceFromEnv } from './trace.ts';

/** IFNAMSIZ is 16 with the closing zero; '/', ':' and blanks are the kernel's own exclusions. Pure. */
export const isLinkName = (name: string): boolean =>
  /^[^\s/:]{1,15}$/.test(name) && name !== '.' && name !== '..' && /^[!-~]+$/.test(name);

/** @throws KernelError EINVAL */
export function checkLinkName(name: string): string {
  if (isLinkName(name)) return name;
  throw new KernelError(
    'EINVAL',
    name,
    `link name ${JSON.stringify(name)}: expected 1-15 visible characters, no '/' or ':'`,
  );
}

/** True when this process' own namespace has the link. One stat. */
export const linkIsHere = (name: string): boolean =>
  existsSync(`/proc/sys/net/ipv4/conf/${checkLinkName(name)}`);

/** RFC 8200, section 5: a link with less has no IPv6 at all. */
export const leastIpv6Mtu = 1280;

/** True when this kernel has IPv6, it was not turned off at boot, and a link of this MTU (bytes; 1500 unless told) has it. */
export const hasIpv6 = (mtu = 1500): boolean => mtu >= leastIpv6Mtu && existsSync('/proc/sys/net/ipv6/conf');

export interface SysLink {
  readonly name: string;
  readonly index: number;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly carrier: boolean;
  /** Names of those it hangs on and those that hang on it. */
  readonly master: string | undefined;
  readonly isBridge: boolean;
  readonly alias: string;
}

/** A link as /sys shows it; undefined where there is none. */
export function readLink(name: string): SysLink | undefined {
  const dir = `/sys/class/net/${checkLinkName(name)}`;
  const read = (file: string): string => readFileSync(`${dir}/${file}`, 'utf8').trim();
  try {
    const up = (Number.parseInt(read('flags'), 16) & 1) === 1;
    return {
      name,
      index: Number(read('ifindex')),
      mac: read('address'),
      mtu: Number(read('mtu')),
      up,
      carrier: up && read('carrier') === '1', // EINVAL to read while it is down
      master: existsSync(`${dir}/master`) ? basename(readlinkSync(`${dir}/master`)) : undefined,
      isBridge: existsSync(`${dir}/bridge`),
      alias: read('ifalias'),
    };
  } catch (error) {
    if (['ENOENT', 'ENODEV'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

export const listLinks = (): string[] => readdirSync('/sys/class/net').sort();

/** Name of the device that the IPv4 default route leaves by; the lowest metric wins. /proc/net/route, no process. */
export function defaultRouteDevice(table = readFileSync('/proc/net/route', 'utf8')): string | undefined {
  const rows = table
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'));
  const defaults = rows.filter((row) => row[1] === '00000000' && row[7] === '00000000');
  return defaults.sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0];
}

/**
 * Removes a link. False: there was none. In the process' own namespace it returns when the name is gone, which is
 * when the removal can no longer fail; the kernel then waits 10-20 ms for RCU, and only `ip` waits with it.
 * @throws KernelError
 */
export async function deleteLink(
  name: string,
  options: KernelOptions & { until?: ExecUntil } = {},
): Promise<boolean> {
  const { netns, trace = traceFromEnv(), until = runUntil } = options;
  checkLinkName(name);
  const line = `link del dev ${name}`;
  try {
    if (netns !== undefined) {
      await ipBatch([line], options);
      return true;
    }
    if (!linkIsHere(name)) return false;
    // The two trees let go of a link one after the other; who lists links must not find it any more.
    const gone = (): boolean => !linkIsHere(name) && !existsSync(`/sys/class/net/${name}`);
    await until({ argv: ipArgv(undefined, ['link', 'del', 'dev', name]) }, gone);
  } catch (error) {
    const mapped = toKernelError(error, `ip ${line}`);
    if (isAbsent(mapped)) return false;
    throw mapped;
  }
  trace({ tool: 'ip', lines: [line] });
  return true;
}
