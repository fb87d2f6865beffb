// The HTTP face of the registry: Kubernetes' REST paths, errors as Status objects; on a Unix socket of mode 0600, and
// by mutual TLS for other machines. Assumes whoever can open the socket may do everything (it is root's).
// O(requests); watches and logs stream.
import type { FastifyInstance } from 'fastify';
import type { ApiError } from '../api/errors.ts';
import type { PodStreams } from '../api/streams.ts';
import { addAccess } from './access/access.ts';
import { createApp, listenOn, type Listening } from './app.ts';
import { addEvictionRoute } from './eviction.ts';
import { PodSockets } from './streams/pod-sockets.ts';
import { nodeAuthorizer } from './access/node-authorizer.ts';
import type { LocateNode } from './proxy.ts';
import type { Registry } from './registry/registry.ts';
import { addDiscovery } from './routes-discovery.ts';
import { addObjectRoutes } from './routes-objects.ts';
import { addOpenApi } from './routes-openapi.ts';
import { addReviews } from './routes-reviews.ts';
import { addBindingRoutes, addLogRoute } from './routes-pods.ts';

export interface ApiServerOptions {
  registry: Registry;
  streams: PodStreams;
  /** podwire's own version, for /version. */
  version: string;
  /** Where a Pod's node serves its logs and exec; this machine serves all of them unless told. */
  locate?: LocateNode;
  /** What /readyz says; always ready unless told. */
  isReady?: () => boolean;
  /** Adds podwire's own endpoints, all under /podwire/v1/. */
  register?: (app: FastifyInstance) => void | Promise<void>;
  /** Told of every failure that the client did not cause. */
  onError?: (error: ApiError) => void;
}

export interface ApiServer extends Listening {
  readonly app: FastifyInstance;
}

export async function createApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { registry, streams, version, isReady = () => true, register, onError } = options;
  const pods = { find: (key: { namespace: string; name: string }) => registry.get('pods', key), streams };
  const target = { ...pods, locate: options.locate ?? (async () => undefined) };
  const app = createApp(onError);
  const authorizeNode = nodeAuthorizer(registry);
  addAccess(app, authorizeNode);
  addOpenApi(app, version);
  addDiscovery(app, { version, isReady });
  addReviews(app, authorizeNode);
  addObjectRoutes(app, registry);
  addBindingRoutes(app, registry);
  addEvictionRoute(app, registry);
  addLogRoute(app, target);
  await register?.(app);
  const sockets = new PodSockets(target);
  await app.ready();
  return { app, ...listenOn(app, sockets) };
}
