// The HTTP framework as we use it: it routes and reads bodies; refusals are Status objects. And where it listens.
// Assumes routes carry no framework schemas. One app may listen on a Unix socket and on TLS ports at once.
import { createServer, type Server } from 'node:https';
import fastify, { type FastifyInstance } from 'fastify';
import { once } from 'node:events';
import { ApiError } from '../api/errors.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import type { Credentials } from '../pki/certificate.ts';
import { addParsers, sendJson, toApiError } from './content.ts';
import type { PodSockets } from './streams/pod-sockets.ts';
import { listenUnix } from './unix-socket.ts';

export interface TlsListener {
  /** Where it listens: 0 as a port was replaced by a real one. */
  readonly host: string;
  readonly port: number;
  /** For connections from now on. */
  renew(credentials: Credentials): void;
}

export interface Listening {
  /** @throws PodwireError SOCKET_IN_USE, SOCKET_FAILED. */
  listen(socketPath: string): Promise<void>;
  /** Asks every client for a certificate, and lets routes decide. @throws PodwireError PORT_IN_USE, PORT_FAILED */
  listenTls(at: { host: string; port: number }, credentials: Credentials): Promise<TlsListener>;
  /** Cuts all connections: watches and logs have no end of their own. */
  close(): Promise<void>;
}

const noSchemas = (): never => {
  throw new Error('routes of podwired carry no framework schemas: check bodies with lib/api/schema.ts');
};

export function createApp(onError?: (error: ApiError) => void): FastifyInstance {
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
  return app;
}

export function listenOn(app: FastifyInstance, sockets: PodSockets): Listening {
  const servers: Server[] = [];
  app.server.on('upgrade', (request, socket, head) => void sockets.upgrade(request, socket, head));
  return {
    listen: (socketPath) => listenUnix(app.server, socketPath),
    listenTls: async (at, credentials) => {
      const server = createServer(
        { ...tlsOptions(credentials), requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' },
        (request, response) => app.routing(request, response),
      );
      server.on('upgrade', (request, socket, head) => void sockets.upgrade(request, socket, head));
      // A client that is gone without a word must not be kept for ever.
      server.on('connection', (socket) => socket.setKeepAlive(true, 10_000));
      await listenPort(server, at);
      servers.push(server);
      const bound = server.address();
      return {
        host: at.host,
        port: typeof bound === 'object' && bound ? bound.port : at.port,
        renew: (next) => server.setSecureContext(tlsOptions(next)),
      };
    },
    close: async () => {
      sockets.close();
      for (const server of servers) {
        server.close();
        server.closeAllConnections();
      }
      await app.close();
    },
  };
}

const tlsOptions = ({ ca, cert, key }: Credentials) => ({ ca, cert, key });

async function listenPort(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const inUse = (cause as NodeJS.ErrnoException).code === 'EADDRINUSE';
    throw new PodwireError(
      inUse ? 'PORT_IN_USE' : 'PORT_FAILED',
      `${host} port ${port}: ${inUse ? 'another program listens there' : `cannot listen: ${messageOf(cause)}`}`,
      { cause },
    );
  }
  server.on('error', () => {});
}
