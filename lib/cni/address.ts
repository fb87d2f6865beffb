// Arithmetic on IPv4 and IPv6 addresses, one code for both families, and nothing to load.
// Assumes the texts of RFC 4291 and RFC 5952 (the form Go prints, so that file names of leases agree with the reference's).
// Why not the package ip-address or node:net: they add 2 ms each to the start of a plugin that runs in 7.

export interface Ip {
  readonly family: 4 | 6;
  readonly value: bigint;
}

export interface Cidr {
  /** As written, host bits kept. */
  readonly ip: Ip;
  readonly length: number;
}

const bits = (family: 4 | 6): number => (family === 4 ? 32 : 128);

/** undefined for anything that is no address. An IPv4-mapped address (::ffff:1.2.3.4) is IPv4, as in Go. */
export function parseIp(text: string): Ip | undefined {
  const four = parse4(text);
  if (four !== undefined) return { family: 4, value: four };
  const value = parse6(text);
  if (value === undefined) return undefined;
  return value >> 32n === 0xffffn ? { family: 4, value: value & 0xffffffffn } : { family: 6, value };
}

/** Four decimal numbers up to 255, none with a leading zero (which some read as octal). */
function parse4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let sum = 0;
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    sum = sum * 256 + Number(part);
  }
  return BigInt(sum);
}

/** RFC 4291, section 2.2: eight groups, one `::` for a run of zeros, the last two groups perhaps as IPv4. */
function parse6(text: string): bigint | undefined {
  if (!text.includes(':')) return undefined;
  const dotted = /[\d.]*\.[\d.]*$/.exec(text)?.[0];
  const four = dotted === undefined ? undefined : parse4(dotted);
  if (dotted !== undefined && four === undefined) return undefined;
  const hex =
    four === undefined ? text : text.slice(0, -(dotted as string).length) + hextets(four, 2).join(':');
  const [head = '', tail, more] = hex.split('::');
  const split = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const [first, last] = [split(head), split(tail ?? '')];
  const missing = 8 - first.length - last.length;
  if (more !== undefined || (tail === undefined ? missing !== 0 : missing < 1)) return undefined;
  const groups = [...first, ...Array<string>(missing).fill('0'), ...last];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}

function hextets(value: bigint, count: number): string[] {
  const texts: string[] = []; // not by Array.from, whose first use takes bun 0.2 ms
  for (let at = count - 1; at >= 0; at--) texts.push(((value >> BigInt(16 * at)) & 0xffffn).toString(16));
  return texts;
}

/** The canonical text: dotted, or RFC 5952 (lower case, the longest run of two or more zeros as `::`). */
export function formatIp({ family, value }: Ip): string {
  if (family === 4) {
    const four = Number(value);
    return `${four >>> 24}.${(four >>> 16) & 255}.${(four >>> 8) & 255}.${four & 255}`;
  }
  const parts = hextets(value, 8);
  let best = { start: 0, length: 0 };
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && parts[end] === '0') end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  if (best.length < 2) return parts.join(':');
  return `${parts.slice(0, best.start).join(':')}::${parts.slice(best.start + best.length).join(':')}`;
}

/** undefined for anything that is not `address/length`. */
export function parseCidr(text: string): Cidr | undefined {
  const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const ip = parseIp(address);
  if (!ip || Number(length) > bits(ip.family)) return undefined;
  return { ip, length: Number(length) };
}

export const formatCidr = ({ ip, length }: Cidr): string => `${formatIp(ip)}/${length}`;

const hostBits = ({ ip, length }: Cidr): bigint => BigInt(bits(ip.family) - length);

/** The first address of the net. */
export const networkOf = (cidr: Cidr): Ip => ({
  family: cidr.ip.family,
  value: (cidr.ip.value >> hostBits(cidr)) << hostBits(cidr),
});

/** The last address of the net (IPv4: the broadcast address). */
export const lastOf = (cidr: Cidr): Ip => ({
  family: cidr.ip.family,
  value: networkOf(cidr).value + (1n << hostBits(cidr)) - 1n,
});

export const plus = (ip: Ip, steps: bigint): Ip => ({ family: ip.family, value: ip.value + steps });
export const sameIp = (a: Ip, b: Ip): boolean => a.family === b.family && a.value === b.value;

export const contains = (cidr: Cidr, ip: Ip): boolean =>
  cidr.ip.family === ip.family && cidr.ip.value >> hostBits(cidr) === ip.value >> hostBits(cidr);

export const overlap = (a: Cidr, b: Cidr): boolean => contains(a, b.ip) || contains(b, a.ip);
