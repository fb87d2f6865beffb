// CNI plugin vlan: the container stands in one VLAN of a link of the machine, with that link's MAC.
// Assumes a kernel with 8021q, and that nobody else uses this VLAN of this link: it has one interface, so one container.
import type { Fields } from '../../lib/cni/json.ts';
import { parseSubLink, type SubLinkConf, type SubLinkKind, subLinkPlugin } from '../lib/sub-link.ts';

export interface VlanConf extends SubLinkConf {
  readonly id: number;
}

/** @throws CniError 7 that names the key */
export function parseConf(conf: Fields): VlanConf {
  if (!conf.string('master')) throw conf.bad('master', 'the link whose VLAN it is to be');
  // 0 (the default) is a priority tag without a VLAN, which the kernel takes.
  return { ...parseSubLink(conf, undefined), id: conf.integer('vlanId', { min: 0, max: 4094 }) ?? 0 };
}

export const vlanKind: SubLinkKind<VlanConf> = {
  type: 'vlan',
  parseConf,
  make: ({ id }, making) => ({ op: 'addVlan', ...making, id }),
  macOf: (_op, parent) => parent.mac,
  faults: ({ id }, seen) => (seen.data.id === id ? [] : [`it is in VLAN ${seen.data.id}, not ${id}`]),
};

export const vlan = subLinkPlugin(vlanKind);
