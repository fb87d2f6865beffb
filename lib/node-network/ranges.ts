// Address ranges as people give them: `10.244.0.0/16`, or one a family with a comma between. Read, and judged.
// Assumes nothing of the text. Pure, O(ranges).
// Source of what is reserved: RFC 6890 and the IANA special-purpose registries.
import { type Cidr, formatIp, networkOf, overlap, parseCidr, sameIp } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';

const reserved = [
  ['0.0.0.0/8', '"this network" (0.0.0.0/8)'],
  ['127.0.0.0/8', 'loopback (127.0.0.0/8)'],
  ['169.254.0.0/16', 'link-local (169.254.0.0/16)'],
  ['224.0.0.0/3', 'multicast and reserved (224.0.0.0/3)'],
  ['::/127', 'loopback (::1)'],
  ['fe80::/10', 'link-local (fe80::/10)'],
  ['ff00::/8', 'multicast (ff00::/8)'],
].map(([cidr, what]) => ({ cidr: parseCidr(cidr as string) as Cidr, what }));

/** How a range is called when it is refused. */
export interface RangeKind {
  readonly code: string;
  /** e.g. `pod CIDR`. */
  readonly what: string;
  readonly example: string;
  /** Longest prefix that has room for what is in it. */
  readonly longest: { readonly 4: number; readonly 6: number };
}

/** The ranges of a text. @throws PodwireError with the kind's code, naming the value */
export function parseRanges(text: string, kind: RangeKind): Cidr[] {
  const cidrs = text.split(',').map((each) => parseRange(each.trim(), kind));
  const families = cidrs.map((cidr) => cidr.ip.family);
  if (new Set(families).size !== families.length)
    throw new PodwireError(
      kind.code,
      `${kind.what} ${JSON.stringify(text)}: expected at most one range an address family`,
    );
  return cidrs;
}

function parseRange(text: string, kind: RangeKind): Cidr {
  const cidr = parseCidr(text);
  const bad = (why: string) => new PodwireError(kind.code, `${kind.what} ${JSON.stringify(text)}: ${why}`);
  if (!cidr) throw bad(`expected a network such as ${kind.example}`);
  if (!sameIp(cidr.ip, networkOf(cidr)))
    throw bad(`has host bits; did you mean ${formatIp(networkOf(cidr))}/${cidr.length}?`);
  if (cidr.length > kind.longest[cidr.ip.family]) throw bad(`has no room`);
  const special = reserved.find((range) => overlap(range.cidr, cidr));
  if (special) throw bad(`overlaps ${special.what}; expected a private network such as ${kind.example}`);
  return cidr;
}
