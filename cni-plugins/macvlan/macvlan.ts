// CNI plugin macvlan: the container gets a MAC of its own on a link of the machine, and so stands in that link's LAN.
// Assumes that LAN takes several MACs a port. The machine itself is out of reach by the parent link: the kernel's rule.
import { cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';
import { checkMac, parseMac } from '../lib/attachment.ts';
import { randomMac } from '../lib/names.ts';
import { parseSubLink, type SubLinkConf, type SubLinkKind, subLinkPlugin } from '../lib/sub-link.ts';

const modes = ['bridge', 'private', 'vepa', 'passthru'] as const;
type Mode = (typeof modes)[number];

export interface MacvlanConf extends SubLinkConf {
  readonly mode: Mode;
  /** Broadcasts that may wait for their turn; undefined: the kernel's 1000. */
  readonly queue: number | undefined;
}

/** @throws CniError 7 that names the key */
export function parseConf(conf: Fields, args: Readonly<Record<string, string>>): MacvlanConf {
  const mode = conf.string('mode') || 'bridge';
  if (!modes.includes(mode as Mode)) throw conf.bad('mode', `one of ${modes.join(', ')}`);
  const own = conf.string('mac');
  const mac = parseMac(conf, args) ?? (own ? checkMac('mac', own) : undefined);
  // A passed-through parent lends its MAC: the kernel gives another one to the parent itself.
  if (mode === 'passthru' && mac !== undefined)
    throw cniError(
      'CNI_INVALID_CONFIG',
      'mac: none may be given in mode passthru, which takes that of master',
    );
  const queue = conf.integer('bcqueuelen', { min: 0, max: 2 ** 32 - 1 }) || undefined;
  return { ...parseSubLink(conf, mac), mode: mode as Mode, queue };
}

export const macvlanKind: SubLinkKind<MacvlanConf> = {
  type: 'macvlan',
  parseConf,
  make: ({ mode, mac, queue }, making) => ({
    op: 'addMacvlan',
    ...making,
    mode,
    ...(mode === 'passthru' ? {} : { mac: mac ?? randomMac() }),
    ...(queue === undefined ? {} : { queue }),
  }),
  macOf: (op, parent) => (op.op === 'addMacvlan' && op.mac !== undefined ? op.mac : parent.mac),
  faults: ({ mode }, seen) => (seen.data.mode === mode ? [] : [`its mode is ${seen.data.mode}, not ${mode}`]),
};

export const macvlan = subLinkPlugin(macvlanKind);
