// The VTEP: the link that wraps Pods' packets for the other machines. What one that is there differs in, in words, and
// what follows: use it as it is, set it right, or make it anew. Assumes the caller knows by the alias whose a link is. Pure.
import { leastIpv6Mtu } from './link.ts';
import type { LinkInfo } from './link-info.ts';
import type { NetOp } from './net.ts';

export interface Vtep {
  readonly name: string;
  readonly id: number;
  readonly port: number;
  /** Address that packets leave from. */
  readonly local: string;
  readonly device: string;
  readonly mac: string;
  readonly mtu: number;
}

export type Verdict =
  | { readonly do: 'reuse'; readonly fix: readonly NetOp[]; readonly reasons: readonly string[] }
  | { readonly do: 'recreate'; readonly reasons: readonly string[] }
  /** Not ours, and of no use as it is. */
  | { readonly do: 'refuse'; readonly reasons: readonly string[] };

/** What cannot be changed while the link lives. */
function incompatible(seen: LinkInfo, wanted: Vtep): string[] {
  if (seen.kind !== 'vxlan') return [`it is no vxlan${seen.kind === '' ? '' : ` (${seen.kind})`}`];
  const { id, port, local, local6, link, learning, group, group6 } = seen.data;
  return differences([
    ['VNI', id, wanted.id],
    ['port', port, wanted.port],
    ['local address', local ?? local6, wanted.local],
    ['device', link, wanted.device],
    ['learning', learning, false],
    ['multicast group', group ?? group6, undefined],
  ]);
}

/** In words, what is not as it should be. */
export const differences = (rows: ReadonlyArray<readonly [string, unknown, unknown]>): string[] =>
  rows.flatMap(([what, is, should]) =>
    is === should ? [] : [`its ${what} is ${is ?? 'none'}, not ${should ?? 'none'}`],
  );

/** `owner`: 'us' where the link carries our alias. */
export function judgeVtep(seen: LinkInfo, wanted: Vtep, owner: 'us' | 'others'): Verdict {
  const reasons = incompatible(seen, wanted);
  if (reasons.length > 0) return { do: owner === 'us' ? 'recreate' : 'refuse', reasons };
  return { do: 'reuse', ...settings(seen, wanted) };
}

/** What can be set right while the link lives; `mac` '' is left as it is. */
export function settings(
  seen: LinkInfo,
  { name, mac, mtu }: { name: string; mac: string; mtu: number },
): { fix: NetOp[]; reasons: string[] } {
  const fix: NetOp[] = [];
  const reasons: string[] = [];
  if (mac !== '' && seen.mac !== mac) {
    fix.push({ op: 'setLink', name, mac });
    reasons.push(`its MAC was ${seen.mac}, not ${mac}`);
  }
  if (seen.mtu !== mtu) {
    fix.push({ op: 'setLink', name, mtu });
    reasons.push(`its MTU was ${seen.mtu}, not ${mtu}`);
  }
  if (!seen.up) {
    fix.push({ op: 'setLink', name, state: 'up' });
    reasons.push('it was down');
  }
  return { fix, reasons };
}

/** No link-local address: it would be announced to peers that do not listen. Too small a link has none anyhow. Pure. */
export const linkLocalOff = (name: string, mtu: number): NetOp[] =>
  mtu < leastIpv6Mtu ? [] : [{ op: 'setLink', name, linkLocal: 'none' }];

/** Ours from its first moment, so that nothing a kill leaves behind is taken for somebody else's. */
export const makeVtepOps = ({ name, id, port, local, device, mac, mtu }: Vtep, alias: string): NetOp[] => [
  { op: 'addVxlan', name, id, port, local, dev: device, mac, mtu },
  { op: 'setLink', name, alias },
  ...linkLocalOff(name, mtu),
  { op: 'setLink', name, state: 'up' },
];
