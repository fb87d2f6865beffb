// Key pairs and certificates in files under /var/lib/podwire/pki: 0600 in a folder of 0700, replaced in one step.
// Assumes one writer. Key and certificate lie in one file, so that they can never be of two generations.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import { type KeyPair, PkiError } from './certificate.ts';

const block = (text: string, label: RegExp): string | undefined =>
  new RegExp(`-----BEGIN (${label.source})-----[\\s\\S]+?-----END \\1-----\\n?`).exec(text)?.[0];

/** undefined where there is no file. @throws PkiError PKI_FILES for one that holds something else */
export function readKeyPair(path: string): KeyPair | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  const cert = block(text, /CERTIFICATE/);
  const key = block(text, /PRIVATE KEY/);
  if (cert && key) return { cert, key };
  throw new PkiError('PKI_FILES', `${path}: expected a certificate and its private key in PEM`);
}

export function writeKeyPair(path: string, { cert, key }: KeyPair): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  replaceFile(path, `${cert.trimEnd()}\n${key.trimEnd()}\n`, { mode: 0o600 });
}
