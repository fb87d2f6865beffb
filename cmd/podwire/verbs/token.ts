// `podwire token create|list|delete`: the words by which other machines join this cluster.
// Assumes podwired is a server here. The secret is shown once; the server keeps only its hash.
import { hashOfCertificate } from '../../../lib/pki/certificate.ts';
import { formatToken } from '../../../lib/pki/join-token.ts';
import type { Context } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { readJson } from '../http.ts';
import { renderTable } from '../print/text.ts';

export interface TokenFlags {
  ttl?: string;
  listen?: string;
  advertiseAddress?: string;
}

const path = '/podwire/v1/tokens';

interface Created {
  readonly id: string;
  readonly secret: string;
  readonly expires: string;
  readonly ca: string;
  readonly servers: readonly string[];
  readonly remark?: string;
}

export async function runTokenCreate(context: Context, flags: TokenFlags): Promise<void> {
  const ttlSeconds = parseDuration(flags.ttl ?? '24h', '--ttl') / 1000;
  const { listen, advertiseAddress } = flags;
  const body = { ttlSeconds, listen, advertiseAddress };
  const { id, secret, expires, ca, servers, remark } = await readJson<Created>(context.socket, path, {
    method: 'POST',
    body,
  });
  const token = formatToken({ servers, caHash: hashOfCertificate(ca), id, secret });
  context.out(`podwire join ${token}\n`);
  context.err(`# good until ${expires}, for machines that reach ${servers.join(' or ')}\n`);
  if (remark) context.err(`# ${remark}\n`);
}

interface Listed {
  readonly id: string;
  readonly created: string;
  readonly expires: string;
}

export async function runTokenList(context: Context): Promise<void> {
  const { items } = await readJson<{ items: Listed[] }>(context.socket, path);
  if (items.length === 0) return context.err('there are no tokens; podwire token create makes one\n');
  const rows = items.map(({ id, created, expires }) => [id, created, expires]);
  context.out(renderTable(['ID', 'CREATED', 'EXPIRES'], rows));
}

export async function runTokenDelete(context: Context, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await readJson(context.socket, `${path}/${encodeURIComponent(id)}`, { method: 'DELETE' });
    context.out(`token "${id}" deleted\n`);
  }
}
