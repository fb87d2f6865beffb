// The clients of probes against servers on the loopback.
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { Server as GrpcServer, ServerCredentials, status as grpcStatus } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { checkRequest, probeGrpc, servingStatus } from '../../../lib/probe/grpc.ts';
import { getHttp, probeHttp } from '../../../lib/probe/http.ts';
import { probeTcp } from '../../../lib/probe/tcp.ts';

const host = '127.0.0.1';
async function listening(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.teardown(() => void server.close());
  return (server.address() as AddressInfo).port;
}
/** A port that nobody listens at. */
async function closedPort(): Promise<number> {
  const server = createTcp();
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
const answers: Record<string, (request: IncomingMessage, response: ServerResponse) => void> = {
  '/ok?a=1': (_, r) => r.end('fine'),
  '/redirect': (_, r) => r.writeHead(302, { location: '/ok?a=1' }).end(),
  '/away': (_, r) => r.writeHead(302, { location: 'http://example.invalid/' }).end('elsewhere'),
  '/circle': (_, r) => r.writeHead(302, { location: '/circle' }).end(),
  '/399': (_, r) => r.writeHead(399).end(),
  '/400': (_, r) => r.writeHead(400).end(),
  '/500': (_, r) => r.writeHead(500).end(),
  '/never': () => {},
  '/endless': (_, r) => {
    r.write('x'.repeat(1 << 20));
  },
  '/cut': (_, r) => r.destroy(),
};
const base = { scheme: 'http', host, headers: [], timeoutMs: 60_000 } as const;

t.test('http', async (t) => {
  const seen: IncomingMessage['headers'][] = [];
  const port = await listening(
    t,
    createHttp((request, response) => {
      seen.push(request.headers);
      answers[request.url ?? '']?.(request, response);
    }),
  );
  const cases = [
    { path: '/ok?a=1', outcome: 'success', output: 'fine' },
    { path: 'ok?a=1', outcome: 'success', output: 'fine' },
    { path: '/redirect', outcome: 'success', output: 'fine' },
    { path: '/399', outcome: 'success', output: '' },
    { path: '/away', outcome: 'warning', output: 'Probe terminated redirects, Response body: elsewhere' },
    { path: '/circle', outcome: 'failure', output: /stopped after 10 redirects/ },
    { path: '/400', outcome: 'failure', output: 'HTTP probe failed with statuscode: 400' },
    { path: '/500', outcome: 'failure', output: 'HTTP probe failed with statuscode: 500' },
    { path: '/endless', outcome: 'success', output: 'x'.repeat(10 * 1024) },
    { path: '/cut', outcome: 'failure', output: /: EOF$/ },
    {
      path: '/never',
      timeoutMs: 100,
      outcome: 'failure',
      output: `Get "http://${host}:${port}/never": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
    },
  ];
  for (const { outcome, output, ...target } of cases)
    await t.test(target.path, async (t) =>
      t.match(await probeHttp({ ...base, port, ...target }), { outcome, output }),
    );
  t.match(seen[0], { 'user-agent': /^kube-probe\//, accept: '*/*', host: `${host}:${port}` });

  seen.length = 0;
  const headers = [
    { name: 'Host', value: 'shop.example' },
    { name: 'X-A', value: '1' },
    { name: 'x-a', value: '2' },
    { name: 'Accept', value: '' },
  ];
  await probeHttp({ ...base, port, path: '/ok?a=1', headers });
  t.match(seen[0], { host: 'shop.example', 'x-a': '1, 2' });
  t.equal(seen[0]?.accept, undefined, 'an empty value takes a header away');

  await getHttp({ ...base, port, path: '/500' });
  t.pass('of a hook any answer will do');
  const gone = await closedPort();
  t.match(await probeHttp({ ...base, port: gone, path: '/' }), {
    outcome: 'failure',
    output: `Get "http://${host}:${gone}/": dial tcp ${host}:${gone}: connect: connection refused`,
  });
  const signal = AbortSignal.timeout(50);
  await t.rejects(getHttp({ ...base, port, path: '/never', timeoutMs: 60_000, signal }));
});

t.test('an IPv6 address', async (t) => {
  const hosts: (string | undefined)[] = [];
  const server = createHttp((request, response) => {
    hosts.push(request.headers.host);
    response.end();
  });
  const failed = await new Promise<Error | undefined>((resolve) => {
    server.once('error', resolve);
    server.listen(0, '::1', () => resolve(undefined));
  });
  t.teardown(() => void server.close());
  if (failed) return t.comment(`no IPv6 here: ${failed.message}`);
  const { port } = server.address() as AddressInfo;
  t.match(await probeHttp({ ...base, host: '::1', port, path: '/' }), { outcome: 'success' });
  t.same(hosts, [`[::1]:${port}`]);
});

t.test('tcp', async (t) => {
  const port = await listening(
    t,
    createTcp((socket) => socket.on('error', () => {}).resume()),
  );
  t.match(await probeTcp({ host, port, timeoutMs: 60_000 }), { outcome: 'success' });
  const gone = await closedPort();
  t.same(await probeTcp({ host, port: gone, timeoutMs: 60_000 }), {
    outcome: 'failure',
    output: `dial tcp ${host}:${gone}: connect: connection refused`,
  });
});

const messages = [
  { service: '', hex: '0000000000' },
  { service: 'db', hex: '00000000040a026462' },
  { service: 'x'.repeat(200), hex: `00000000cb0ac801${'78'.repeat(200)}` },
];
for (const { service, hex } of messages)
  t.test(`a request for ${JSON.stringify(service.slice(0, 5))}`, async (t) =>
    t.equal(checkRequest(service).toString('hex'), hex),
  );
const statuses = [
  { hex: '0000000000', status: 0 },
  { hex: '00000000020801', status: 1 },
  { hex: '00000000020802', status: 2 },
  { hex: '0000000006120261620801', status: 1, why: 'an unknown field before it' },
  { hex: '000000000212ff', status: 0, why: 'cut short' },
  { hex: '', status: 0 },
];
for (const { hex, status, why = '' } of statuses)
  t.test(`an answer ${hex} ${why}`, async (t) => t.equal(servingStatus(Buffer.from(hex, 'hex')), status));

t.test('grpc', async (t) => {
  const asked: Buffer[] = [];
  const frame = (status: number): Buffer => Buffer.from([0, 0, 0, 0, 2, 8, status]);
  const serve = (stream: ServerHttp2Stream, name: string): void => {
    const grpc = { ':status': 200, 'content-type': 'application/grpc' };
    if (name === 'silent') return;
    if (name === 'web') return void stream.respond({ ':status': 404 }, { endStream: true });
    const missing = { ...grpc, 'grpc-status': '12', 'grpc-message': 'unknown%20service' };
    if (name === 'none') return void stream.respond(missing, { endStream: true });
    stream.respond(grpc, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': name === 'lost' ? '5' : '0' }));
    stream.end(name === 'lost' ? undefined : frame(name === 'sick' ? 2 : 1));
  };
  const server = createHttp2();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    t.equal(headers[':path'], '/grpc.health.v1.Health/Check');
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      asked.push(chunk);
      serve(stream, chunk.subarray(7).toString());
    });
    stream.on('end', () => asked.length === 0 && serve(stream, ''));
  });
  const port = await listening(t, server);
  const cases = [
    { service: 'well', outcome: 'success', output: 'service healthy' },
    { service: 'sick', outcome: 'failure', output: 'service unhealthy (responded with "NOT_SERVING")' },
    {
      service: 'none',
      outcome: 'failure',
      output: /doesn't implement the grpc health protocol.*unknown service/,
    },
    { service: 'lost', outcome: 'failure', output: /rpc error: code 5/ },
    { service: 'web', outcome: 'failure', output: /no gRPC server/ },
    { service: 'silent', outcome: 'failure', output: /^timeout: failed to connect service .* within 0.2s/ },
  ];
  for (const { service, outcome, output } of cases)
    await t.test(service, async (t) =>
      t.match(await probeGrpc({ host, port, service, timeoutMs: service === 'silent' ? 200 : 60_000 }), {
        outcome,
        output,
      }),
    );
  const gone = await closedPort();
  t.match(await probeGrpc({ host, port: gone, service: '', timeoutMs: 60_000 }), {
    outcome: 'failure',
    output: /connection refused/,
  });
  const plain = await listening(
    t,
    createHttp((_, response) => response.end('hello')),
  );
  t.match(await probeGrpc({ host, port: plain, service: '', timeoutMs: 60_000 }), { outcome: 'failure' });
});

t.test('a gRPC server that is not ours (grpc-js)', async (t) => {
  const server = new GrpcServer();
  const definition = {
    Check: {
      path: '/grpc.health.v1.Health/Check',
      requestStream: false,
      responseStream: false,
      requestSerialize: (message: Buffer) => message,
      requestDeserialize: (bytes: Buffer) => bytes,
      responseSerialize: (message: Buffer) => message,
      responseDeserialize: (bytes: Buffer) => bytes,
    },
  };
  server.addService(definition, {
    Check: (
      call: { request: Buffer },
      answer: (error: { code: number; details: string } | null, message?: Buffer) => void,
    ) => {
      const service = call.request.subarray(2).toString();
      if (service === 'lost') answer({ code: grpcStatus.NOT_FOUND, details: 'no such service' });
      else answer(null, Buffer.from([8, service === 'sick' ? 2 : 1]));
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(`${host}:0`, ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  t.teardown(() => server.forceShutdown());
  const asked = (service: string) => probeGrpc({ host, port, service, timeoutMs: 60_000 });
  t.match(await asked(''), { outcome: 'success' });
  t.match(await asked('sick'), { outcome: 'failure', output: /NOT_SERVING/ });
  t.match(await asked('lost'), { outcome: 'failure', output: /code 5: no such service/ });
});
