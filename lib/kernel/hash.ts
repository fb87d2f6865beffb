// SHA-256 and random bytes without loading node:crypto, which costs bun 1.6 ms: a fifth of a plugin's whole run.
// Assumes bun's own hasher where bun runs; Node loads node:crypto with the first use.
import { closeSync, openSync, readSync } from 'node:fs';

interface Hasher {
  update(text: string): Hasher;
  digest(form: 'hex'): string;
}
const bun = (globalThis as { Bun?: { CryptoHasher: new (algorithm: string) => Hasher } }).Bun;

/** The SHA-256 of a text, 64 hex digits. */
export function sha256(text: string): string {
  const hasher: Hasher = bun
    ? new bun.CryptoHasher('sha256')
    : process.getBuiltinModule('node:crypto').createHash('sha256');
  return hasher.update(text).digest('hex');
}

/** Bytes of the kernel's random source. */
export function randomHex(bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  const fd = openSync('/dev/urandom', 'r');
  try {
    readSync(fd, buffer, 0, bytes, null); // urandom never gives less up to 256 bytes: random(4)
  } finally {
    closeSync(fd);
  }
  return buffer.toString('hex');
}
