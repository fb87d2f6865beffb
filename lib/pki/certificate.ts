// Keys and certificates as PEM texts, read with node:crypto alone: names, hash, validity, time of renewal.
// Assumes ECDSA P-256 keys. What makes certificates is in issue.ts, for its library is loaded only then. O(1).
import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { PodwireError } from '../exec/errors.ts';

/** A certificate with its private key, both PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** What a TLS connection of ours needs: its own key pair and the CA that the far side must be signed by. */
export interface Credentials extends KeyPair {
  readonly ca: string;
}

/** Who a certificate says its holder is: CN and the O's of its subject. */
export interface Identity {
  readonly name: string;
  readonly groups: readonly string[];
}

/** Kubernetes' names, but for servers, which it has no group of. */
export const groups = {
  masters: 'system:masters',
  nodes: 'system:nodes',
  servers: 'podwire:servers',
} as const;

export const nodeUserPrefix = 'system:node:';
/** A group of one: the Node object that a node's certificate was made for, by its uid. */
export const nodeUidPrefix = 'podwire:node-uid:';
/** Certificates begin so long before they are made: clocks that differ less are no fault. */
export const clockToleranceMs = 300_000;
/** Longest validity of what is issued unless told: a year; and of the CA: ten. */
export const yearMs = 365 * 86_400_000;

export type PkiErrorCode =
  | 'BAD_TOKEN'
  | 'BAD_CERTIFICATE_REQUEST'
  | 'CA_MISMATCH'
  | 'CERTIFICATE_EXPIRED'
  | 'CERTIFICATE_NOT_YET_VALID'
  | 'CLOCKS_DIFFER'
  | 'JOIN_REFUSED'
  | 'NO_SERVER'
  | 'PKI_FILES';

export class PkiError extends PodwireError {
  constructor(code: PkiErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options);
  }
}

/** A new private key, PKCS#8 PEM. */
export function newKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** A certificate's serial number, hex: 159 random bits, positive (RFC 5280, 4.1.2.2). */
export function newSerial(): string {
  const bytes = randomBytes(20);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

/** SHA-256 of the certificate itself (DER), base64url: what a join token knows the CA by. @throws on what is no PEM */
export const hashOfCertificate = (pem: string): string =>
  createHash('sha256').update(new X509Certificate(pem).raw).digest('base64url');

export interface Validity {
  readonly from: Date;
  readonly until: Date;
}

export function validityOf(pem: string): Validity {
  const { validFromDate, validToDate } = new X509Certificate(pem);
  return { from: validFromDate, until: validToDate };
}

/** When a certificate is to be replaced: at two thirds of its life since it was issued. Milliseconds since the epoch. */
export function renewalTime({ from, until }: Validity): number {
  const issued = from.getTime() + clockToleranceMs;
  return issued + ((until.getTime() - issued) * 2) / 3;
}

/** `2026-11-20T08:00:00Z` */
export const clockText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

/**
 * Refuses a certificate that is not valid now, naming both clocks where the other side's is known.
 * `what`: e.g. `the certificate of node two`. @throws PkiError CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID
 */
export function checkValidity(
  validity: Validity,
  { what, now, serverNow }: { what: string; now: number; serverNow?: number | undefined },
): void {
  const theirs = serverNow === undefined ? '' : `, the server's clock ${clockText(serverNow)}`;
  const clocks = `this machine's clock says ${clockText(now)}${theirs}`;
  const { from, until } = validity;
  if (now < from.getTime())
    throw new PkiError(
      'CERTIFICATE_NOT_YET_VALID',
      `${what} is valid only from ${clockText(from.getTime())}, and ${clocks}: set the clock right (timedatectl)`,
    );
  if (now > until.getTime())
    throw new PkiError(
      'CERTIFICATE_EXPIRED',
      `${what} expired at ${clockText(until.getTime())}, and ${clocks}: if the clock is right, join again with a new token (podwire token create on a server)`,
    );
}

/** @throws PkiError CLOCKS_DIFFER when certificates of one machine could be worthless on the other */
export function checkClocks(now: number, serverNow: number): void {
  if (Math.abs(now - serverNow) <= clockToleranceMs) return;
  throw new PkiError(
    'CLOCKS_DIFFER',
    `the clocks differ by ${Math.round(Math.abs(now - serverNow) / 60_000)} min: this machine's says ${clockText(now)}, the server's ${clockText(serverNow)}: set them right (timedatectl), 5 min are tolerated`,
  );
}
