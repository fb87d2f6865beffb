// What a cluster adds to the API: joining, renewal, what a node must know, tokens, and the admin's kubeconfig.
// Assumes the face of the cluster (TLS port, CA) is made by whoever wires the daemon. Strangers see two routes only.
import type { FastifyInstance } from 'fastify';
import { ApiError } from '../api/errors.ts';
import { groups, type KeyPair, yearMs } from '../pki/certificate.ts';
import { issueKeyPair } from '../pki/issue.ts';
import { requestUser } from './access/access.ts';
import { nodeOf } from './access/authn.ts';
import { joinNode, renewNode } from './access/join.ts';
import type { Registry } from './registry/registry.ts';
import { createToken, deleteToken, listTokens } from './access/tokens.ts';

/** What every node must know of its cluster; asked for at the join and now and then after it. */
export interface ClusterSettings {
  /** HOST:PORT of every server. */
  readonly servers: readonly string[];
}

/** This server as others see it. */
export interface ClusterFace {
  /** undefined while this machine is on its own. */
  readonly ca: KeyPair | undefined;
  /** Makes the CA and opens the TLS port, if that has not been done; `where` as given by the person. */
  open(where: OpenRequest): Promise<KeyPair>;
  settings(): Promise<ClusterSettings>;
  /** HOST:PORT under which this server may be reached. */
  ownAddresses(): readonly string[];
  /** What the person who opened it should know; undefined: nothing. */
  readonly remark: string | undefined;
  /** Of nodes' certificates. */
  readonly nodeLifeMs: number;
}

export interface OpenRequest {
  /** ADDR:PORT to listen on. */
  readonly listen?: string | undefined;
  /** The address that other machines reach this one by. */
  readonly advertiseAddress?: string | undefined;
}

/**
 * Registers
 * - GET /podwire/v1/ca → {ca, now}: to anybody; now in milliseconds
 * - POST /podwire/v1/join JoinRequest → {certificate, settings}: to whoever has a token
 * - POST /podwire/v1/renew {request} → {certificate}: to nodes
 * - GET /podwire/v1/cluster → ClusterSettings: to nodes
 * - POST /podwire/v1/tokens {ttlSeconds, listen?, advertiseAddress?} → {id, secret, expires, ca, servers, remark?}
 * - GET /podwire/v1/tokens → {items: TokenInfo[]}; DELETE /podwire/v1/tokens/ID
 * - POST /podwire/v1/kubeconfig {lifeSeconds?} → {ca, cert, key, servers}
 */
export function registerClusterRoutes(app: FastifyInstance, registry: Registry, face: ClusterFace): void {
  // Of what strangers send no more is read than what they may have to say.
  const anybody = { config: { access: 'anybody' as const }, bodyLimit: 16 * 1024 };
  const nodes = { config: { access: 'nodes' as const } };
  const joiner = () => ({ client: registry, ca: opened(face), lifeMs: face.nodeLifeMs });

  app.get('/podwire/v1/ca', anybody, async () => ({ ca: opened(face).cert, now: Date.now() }));
  app.post('/podwire/v1/join', anybody, async (request) => ({
    certificate: await joinNode(joiner(), request.body),
    settings: await face.settings(),
  }));
  app.post('/podwire/v1/renew', nodes, async (request) => {
    const name = nodeOf(requestUser(request));
    if (name === undefined) throw new ApiError('BadRequest', 'only a node renews its certificate');
    return { certificate: await renewNode(joiner(), { name, request: field(request.body, 'request') }) };
  });
  app.get('/podwire/v1/cluster', nodes, () => face.settings());

  app.post('/podwire/v1/tokens', async (request) => {
    const ttlMs = seconds(request.body, 'ttlSeconds', 86_400) * 1000;
    const listen = optional(request.body, 'listen');
    const ca = await face.open({ listen, advertiseAddress: optional(request.body, 'advertiseAddress') });
    const { remark } = face;
    const told = { ca: ca.cert, servers: face.ownAddresses(), ...(remark ? { remark } : {}) };
    return { ...(await createToken(registry, { ttlMs })), ...told };
  });
  app.get('/podwire/v1/tokens', async () => ({ items: await listTokens(registry) }));
  app.delete('/podwire/v1/tokens/:id', async (request) => {
    await deleteToken(registry, (request.params as { id: string }).id);
    return {};
  });
  app.post('/podwire/v1/kubeconfig', async (request) => {
    const ca = await face.open({});
    const identity = { name: 'podwire-admin', groups: [groups.masters] };
    const lifeMs = seconds(request.body, 'lifeSeconds', yearMs / 1000) * 1000;
    return { ca: ca.cert, ...(await issueKeyPair(ca, { identity, lifeMs })), servers: face.ownAddresses() };
  });
}

function opened({ ca }: ClusterFace): KeyPair {
  if (ca) return ca;
  throw new ApiError(
    'ServiceUnavailable',
    'this machine is on its own yet: podwire token create makes it a cluster',
  );
}

const field = (body: unknown, name: string): unknown =>
  typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;

function optional(body: unknown, name: string): string | undefined {
  const value = field(body, name);
  if (value === undefined || (typeof value === 'string' && value.length <= 255)) return value;
  throw new ApiError('BadRequest', `${name}: expected a text`);
}

function seconds(body: unknown, name: string, otherwise: number): number {
  const value = field(body, name) ?? otherwise;
  if (typeof value === 'number' && value >= 1 && value <= (10 * yearMs) / 1000) return value;
  throw new ApiError('BadRequest', `${name}: expected seconds, from 1 to ten years`);
}
