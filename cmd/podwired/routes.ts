// What the daemon serves beside Kubernetes' REST: images, the explanation of a Pod's network, the purge, who it is.
// Assumes fastify and the services handed in; the CLI (cmd/podwire) is the other end. A pull streams a line a step.
import { Readable } from 'node:stream';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { ApiError } from '../../lib/api/errors.ts';
import type { Image, ImageService } from '../../lib/container/cri.ts';
import type { NetworkReport } from '../../lib/node-network/health/health.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';

export interface Identity {
  readonly node: string;
  readonly role: 'server' | 'agent';
  /** Why an agent does not run Pods yet: what its servers said, or that they say nothing. */
  readonly waiting?: string | undefined;
}

export interface PodwireRoutes {
  identity(): Identity;
  readonly images: ImageService;
  /** A shell script: the commands that built the Pod's network. @throws ApiError NotFound */
  explain(key: { namespace: string; name: string }): Promise<string>;
  /** This node's network, and how it reaches the others. */
  networkReport(): NetworkReport;
  /** Removes all Pods and every kernel object. */
  purge(): Promise<void>;
}

/** What servers ask each node for, also other servers. */
export function registerNetworkRoute(app: FastifyInstance, report: () => NetworkReport): void {
  app.get('/podwire/v1/network', async () => report());
}

/**
 * Registers
 * - GET /podwire/v1/node → Identity: who answers here
 * - GET /podwire/v1/images → {items: Image[]}
 * - POST /podwire/v1/images/pull {ref} → lines {progress} | {image} | {error}
 * - POST /podwire/v1/images/import {path, ref?} → likewise
 * - DELETE /podwire/v1/images?ref=REF
 * - GET /podwire/v1/pods/NAMESPACE/NAME/explain → text/plain
 * - GET /podwire/v1/network → NetworkReport of this node
 * - POST /podwire/v1/purge {} → {}
 */
export function registerPodwireRoutes(app: FastifyInstance, services: PodwireRoutes): void {
  const { images } = services;
  app.get('/podwire/v1/node', async () => services.identity());

  app.get('/podwire/v1/images', async () => ({ items: await images.list() }));

  app.post('/podwire/v1/images/pull', (request, reply) => {
    const ref = text(request.body, 'ref');
    return streamed(reply, async (tell) => [await images.pull(ref, { onProgress: tell })]);
  });

  app.post('/podwire/v1/images/import', (request, reply) => {
    const path = text(request.body, 'path');
    if (!path.startsWith('/'))
      throw new ApiError('BadRequest', `path: "${path}": expected an absolute path on the node`);
    const ref = optionalText(request.body, 'ref');
    return streamed(reply, (onProgress) =>
      images.importArchive(path, { onProgress, ...(ref ? { ref } : {}) }),
    );
  });

  app.delete('/podwire/v1/images', async (request) => {
    const ref = text(request.query, 'ref');
    if (!(await images.status(ref))) throw new ApiError('NotFound', `images "${ref}" not found`);
    try {
      await images.remove(ref);
    } catch (error) {
      if (error instanceof PodwireError && error.code === 'ImageInUse')
        throw new ApiError('Conflict', error.message);
      throw error;
    }
    return {};
  });

  registerNetworkRoute(app, services.networkReport);

  app.get('/podwire/v1/pods/:namespace/:name/explain', async (request, reply) => {
    const { namespace, name } = request.params as { namespace: string; name: string };
    reply.type('text/plain; charset=utf-8');
    return services.explain({ namespace, name });
  });

  app.post('/podwire/v1/purge', async () => {
    await services.purge();
    return {};
  });
}

/** Answers at once and line by line: what goes wrong later can only be told in the stream. */
function streamed(
  reply: FastifyReply,
  work: (tell: (line: string) => void) => Promise<Image[]>,
): FastifyReply {
  const body = new Readable({ read() {} });
  const push = (line: object): void => void body.push(`${JSON.stringify(line)}\n`);
  work((progress) => push({ progress }))
    .then((found) => {
      for (const image of found) push({ image });
    })
    .catch((error: unknown) => push({ error: messageOf(error) }))
    .finally(() => body.push(null));
  return reply.type('application/x-ndjson').send(body);
}

function text(from: unknown, field: string): string {
  const value = optionalText(from, field);
  if (value === undefined) throw new ApiError('BadRequest', `${field} is missing`);
  return value;
}

function optionalText(from: unknown, field: string): string | undefined {
  const value: unknown =
    typeof from === 'object' && from !== null ? (from as Record<string, unknown>)[field] : undefined;
  if (value === undefined) return undefined;
  if (typeof value === 'string' && value !== '' && value.length <= 4096 && !value.includes('\0'))
    return value;
  throw new ApiError('BadRequest', `${field}: expected a text that is not empty`);
}
