// Which networks this process' own namespace has routes to, from the files of /proc: no process, linear in routes.
// Assumes the columns of /proc/net/route (words in the machine's byte order, little-endian) and /proc/net/ipv6_route.
import { readFileSync } from 'node:fs';

/** `net/length`, of the routes by `dev`, in hex digits, as `routeFileKey` writes them. */
export function routesBy(
  dev: string,
  texts = { four: read('/proc/net/route'), six: read('/proc/net/ipv6_route') },
): ReadonlySet<string> {
  const four = rows(texts.four).flatMap(([name, destination = '', , , , , , mask = '']) =>
    name === dev && /^[0-9A-F]{8}$/.test(destination) ? [`${swap(destination)}/${ones(swap(mask))}`] : [],
  );
  const six = rows(texts.six).flatMap((row) =>
    row[9] === dev ? [`${row[0]}/${Number.parseInt(row[1] ?? '', 16)}`] : [],
  );
  return new Set([...four, ...six].map((key) => key.toLowerCase()));
}

/** The key of a network, from its first address as a number. Pure. */
export const routeFileKey = (net: { family: 4 | 6; value: bigint; length: number }): string =>
  `${net.value.toString(16).padStart(net.family === 4 ? 8 : 32, '0')}/${net.length}`;

const rows = (text: string): string[][] => text.split('\n').map((line) => line.trim().split(/\s+/));
const swap = (hex: string): string => (hex.match(/../g) ?? []).reverse().join('');
const ones = (hex: string): number =>
  [...Number.parseInt(hex, 16).toString(2)].filter((bit) => bit === '1').length;

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // a machine without that family
  }
}
