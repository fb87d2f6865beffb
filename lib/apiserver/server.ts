// The HTTP face of the registry: Kubernetes' REST paths, errors as Status objects, on a Unix socket of mode 0600.
// Assumes whoever can open the socket may do everything (it is root's). The framework only routes and reads bodies.
// O(requests); watches and logs stream.
import fastify, { type FastifyInstance } from 'fastify';
import { ApiError } from '../api/errors.ts';
import { addParsers, sendJson, toApiError } from './content.ts';
import { ExecEndpoint } from './exec-socket.ts';
import type { Registry } from './registry.ts';
import { addDiscovery } from './routes-discovery.ts';
import { addObjectRoutes } from './routes-objects.ts';
import { addPodRoutes } from './routes-pods.ts';
import type { PodStreams } from '../api/streams.ts';
import { listenUnix } from './unix-socket.ts';

export interface ApiServerOptions {
  registry: Registry;
  streams: PodStreams;
  /** podwire's own version, for /version. */
  version: string;
  /** What /readyz says; always ready unless told. */
  isReady?: () => boolean;
  /** Adds podwire's own endpoints, all under /podwire/v1/. */
  register?: (app: FastifyInstance) => void | Promise<void>;
  /** Told of every failure that the client did not cause. */
  onError?: (error: ApiError) => void;
}

export interface ApiServer {
  readonly app: FastifyInstance;
  /** @throws PodwireError SOCKET_IN_USE, SOCKET_FAILED. */
  listen(socketPath: string): Promise<void>;
  /** Cuts all connections: watches and logs have no end of their own. */
  close(): Promise<void>;
}

const noSchemas = (): never => {
  throw new Error('routes of podwired carry no framework schemas: check bodies with lib/api/schema.ts');
};

export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { registry, streams, version, isReady = () => true, register, onError } = options;
  const app = fastify({
    logger: false,
    bodyLimit: 3 * 1024 * 1024,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    // A malformed address never reaches a route nor the error handler below.
    frameworkErrors: (error, _request, reply) => {
      const { status } = toApiError(error);
      return sendJson(reply, status.code, status);
    },
    routerOptions: { maxParamLength: 512, ignoreTrailingSlash: true },
    // We check bodies ourselves: without its own validator and serializer the framework takes 9 MB less.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
  });
  addParsers(app);
  app.setErrorHandler((error, _request, reply) => {
    const refusal = toApiError(error);
    if (refusal.status.code >= 500) onError?.(refusal);
    return sendJson(reply, refusal.status.code, refusal.status);
  });
  app.setNotFoundHandler((request, reply) => {
    const { status } = new ApiError(
      'NotFound',
      `the server could not find the requested resource: ${request.method} ${request.url}`,
    );
    return sendJson(reply, status.code, status);
  });
  addDiscovery(app, { version, isReady });
  addObjectRoutes(app, registry);
  addPodRoutes(app, registry, streams);
  await register?.(app);
  const exec = new ExecEndpoint(registry, streams);
  app.server.on('upgrade', (request, socket, head) => void exec.upgrade(request, socket, head));
  await app.ready();
  return {
    app,
    listen: (socketPath) => listenUnix(app.server, socketPath),
    close: async () => {
      exec.close();
      await app.close();
    },
  };
}
