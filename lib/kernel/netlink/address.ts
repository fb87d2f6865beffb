// Texts of addresses as the bytes that the kernel takes, and back. Pure. Assumes the texts were checked by whoever made the NetOp.
// Written again here, as lib/cni/address.ts stands above this layer and counts in big integers, which a MAC has no use for.
// Loops, not Array.from and Uint8Array.from: the first use of either takes bun 0.2 ms of a plugin's run.
import { KernelError } from '../errors.ts';

export function splitCidr(text: string): { ip: string; length: number } {
  const at = text.indexOf('/');
  const ip = at < 0 ? text : text.slice(0, at);
  const full = ip.includes(':') ? 128 : 32;
  const length = at < 0 ? full : Number(text.slice(at + 1));
  if (!Number.isInteger(length) || length < 0 || length > full) throw wrong(text);
  return { ip, length };
}

const wrong = (text: string): KernelError =>
  new KernelError(
    'EINVAL',
    text,
    `${JSON.stringify(text)}: expected an IP address, with or without a prefix length`,
  );

/** 4 or 16 bytes. @throws KernelError EINVAL */
export function addressBytes(text: string): Uint8Array {
  const bytes = text.includes(':') ? sixBytes(text) : fourBytes(text);
  if (!bytes) throw wrong(text);
  return bytes;
}

function fourBytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let at = 0; at < 4; at++) {
    const part = parts[at] as string;
    if (!/^\d{1,3}$/.test(part) || Number(part) > 255) return undefined;
    bytes[at] = Number(part);
  }
  return bytes;
}

/** RFC 4291, section 2.2. */
function sixBytes(text: string): Uint8Array | undefined {
  const dotted = /[\d.]*\.[\d.]*$/.exec(text)?.[0];
  const four = dotted === undefined ? undefined : fourBytes(dotted);
  if (dotted !== undefined && !four) return undefined;
  const plain = four
    ? `${text.slice(0, -(dotted as string).length)}${hextet(four, 0)}:${hextet(four, 2)}`
    : text;
  const [head = '', tail, more] = plain.split('::');
  const groups = (part: string | undefined): string[] => (part ? part.split(':') : []);
  const [first, last] = [groups(head), groups(tail)];
  const missing = 8 - first.length - last.length;
  if (more !== undefined || (tail === undefined ? missing !== 0 : missing < 1)) return undefined;
  const all = [...first, ...Array<string>(missing).fill('0'), ...last];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return Uint8Array.from(
    all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]),
  );
}

const hextet = (bytes: Uint8Array, at: number): string =>
  (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16);

/** The canonical text: dotted, or RFC 5952. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const parts: string[] = [];
  for (let at = 0; at < 8; at++) parts.push(hextet(bytes, at * 2));
  let best = { start: 0, length: 0 };
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && parts[end] === '0') end++;
    if (end - start > best.length) best = { start, length: end - start };
  }
  if (best.length < 2) return parts.join(':');
  return `${parts.slice(0, best.start).join(':')}::${parts.slice(best.start + best.length).join(':')}`;
}

/** The last address of an IPv4 net. */
export function broadcastOf(ip: Uint8Array, length: number): Uint8Array {
  const last = ip.slice();
  for (let at = 0; at < last.length; at++)
    last[at] = (last[at] as number) | (0xff >> Math.min(8, Math.max(0, length - at * 8)));
  return last;
}

/** Six bytes of `aa:bb:cc:dd:ee:ff`. @throws KernelError EINVAL */
export function macBytes(text: string): Uint8Array {
  const parts = text.split(':');
  const bytes = new Uint8Array(6);
  for (let at = 0; at < 6; at++) {
    const part = parts[at] ?? '';
    if (parts.length !== 6 || !/^[0-9A-Fa-f][0-9A-Fa-f]$/.test(part))
      throw new KernelError(
        'EINVAL',
        text,
        `${JSON.stringify(text)}: expected a MAC address such as 02:00:00:00:00:01`,
      );
    bytes[at] = Number.parseInt(part, 16);
  }
  return bytes;
}
