// Join tokens as Secrets of a type of their own in kube-system: an id, the hash of a secret, an expiry.
// Assumes a token is used by as many machines as like until it expires. O(tokens) a listing.
import type { Client } from '../../api/client.ts';
import { ApiError, isReason } from '../../api/errors.ts';
import { timestamp } from '../../api/time.ts';
import type { Secret } from '../../api/types.ts';
import { clockText } from '../../pki/certificate.ts';
import { hashOfSecret, isSecretOf, isTokenId, newTokenSecret } from '../../pki/join-token.ts';

export interface TokenInfo {
  readonly id: string;
  /** RFC 3339. */
  readonly created: string;
  readonly expires: string;
}

const type = 'podwire.dev/join-token';
const namespace = 'kube-system';
const nameOf = (id: string): string => `podwire-token-${id}`;

export async function createToken(
  client: Client,
  { ttlMs, now = Date.now() }: { ttlMs: number; now?: number },
): Promise<{ id: string; secret: string; expires: string }> {
  const { id, secret } = newTokenSecret();
  const expires = timestamp(now + ttlMs);
  const stringData = { id, hash: hashOfSecret(secret), expires };
  await client.create('secrets', { metadata: { name: nameOf(id), namespace }, type, stringData });
  return { id, secret, expires };
}

/** Those that still hold; expired ones are removed on the way. */
export async function listTokens(client: Client, now = Date.now()): Promise<TokenInfo[]> {
  const { items } = await client.list('secrets', { namespace, fieldSelector: `type=${type}` });
  const tokens = items.map((secret) => ({
    id: field(secret, 'id'),
    created: secret.metadata.creationTimestamp,
    expires: field(secret, 'expires'),
  }));
  const expired = tokens.filter(({ expires }) => !(Date.parse(expires) > now));
  for (const { id } of expired) await deleteToken(client, id).catch(() => {}); // the next listing tries again
  return tokens.filter((token) => !expired.includes(token));
}

/** @throws ApiError NotFound */
export async function deleteToken(client: Client, id: string): Promise<void> {
  if (!isTokenId(id))
    throw new ApiError('BadRequest', `token id ${JSON.stringify(id)}: expected 8 hex digits`);
  await client.delete('secrets', { namespace, name: nameOf(id) });
}

/** @throws ApiError Unauthorized, saying which of the three it is: unknown, expired, wrong secret */
export async function checkToken(
  client: Client,
  given: { id: unknown; secret: unknown },
  now = Date.now(),
): Promise<void> {
  const kept = await find(client, given.id);
  if (!kept)
    throw new ApiError(
      'Unauthorized',
      'the token is unknown here: it was deleted, or expired long ago; make another one with: podwire token create',
    );
  if (typeof given.secret !== 'string' || !isSecretOf(given.secret, field(kept, 'hash')))
    throw new ApiError('Unauthorized', `the secret of token ${given.id} is wrong`);
  const expires = Date.parse(field(kept, 'expires'));
  if (!(expires > now))
    throw new ApiError(
      'Unauthorized',
      `token ${given.id} expired at ${clockText(expires)}; this server's clock says ${clockText(now)}; make another one with: podwire token create`,
    );
}

async function find(client: Client, id: unknown): Promise<Secret | undefined> {
  if (!isTokenId(id)) return undefined;
  try {
    const secret = await client.get('secrets', { namespace, name: nameOf(id) });
    return secret.type === type ? secret : undefined;
  } catch (error) {
    if (isReason(error, 'NotFound')) return undefined;
    throw error;
  }
}

const field = ({ data }: Secret, name: string): string =>
  Buffer.from(data?.[name] ?? '', 'base64').toString();
