// What a node serves itself: logs and exec of its own Pods, to servers by mutual TLS; on its Unix socket to root also
// images and the like, and the API, passed on to a server. Assumes one app for both faces; its TLS port is for servers
// alone. O(requests).
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { ApiError } from '../api/errors.ts';
import { groups } from '../pki/certificate.ts';
import { addAccess } from './access/access.ts';
import { createApp, listenOn } from './app.ts';
import { isMaster, type User } from './access/authn.ts';
import { PodSockets } from './streams/pod-sockets.ts';
import { addLogRoute, type PodSource } from './routes-pods.ts';
import type { ApiServer } from './server.ts';

export interface NodeServerOptions {
  readonly source: Omit<PodSource, 'locate'>;
  readonly isReady: () => boolean;
  /** Adds podwire's own endpoints, all under /podwire/v1/. */
  readonly register?: (app: FastifyInstance) => void | Promise<void>;
  /** What no route of the node's own answers, from root. Absent on a server: it has the API itself. */
  readonly forward?: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  readonly onError?: (error: ApiError) => void;
}

/** On a node's port a server is the master. */
const isServer = (user: User): boolean => isMaster(user) || user.groups.includes(groups.servers);

export async function createNodeServer(options: NodeServerOptions): Promise<ApiServer> {
  const { forward, isReady } = options;
  const source = { ...options.source, locate: async () => undefined };
  const app = createApp(options.onError);
  addAccess(app, async () => {}, isServer);
  const anybody = { config: { access: 'anybody' as const } };
  for (const path of ['/healthz', '/livez', '/readyz'])
    app.get(path, anybody, (_request, reply) => {
      const ok = path !== '/readyz' || isReady();
      return reply
        .code(ok ? 200 : 503)
        .type('text/plain')
        .send(ok ? 'ok' : 'not ready');
    });
  addLogRoute(app, source);
  await options.register?.(app);
  if (forward) {
    await app.register(async (rest) => {
      // The body is the far side's to read.
      rest.removeAllContentTypeParsers();
      rest.addContentTypeParser('*', (_request, _body, done) => done(null));
      for (const url of ['/api', '/apis', '/version', '/api/*', '/apis/*', '/openapi/*', '/podwire/*'])
        rest.all(url, async (request, reply) => {
          await forward(request.raw, reply.raw);
          return reply.hijack();
        });
    });
  }
  await app.ready();
  return { app, ...listenOn(app, new PodSockets(source, isServer)) };
}
