// The joining side: fetches the CA without trusting anybody, compares it with the token's hash, and only then speaks.
// Assumes the token travelled by a way that can be trusted. Servers are asked side by side; of those that prove to be right
// ones the token's first is taken, and the address by which this machine reached it is this machine's own.
import { type RequestOptions, request as startRequest } from 'node:https';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { messageOf } from '../exec/errors.ts';
import { checkClocks, type Credentials, hashOfCertificate, newKey, PkiError } from './certificate.ts';
import { createRequest } from './issue.ts';
import type { JoinToken } from './join-token.ts';
import { aServer, identityOfPeer } from './peer.ts';
import { splitServer } from './server-address.ts';

export interface JoinInput {
  readonly token: JoinToken;
  readonly name: string;
  /** Absent: the one from which the server is reached. */
  readonly address?: string | undefined;
  readonly machineId: string;
  /** Its subnets, one a family, where they are given by hand. */
  readonly podCidrs?: readonly string[] | undefined;
  readonly now?: () => number;
}

export interface Joined<Settings> {
  readonly credentials: Credentials;
  readonly address: string;
  /** The server that answered. */
  readonly server: string;
  readonly settings: Settings;
}

interface Found {
  readonly server: string;
  readonly ca: string;
  readonly localAddress: string;
  readonly serverNow: number;
}

const answerMs = 5000;

/** @throws PkiError NO_SERVER, CA_MISMATCH, CLOCKS_DIFFER, JOIN_REFUSED */
export async function joinCluster<Settings>(input: JoinInput): Promise<Joined<Settings>> {
  const { token, name, machineId, now = Date.now } = input;
  const { server, ca, localAddress, serverNow } = await findServer(token);
  checkClocks(now(), serverNow);
  const key = newKey();
  const address = input.address ?? localAddress;
  const asked = {
    ...{ id: token.id, secret: token.secret, name, address, machineId },
    request: await createRequest(key),
    podCidrs: input.podCidrs,
  };
  const { status, body } = await call(server, {
    method: 'POST',
    path: '/podwire/v1/join',
    body: asked,
    options: {
      ca,
      servername: '',
      checkServerIdentity: (_host, peer) =>
        aServer.matches(identityOfPeer(peer)) ? undefined : new Error('it is not a server of the cluster'),
    },
  });
  const answer = parse(body) as { certificate?: string; settings?: Settings; message?: string };
  if (status !== 200 || !answer.certificate || !answer.settings)
    throw new PkiError('JOIN_REFUSED', `${server} refused: ${answer.message ?? `HTTP ${status}`}`);
  return { credentials: { ca, cert: answer.certificate, key }, address, server, settings: answer.settings };
}

/**
 * The first of a token is where the server's own Pods are reached: from there this machine finds the address (the family, the
 * network) that the others must reach it by. Whoever answers sooner says nothing of that.
 */
async function findServer({ servers, caHash }: JoinToken): Promise<Found> {
  const answers = servers.map((server) => askForCa(server, caHash));
  for (const answer of answers) answer.catch(() => {}); // one that nobody waits for may fail
  const familyOf = (server: string | undefined): number => isIP(splitServer(server ?? '')?.host ?? '');
  const alike = answers.filter((_, at) => familyOf(servers[at]) === familyOf(servers[0]));
  try {
    return await Promise.any(answers.slice(0, 1))
      .catch(() => Promise.any(alike))
      .catch(() => Promise.any(answers));
  } catch (cause) {
    const errors = (cause as AggregateError).errors as Error[];
    const other = errors.find((error) => error instanceof PkiError);
    if (other) throw other;
    const told = servers.map((server, at) => `${server} (${messageOf(errors[at])})`).join(', ');
    throw new PkiError(
      'NO_SERVER',
      `no server of the token answers: ${told}; is podwired running there, and its port open to this machine?`,
      { cause },
    );
  }
}

/** A server's clock, whether its certificate holds or not; undefined when it does not tell. Only for messages. */
export async function serverClock(server: string): Promise<number | undefined> {
  try {
    const request = { method: 'GET', path: '/podwire/v1/ca', options: { rejectUnauthorized: false } };
    const { now } = parse((await call(server, request)).body) as { now?: unknown };
    return typeof now === 'number' ? now : undefined;
  } catch {
    return undefined;
  }
}

async function askForCa(server: string, caHash: string): Promise<Found> {
  // Nothing is believed of what comes but what the hash proves; nothing secret is sent.
  const { status, body, localAddress } = await call(server, {
    method: 'GET',
    path: '/podwire/v1/ca',
    options: { rejectUnauthorized: false },
  });
  const { ca, now } = parse(body) as { ca?: string; now?: number };
  if (status !== 200 || typeof ca !== 'string' || typeof now !== 'number')
    throw new Error('what answers there is no podwire server with an open cluster');
  if (hashOfPem(ca) !== caHash)
    throw new PkiError(
      'CA_MISMATCH',
      `${server} has another CA than the token says: the token is of another cluster, or somebody is in between`,
    );
  return { server, ca, localAddress, serverNow: now };
}

function hashOfPem(pem: string): string | undefined {
  try {
    return hashOfCertificate(pem);
  } catch {
    return undefined;
  }
}

function call(
  server: string,
  request: { method: string; path: string; body?: object; options: RequestOptions },
): Promise<{ status: number; body: string; localAddress: string }> {
  const text = request.body === undefined ? undefined : JSON.stringify(request.body);
  const options: RequestOptions = {
    ...splitServer(server),
    ...request.options,
    method: request.method,
    path: request.path,
    agent: false,
    minVersion: 'TLSv1.2',
    timeout: answerMs,
    headers:
      text === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
  };
  return new Promise((resolve, reject) => {
    const sent = startRequest(options, (response) => {
      const localAddress = plainAddress((response.socket as TLSSocket).localAddress ?? '');
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString(), localAddress }),
      );
    });
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${answerMs / 1000} s`)));
    sent.on('error', reject);
    sent.end(text);
  });
}

/** ::ffff:10.0.0.2 is 10.0.0.2 (RFC 4291, 2.5.5.2). */
const plainAddress = (address: string): string => address.replace(/^::ffff:(?=[\d.]+$)/i, '');

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
