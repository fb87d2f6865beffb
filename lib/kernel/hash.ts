// SHA-256, random bytes and MACs without loading node:crypto, which costs bun 1.6 ms: a fifth of a plugin's whole run.
// Assumes bun's own hasher where bun runs; Node loads node:crypto with the first use.
import { closeSync, openSync, readSync } from 'node:fs';

/** One call, and 0.03 ms less than an object of bun's CryptoHasher. */
interface OneShot {
  hash(text: string, form: 'hex'): string;
}
const bun = (globalThis as { Bun?: { SHA256: OneShot } }).Bun;

/** The SHA-256 of a text, 64 hex digits. */
export const sha256 = (text: string): string =>
  bun
    ? bun.SHA256.hash(text, 'hex')
    : process.getBuiltinModule('node:crypto').createHash('sha256').update(text).digest('hex');

/** Bytes of the kernel's random source. */
export function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  const fd = openSync('/dev/urandom', 'r');
  try {
    readSync(fd, bytes, 0, count, null); // urandom never gives less up to 256 bytes: random(4)
  } finally {
    closeSync(fd);
  }
  return bytes;
}

/** `02:00:00:00:00:01` of six bytes. */
export function macText(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    text += `${at === 0 ? '' : ':'}${byte < 16 ? '0' : ''}${byte.toString(16)}`;
  }
  return text;
}
