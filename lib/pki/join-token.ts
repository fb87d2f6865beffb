// The join token: one word that carries all that a new machine must know to trust a server and be trusted by it.
// Assumes it travels by hand, so what is cut off or mistyped is told from what is wrong. Pure but for randomness.
// Form: pw1.BASE64URL(JSON).CHECK, where CHECK is the first 6 letters of the SHA-256 of what stands before it.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { PkiError } from './certificate.ts';
import { isServer } from './server-address.ts';

export interface JoinToken {
  /** HOST:PORT each; an IPv6 address in brackets. */
  readonly servers: readonly string[];
  /** Of the CA's certificate, as hashOfCertificate gives it. */
  readonly caHash: string;
  readonly id: string;
  readonly secret: string;
}

const head = 'pw1.';
const checkLetters = 6;

const checkOf = (text: string): string =>
  createHash('sha256').update(text).digest('base64url').slice(0, checkLetters);

export function newTokenSecret(): { id: string; secret: string } {
  return { id: randomBytes(4).toString('hex'), secret: randomBytes(18).toString('base64url') };
}

export function formatToken({ servers, caHash, id, secret }: JoinToken): string {
  const payload = Buffer.from(JSON.stringify({ s: servers, c: caHash, i: id, k: secret })).toString(
    'base64url',
  );
  return `${head}${payload}.${checkOf(payload)}`;
}

/** @throws PkiError BAD_TOKEN */
export function parseToken(text: string): JoinToken {
  const given = text.trim();
  if (!given.startsWith(head))
    throw new PkiError(
      'BAD_TOKEN',
      `the token must begin with "${head}": copy the whole line that "podwire token create" printed`,
    );
  const [payload = '', check = '', ...more] = given.slice(head.length).split('.');
  if (check !== checkOf(payload) || more.length > 0)
    throw new PkiError(
      'BAD_TOKEN',
      'the token is cut off or mistyped: copy the whole line that "podwire token create" printed',
    );
  const parts = read(payload);
  if (parts) return parts;
  throw new PkiError('BAD_TOKEN', 'the token is not one of this version of podwire');
}

function read(payload: string): JoinToken | undefined {
  try {
    const { s, c, i, k } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<
      string,
      unknown
    >;
    if (!Array.isArray(s) || s.length === 0 || !s.every((one) => typeof one === 'string' && isServer(one)))
      return undefined;
    if (typeof c !== 'string' || c.length !== 43 || !isTokenId(i) || typeof k !== 'string' || k === '')
      return undefined;
    return { servers: s, caHash: c, id: i, secret: k };
  } catch {
    return undefined;
  }
}

export const isTokenId = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{8}$/.test(value);

/** What is kept of a secret: a fast hash will do, for it has 144 random bits. */
export const hashOfSecret = (secret: string): string => createHash('sha256').update(secret).digest('hex');

/** Compares in constant time. */
export function isSecretOf(secret: string, hash: string): boolean {
  const given = Buffer.from(hashOfSecret(secret));
  const kept = Buffer.from(hash);
  return given.length === kept.length && timingSafeEqual(given, kept);
}
