// The cluster's CA: one for all servers, kept in the store, with a copy in a file in case the store is lost.
// Assumes all servers reach the same store; who comes second takes what is there. Its private key is never logged.
import { join } from 'node:path';
import type { Client } from '../../api/client.ts';
import { isReason } from '../../api/errors.ts';
import type { Secret } from '../../api/types.ts';
import type { KeyPair } from '../../pki/certificate.ts';
import { readKeyPair, writeKeyPair } from '../../pki/files.ts';
import { createCa } from '../../pki/issue.ts';

const key = { namespace: 'kube-system', name: 'podwire-ca' };
export const caFile = (folder: string): string => join(folder, 'ca.pem');

/** Gives the cluster's CA, making it when there is none. `folder`: where the copy lies. */
export async function ensureCa(client: Client, folder: string): Promise<KeyPair> {
  const found =
    (await readCa(client)) ?? (await storeCa(client, readKeyPair(caFile(folder)) ?? (await createCa())));
  if (readKeyPair(caFile(folder))?.cert.trim() !== found.cert.trim()) writeKeyPair(caFile(folder), found);
  return found;
}

/** undefined where no cluster was made yet. */
export async function readCa(client: Client): Promise<KeyPair | undefined> {
  try {
    return pairOf(await client.get('secrets', key));
  } catch (error) {
    if (isReason(error, 'NotFound')) return undefined;
    throw error;
  }
}

async function storeCa(client: Client, ca: KeyPair): Promise<KeyPair> {
  const stringData = { 'tls.crt': ca.cert, 'tls.key': ca.key };
  try {
    await client.create('secrets', { metadata: key, type: 'podwire.dev/ca', immutable: true, stringData });
    return ca;
  } catch (error) {
    if (!isReason(error, 'AlreadyExists')) throw error;
    return pairOf(await client.get('secrets', key)); // another server was quicker
  }
}

function pairOf({ data = {} }: Secret): KeyPair {
  const text = (name: string): string => Buffer.from(data[name] ?? '', 'base64').toString();
  return { cert: text('tls.crt'), key: text('tls.key') };
}
