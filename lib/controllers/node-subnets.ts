// Which subnet a node gets: the smallest free one of each family, and what is in the way of one given by hand. Pure.
// Assumes the record has every node's subnets, those given by hand too. O(n log n) an answer, n: nodes.
import { type Cidr, formatCidr, lastOf, networkOf, overlap, parseCidr } from '../cni/address.ts';
import type { NodeRange } from './cluster-ranges.ts';

/** What the record keeps of a node: of which Node object (uid), and its subnets. */
export interface Reservation {
  readonly uid: string;
  readonly subnets: readonly string[];
}
/** By node name. */
export type Reservations = ReadonlyMap<string, Reservation>;

/** The smallest free subnet of the range; undefined when it is full. */
export function smallestFree(range: NodeRange, taken: readonly Cidr[]): Cidr | undefined {
  const { cidr, nodeLength } = range;
  const shift = BigInt((cidr.ip.family === 4 ? 32 : 128) - nodeLength);
  const base = networkOf(cidr).value >> shift;
  const count = 1 << (nodeLength - cidr.length);
  // A subnet given by hand may be larger or smaller than ours: it takes every one of ours that it touches.
  const spans = taken
    .filter((other) => overlap(cidr, other))
    .map((other) => [
      Number((networkOf(other).value >> shift) - base),
      Number((lastOf(other).value >> shift) - base),
    ])
    .sort(([a = 0], [b = 0]) => a - b);
  let free = 0;
  for (const [first = 0, last = 0] of spans) {
    if (first > free) break;
    free = Math.max(free, last + 1);
  }
  if (free >= count) return undefined;
  return { ip: { family: cidr.ip.family, value: (base + BigInt(free)) << shift }, length: nodeLength };
}

export interface FullRange {
  readonly full: Cidr;
}

/** One subnet of each range that no other node has, or the range that is full. */
export function subnetsFor(
  node: string,
  ranges: readonly NodeRange[],
  reservations: Reservations,
): readonly string[] | FullRange {
  const taken = [...reservations]
    .filter(([other]) => other !== node)
    .flatMap(([, { subnets }]) => subnets.map((text) => parseCidr(text)))
    .filter((cidr) => cidr !== undefined);
  const subnets: string[] = [];
  for (const range of ranges) {
    const free = smallestFree(range, taken);
    if (!free) return { full: range.cidr };
    subnets.push(formatCidr(free));
  }
  return subnets;
}

/** The node that has (a part of) one of these subnets already, and which; undefined when there is none. */
export function holderOf(
  node: string,
  subnets: readonly string[],
  reservations: Reservations,
): { readonly node: string; readonly subnet: string; readonly wanted: string } | undefined {
  const parsed = subnets.map((text) => ({ text, cidr: parseCidr(text) }));
  for (const [other, { subnets: held }] of reservations) {
    if (other === node) continue;
    for (const subnet of held) {
      const there = parseCidr(subnet);
      const hit = there && parsed.find(({ cidr }) => cidr && overlap(cidr, there));
      if (hit) return { node: other, subnet, wanted: hit.text };
    }
  }
  return undefined;
}

/** As the record's ConfigMap has it: `{"uid":…,"subnets":[…]}` by node name. What cannot be read counts as nothing. */
export function readReservations(
  data: Readonly<Record<string, string>> | undefined,
): Map<string, Reservation> {
  const reservations = new Map<string, Reservation>();
  for (const [node, text] of Object.entries(data ?? {})) {
    const one = readReservation(text);
    if (one) reservations.set(node, one);
  }
  return reservations;
}

function readReservation(text: string): Reservation | undefined {
  try {
    const { uid, subnets } = JSON.parse(text) as Partial<Reservation>;
    if (typeof uid !== 'string' || !Array.isArray(subnets)) return undefined;
    return { uid, subnets: subnets.filter((each) => typeof each === 'string') };
  } catch {
    return undefined; // a person's edit
  }
}

export const writeReservations = (reservations: Reservations): Record<string, string> =>
  Object.fromEntries([...reservations].map(([node, one]) => [node, JSON.stringify(one)]));
