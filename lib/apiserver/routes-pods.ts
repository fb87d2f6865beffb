// What only Pods have over HTTP: their log, and being bound to a node. exec and the like are in streams/pod-sockets.ts.
// Assumes PodStreams does the work, or the Pod's own node. Memory is bounded by the client's reading.
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { PodStreams } from '../api/streams.ts';
import type { Binding, Pod } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { sendJson } from './content.ts';
import { goneSignal, writeChunk } from './http-stream.ts';
import { type LocateNode, relay } from './proxy.ts';
import { logOptions, type Query } from './queries.ts';
import type { Registry } from './registry/registry.ts';

/** Where Pods and what streams from them are found. */
export interface PodSource {
  find(key: { namespace: string; name: string }): Promise<Pod>;
  /** Of this machine's own Pods. */
  readonly streams: PodStreams;
  readonly locate: LocateNode;
}

interface Route {
  Params: { namespace: string; name: string };
  Querystring: Query;
}
const pod = '/api/v1/namespaces/:namespace/pods/:name';
/** So long a log that says nothing may take to fail before we answer that all is well. */
const silenceMs = 100;

export function addLogRoute(app: FastifyInstance, source: PodSource): void {
  app.get<Route>(`${pod}/log`, (request, reply) => sendLog(request, reply, source));
}

export function addBindingRoutes(app: FastifyInstance, registry: Registry): void {
  const success = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
  app.post<Route>(`${pod}/binding`, async (request, reply) => {
    await registry.bind(request.params, request.body as Binding);
    return sendJson(reply, 201, success);
  });
  app.post<Route>('/api/v1/namespaces/:namespace/bindings', async (request, reply) => {
    const body = request.body as Binding;
    await registry.bind({ ...request.params, name: body?.metadata?.name ?? '' }, body);
    return sendJson(reply, 201, success);
  });
}

async function sendLog(
  request: FastifyRequest<Route>,
  reply: FastifyReply,
  { find, streams, locate }: PodSource,
): Promise<FastifyReply | undefined> {
  const object = await find(request.params);
  const remote = await locate(object);
  if (remote) {
    await relay(request.raw, reply.raw, remote);
    return reply.hijack();
  }
  const options = logOptions(object, request.query);
  const gone = goneSignal(reply.raw);
  const chunks = streams.logs(object, options, gone)[Symbol.asyncIterator]();
  const first = chunks.next();
  // A failure before the first line is an error answer; a silent log is answered at once with an open end.
  await Promise.race([first, new Promise((resolve) => setTimeout(resolve, silenceMs).unref())]);
  reply.hijack();
  reply.raw.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  reply.raw.flushHeaders();
  try {
    for (let next = await first; !next.done; next = await chunks.next())
      if (!(await writeChunk(reply.raw, next.value, gone))) break;
  } catch (error) {
    if (!gone.aborted) reply.raw.write(`\npodwire: the log ends here: ${messageOf(error)}\n`);
  } finally {
    reply.raw.end();
    await chunks.return?.();
  }
  return undefined;
}
