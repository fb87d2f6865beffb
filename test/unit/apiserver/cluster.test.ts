// Several machines over real TLS on loopback: joining, who may what, failover, and what is passed on to a Pod's node.
import { randomBytes, X509Certificate } from 'node:crypto';
import { type Duplex, PassThrough } from 'node:stream';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect as connectPlain, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { forwardToServer } from '../../../cmd/podwired/forward.ts';
import { ApiError } from '../../../lib/api/errors.ts';
import { HttpClient } from '../../../lib/api/http/client.ts';
import type { PodStreams } from '../../../lib/api/streams.ts';
import type { Pod } from '../../../lib/api/types.ts';
import { createNodeServer } from '../../../lib/apiserver/node-server.ts';
import { restrictNodes } from '../../../lib/apiserver/access/node-restriction.ts';
import type { LocateNode } from '../../../lib/apiserver/proxy.ts';
import { type ClusterFace, registerClusterRoutes } from '../../../lib/apiserver/routes-cluster.ts';
import { createApiServer } from '../../../lib/apiserver/server.ts';
import { createToken, listTokens } from '../../../lib/apiserver/access/tokens.ts';
import type { ExecSession } from '../../../lib/container/cri.ts';
import { ReferenceWatcher } from '../../../lib/kubelet/references.ts';
import {
  type Credentials,
  groups,
  hashOfCertificate,
  type KeyPair,
  yearMs,
} from '../../../lib/pki/certificate.ts';
import { createCa, issueKeyPair } from '../../../lib/pki/issue.ts';
import { joinCluster, serverClock } from '../../../lib/pki/join-client.ts';
import { agentFor, theNode } from '../../../lib/pki/peer.ts';
import { until } from '../../until.ts';
import { SpdyConnection } from '../../../lib/spdy/connection.ts';
import { manifest, noStreams, onNode, startRegistry } from './fixtures.ts';

const nodeIdentity = (name: string) => ({ name: `system:node:${name}`, groups: [groups.nodes] });
const machine = (digit: string): string => digit.repeat(32);

interface Cluster {
  readonly ca: KeyPair;
  readonly server: string;
  readonly port: number;
  readonly registry: Awaited<ReturnType<typeof startRegistry>>['registry'];
  /** A client with that identity. */
  as(credentials: Credentials): HttpClient;
  issue(input: Parameters<typeof issueKeyPair>[1]): Promise<Credentials>;
}

async function startCluster(
  t: Test,
  more: { streams?: PodStreams; locate?: LocateNode } = {},
): Promise<Cluster> {
  const ca = await createCa();
  const { registry, close } = await startRegistry({ admit: [restrictNodes, ...onNode!] });
  const issue = async (input: Parameters<typeof issueKeyPair>[1]): Promise<Credentials> => ({
    ...(await issueKeyPair(ca, input)),
    ca: ca.cert,
  });
  let port = 0;
  const face: ClusterFace = {
    ca,
    open: async () => ca,
    settings: async () => ({ servers: [`127.0.0.1:${port}`] }),
    ownAddresses: () => [`127.0.0.1:${port}`],
    nodeLifeMs: yearMs,
    remark: undefined,
  };
  const api = await createApiServer({
    registry,
    streams: more.streams ?? noStreams,
    version: '0.0.0',
    ...(more.locate ? { locate: more.locate } : {}),
    register: (app) => registerClusterRoutes(app, registry, face),
  });
  const own = await issue({
    identity: { name: 'podwire:server:one', groups: [groups.servers] },
    hosts: ['127.0.0.1'],
  });
  ({ port } = await api.listenTls({ host: '127.0.0.1', port: 0 }, own));
  const clients: HttpClient[] = [];
  t.teardown(async () => {
    for (const client of clients) client.close();
    await api.close();
    await close();
  });
  const as = (credentials: Credentials): HttpClient => {
    const client = new HttpClient({ servers: () => [`127.0.0.1:${port}`], credentials: () => credentials });
    clients.push(client);
    return client;
  };
  return { ca, server: `127.0.0.1:${port}`, port, registry, as, issue };
}

t.test("of a token's servers the first is taken, not the fastest: its family is the cluster's", async (t) => {
  const { ca, server, port, registry } = await startCluster(t);
  const slow = createServer(async (socket) => {
    socket.on('error', () => {});
    await sleep(100);
    const behind = connectPlain(port, '127.0.0.1');
    behind.on('error', () => socket.destroy());
    socket.on('close', () => behind.destroy());
    socket.pipe(behind).pipe(socket);
  });
  t.teardown(() => slow.close());
  slow.listen(0, '::1');
  await once(slow, 'listening');
  const far = `[::1]:${(slow.address() as AddressInfo).port}`;
  const token = { caHash: hashOfCertificate(ca.cert), ...(await createToken(registry, { ttlMs: 60_000 })) };
  for (const servers of [
    [far, server],
    ['[::1]:1', server, far],
  ]) {
    const input = { token: { ...token, servers }, name: 'two', machineId: machine('2') };
    t.match(await joinCluster(input), { server: far, address: '::1' }, servers.join());
  }
});

t.test('joining', async (t) => {
  const { ca, server, registry, as } = await startCluster(t);
  const caHash = hashOfCertificate(ca.cert);
  const { id, secret } = await createToken(registry, { ttlMs: 60_000 });
  const token = { servers: [server], caHash, id, secret };
  const join = (input: Partial<Parameters<typeof joinCluster>[0]> = {}) =>
    joinCluster<{ servers: string[] }>({ token, name: 'two', machineId: machine('2'), ...input });

  const joined = await join({ token: { ...token, servers: ['127.0.0.1:1', server] } });
  t.equal(joined.address, '127.0.0.1', 'its address is that by which it reached the server');
  t.equal(joined.server, server, 'the server that answered');
  t.same(joined.settings, { servers: [server] });
  const stored = await registry.get('nodes', { name: 'two' });
  t.equal(stored.status?.addresses?.[0]?.address, '127.0.0.1');
  const client = as(joined.credentials);
  t.equal((await client.get('nodes', { name: 'two' })).metadata.name, 'two');
  t.same(await client.request('GET', '/podwire/v1/cluster'), { servers: [server] });
  t.equal((await join()).address, '127.0.0.1', 'the same machine joins again');
  const seen = Object.values((await client.get('nodes', { name: 'two' })).metadata.annotations ?? {});
  t.ok(seen.length > 0);
  for (const machineId of seen)
    await t.rejects(
      join({ machineId }),
      { code: 'JOIN_REFUSED' },
      'what nodes see of each other is no proof',
    );
  const { subjectAltName, keyUsage } = new X509Certificate(joined.credentials.cert);
  t.equal(subjectAltName, undefined, 'kubectl takes a node for no server, whatever it calls itself');
  t.same(keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'], 'servers still speak to it');

  await registry.delete('nodes', { name: 'two' });
  const other = await join({ machineId: machine('4') });
  for (const call of [
    () => client.get('nodes', { name: 'two' }),
    () => client.list('pods', { fieldSelector: 'spec.nodeName=two' }),
    () => client.request('GET', '/podwire/v1/cluster'),
    () => client.request('POST', '/podwire/v1/renew', { request: '' }),
  ])
    await t.rejects(
      call(),
      { code: 'Forbidden', message: /"two" was removed/ },
      "its name is another machine's",
    );
  t.equal((await as(other.credentials).get('nodes', { name: 'two' })).metadata.name, 'two');

  const expired = await createToken(registry, { ttlMs: 1000, now: Date.now() - 5000 });
  const otherHash = hashOfCertificate((await createCa()).cert);
  const hour = 3_600_000;
  const cases: [string, () => Promise<unknown>, { code: string; message: RegExp }][] = [
    [
      'wrong secret',
      () => join({ token: { ...token, secret: 'x' } }),
      { code: 'JOIN_REFUSED', message: /secret of token .* wrong/ },
    ],
    [
      'unknown id',
      () => join({ token: { ...token, id: '00000000' } }),
      { code: 'JOIN_REFUSED', message: /unknown here/ },
    ],
    [
      'expired',
      () => join({ token: { ...token, id: expired.id, secret: expired.secret } }),
      { code: 'JOIN_REFUSED', message: /expired at .*; this server's clock says/ },
    ],
    [
      'another CA',
      () => join({ token: { ...token, caHash: otherHash } }),
      { code: 'CA_MISMATCH', message: /another CA than the token says/ },
    ],
    [
      'nobody there',
      () => join({ token: { ...token, servers: ['127.0.0.1:1'] } }),
      { code: 'NO_SERVER', message: /127\.0\.0\.1:1 \(.*ECONNREFUSED/ },
    ],
    [
      'a clock an hour ahead',
      () => join({ now: () => Date.now() + hour }),
      { code: 'CLOCKS_DIFFER', message: /60 min: this machine's says .*the server's/ },
    ],
    [
      'a clock an hour behind',
      () => join({ now: () => Date.now() - hour }),
      { code: 'CLOCKS_DIFFER', message: /60 min/ },
    ],
    [
      'the name is taken',
      () => join({ machineId: machine('3'), address: '127.0.0.3' }),
      { code: 'JOIN_REFUSED', message: /name "two" is another machine's \(at 127\.0\.0\.1\).*--node-name/ },
    ],
    [
      'the address is taken',
      () => join({ machineId: machine('3'), name: 'three' }),
      { code: 'JOIN_REFUSED', message: /address 127\.0\.0\.1 is that of node "two".*--node-ip/ },
    ],
    [
      'by another name the machine that is there',
      () => join({ name: 'three', machineId: machine('4') }),
      { code: 'JOIN_REFUSED', message: /this machine is node "two" of the cluster.*--node-name two/ },
    ],
    [
      'a name that is none',
      () => join({ name: '../two' }),
      { code: 'JOIN_REFUSED', message: /name: expected a DNS name/ },
    ],
  ];
  for (const [name, refused, wanted] of cases) await t.rejects(refused(), wanted, name);
  t.notOk(
    (await registry.list('nodes')).items.some(({ metadata }) => metadata.name === 'three'),
    'nothing was left',
  );
  t.same(
    (await listTokens(registry)).map((one) => one.id),
    [id],
    'expired tokens go with the next listing',
  );
  const { items } = await registry.list('secrets', { namespace: 'kube-system' });
  t.notOk(JSON.stringify(items).includes(Buffer.from(secret).toString('base64')), 'the secret is not kept');
});

t.test('a watch of a server that hangs ends', async (t) => {
  const { server, issue } = await startCluster(t);
  const credentials = await issue({ identity: { name: 'a', groups: [groups.masters] } });
  const client = new HttpClient({
    servers: () => [server],
    credentials: () => credentials,
    watchSilenceMs: 200,
  });
  t.teardown(() => client.close());
  const { resourceVersion } = await client.list('pods');
  const watch = client.watch('pods', { resourceVersion, signal: AbortSignal.timeout(60_000) });
  await t.rejects(watch[Symbol.asyncIterator]().next(), {
    code: 'ServiceUnavailable',
    message: /nothing told for 0.2 s/,
  });
});

t.test('strangers hold nothing for long', async (t) => {
  const { port } = await startCluster(t);
  const speak = (text: string): TLSSocket => {
    const at = { port, host: '127.0.0.1', rejectUnauthorized: false, allowHalfOpen: true };
    const socket = connect(at);
    socket.write(text);
    return socket;
  };
  await t.test('a large body is not read', async (t) => {
    const socket = speak(
      'POST /podwire/v1/join HTTP/1.1\r\nhost: a\r\ncontent-type: application/yaml\r\ncontent-length: 3000000\r\n\r\n',
    );
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1.1 413 /);
    socket.destroy();
  });
  await t.test('nor is a refused upgrade kept open', async (t) => {
    const socket = speak(
      'GET /api/v1/namespaces/default/pods/a/exec HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    );
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1.1 401 /);
    // Our side stays open: only what the server closed wholly refuses what we send.
    const writing = setInterval(() => socket.write('x'), 50);
    socket.on('error', () => {}); // EPIPE: that is what we wait for
    await new Promise((resolve) => socket.once('close', resolve));
    clearInterval(writing);
    t.ok(socket.destroyed);
  });
});

t.test('two machines come at once with one address', async (t) => {
  const { ca, server, registry } = await startCluster(t);
  const { id, secret } = await createToken(registry, { ttlMs: 60_000 });
  const token = { servers: [server], caHash: hashOfCertificate(ca.cert), id, secret };
  const answers = await Promise.allSettled(
    ['a', 'b', 'c'].map((name) =>
      joinCluster({ token, name, machineId: machine(name), address: '10.0.2.15' }),
    ),
  );
  const made = (await registry.list('nodes')).items;
  t.ok(answers.filter(({ status }) => status === 'fulfilled').length <= 1);
  t.ok(made.length <= 1, 'never two');
});

const mayI = (client: HttpClient, spec: object): Promise<unknown> =>
  client.request('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    spec,
  });

t.test('who may what', async (t) => {
  const { registry, as, issue, server } = await startCluster(t);
  await registry.create('nodes', { metadata: { name: 'two' } });
  await registry.create('pods', manifest('mine', { spec: { nodeName: 'two' } }));
  await registry.create('pods', manifest('theirs', { spec: { nodeName: 'one' } }));
  await registry.create('secrets', { metadata: { name: 'open' }, stringData: { a: 'b' } });
  const two = as(await issue({ identity: nodeIdentity('two') }));
  const selector = { fieldSelector: 'spec.nodeName=two' };

  await t.test('a node', async (t) => {
    t.same(
      (await two.list('pods', selector)).items.map(({ metadata }) => metadata.name),
      ['mine'],
    );
    const mine = await two.get('pods', { namespace: 'default', name: 'mine' });
    t.equal(
      (await two.updateStatus('pods', { ...mine, status: { phase: 'Running' } })).status?.phase,
      'Running',
    );
    const theirs = { namespace: 'default', name: 'theirs' };
    const forbidden: [string, () => Promise<unknown>][] = [
      ['all Pods', () => two.list('pods')],
      ["another's Pod", () => two.get('pods', theirs)],
      [
        "another's status",
        () => two.patch('pods', theirs, { status: { phase: 'Failed' } }, { subresource: 'status' }),
      ],
      ['a Node', () => two.create('nodes', { metadata: { name: 'three' } })],
      ["another's end", () => two.delete('pods', theirs)],
      ['a Pod', () => two.create('pods', manifest('new'))],
      ['a Secret', () => two.get('secrets', { namespace: 'default', name: 'open' })],
      ['a taint', () => two.patch('nodes', { name: 'two' }, { spec: { unschedulable: true } })],
      ['a token', () => two.request('POST', '/podwire/v1/tokens', {})],
      ["the administrator's certificate", () => two.request('POST', '/podwire/v1/kubeconfig', {})],
      [
        'binding',
        () =>
          two.request('POST', '/api/v1/namespaces/default/pods/mine/binding', { target: { name: 'two' } }),
      ],
      ['a log', () => two.request('GET', '/api/v1/namespaces/default/pods/mine/log')],
      ['exec', () => two.exec(theirs, { command: ['id'] })],
      ['what is not there', () => two.request('GET', '/nothing')],
    ];
    for (const [name, call] of forbidden) await t.rejects(call(), { code: 'Forbidden' }, name);
    t.match(await two.request('GET', '/openapi/v3'), { paths: { 'api/v1': {} } }, 'any user may read it');
    const who = await two.request('POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {
      ...{ apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    });
    t.match(who, { status: { userInfo: { username: 'system:node:two', groups: ['system:nodes'] } } });
    const reviews: [string, object, boolean][] = [
      ['its Pod', { verb: 'get', resource: 'pods', namespace: 'default', name: 'mine' }, true],
      ["another's Pod", { verb: 'get', resource: 'pods', namespace: 'default', name: 'theirs' }, false],
      ['all Nodes', { verb: 'list', resource: 'nodes' }, true],
      ['no such group', { verb: 'list', resource: 'nodes', group: 'apps' }, false],
      [
        'a Lease',
        { verb: 'create', resource: 'leases', group: 'coordination.k8s.io', namespace: 'kube-node-lease' },
        true,
      ],
      [
        'its log',
        { verb: 'get', resource: 'pods', subresource: 'log', namespace: 'default', name: 'mine' },
        false,
      ],
      ['no such verb', { verb: 'impersonate', resource: 'pods', namespace: 'default', name: 'mine' }, false],
      ['everything', { verb: '*', resource: '*' }, false],
    ];
    for (const [name, resourceAttributes, allowed] of reviews)
      t.match(await mayI(two, { resourceAttributes }), { status: { allowed } }, `may I: ${name}`);
    await t.rejects(mayI(two, {}), { code: 'Invalid' });
    await t.rejects(mayI(two, { resourceAttribute: {} }), { code: 'BadRequest' });
    const absent = { namespace: 'default', name: 'absent' };
    await t.rejects(two.get('pods', absent), { code: 'NotFound' });
    await t.rejects(two.delete('pods', absent), { code: 'NotFound' });
    t.equal((await registry.get('pods', theirs)).status?.phase, 'Pending', 'nothing of it was done');
    const watched: string[] = [];
    const stop = new AbortController();
    for await (const event of two.watch('pods', { ...selector, signal: stop.signal }))
      if (event.type === 'BOOKMARK') stop.abort();
      else watched.push((event.object as { metadata: { name: string } }).metadata.name);
    t.same(watched, ['mine']);
  });

  await t.test('a Secret opens with a Pod that refers to it', async (t) => {
    const volumes = [{ name: 'v', secret: { secretName: 'open' } }];
    await registry.create('pods', manifest('reads', { spec: { nodeName: 'two', volumes } }));
    t.equal((await two.get('secrets', { namespace: 'default', name: 'open' })).metadata.name, 'open');
  });

  await t.test("the kubelet's watch of that Secret, and of no other", async (t) => {
    const woken: string[] = [];
    const log = pino({ enabled: false });
    const watcher = new ReferenceWatcher({ client: two, log, onChange: (uid) => woken.push(uid) });
    t.teardown(() => watcher.close());
    const pod = (uid: string, secretName: string) =>
      ({
        metadata: { uid, namespace: 'default', name: uid },
        spec: { containers: [], volumes: [{ name: 'v', secret: { secretName } }] },
      }) as unknown as Pod;
    watcher.follow(pod('u1', 'open'));
    t.match(await watcher.secret('default', 'open'), { data: { a: Buffer.from('b').toString('base64') } });
    await registry.patch('secrets', { namespace: 'default', name: 'open' }, { stringData: { a: 'c' } });
    await until(() => woken.length > 0);
    t.strictSame(woken, ['u1']);
    t.match(await watcher.secret('default', 'open'), { data: { a: Buffer.from('c').toString('base64') } });
    for (const selector of ['metadata.name=other', '']) {
      const watch = two.watch('secrets', {
        namespace: 'default',
        fieldSelector: selector,
        signal: AbortSignal.timeout(60_000),
      });
      await t.rejects(watch[Symbol.asyncIterator]().next(), { message: /secrets is forbidden/ }, selector);
    }
  });

  await t.test('an administrator', async (t) => {
    const admin = as(await issue({ identity: { name: 'podwire-admin', groups: [groups.masters] } }));
    t.ok((await admin.list('pods')).items.length >= 2);
    t.ok((await admin.list('secrets')).items.length >= 1);
    const anything = { resourceAttributes: { verb: '*', group: 'apps', resource: 'deployments' } };
    t.match(await mayI(admin, anything), { status: { allowed: true } });
  });

  const now = Date.now();
  const strangers: [string, Credentials, RegExp][] = [
    [
      'expired',
      await issue({ identity: nodeIdentity('two'), now: now - 7_200_000, lifeMs: 3_600_000 }),
      /"system:node:two" expired at .*; this server's clock says .*join again/,
    ],
    [
      'not yet valid: a clock an hour off',
      await issue({ identity: nodeIdentity('two'), now: now + 3_600_000 }),
      /valid only from .*; this server's clock says/,
    ],
    [
      'of another CA',
      {
        ...(await issueKeyPair(await createCa(), { identity: nodeIdentity('two') })),
        ca: (await issue({ identity: nodeIdentity('x') })).ca,
      },
      /not of this cluster's CA/,
    ],
  ];
  for (const [name, credentials, message] of strangers)
    await t.rejects(as(credentials).get('nodes', { name: 'two' }), { code: 'Unauthorized', message }, name);
  const clock = await serverClock(server);
  t.ok(clock !== undefined && Math.abs(clock - Date.now()) < 60_000, 'a stranger may ask for the clock');
});

t.test('a server that is none', async (t) => {
  const { as, issue, registry } = await startCluster(t);
  t.ok(registry);
  const face = await createNodeServer({
    source: { find: async () => never(), streams: noStreams },
    isReady: () => true,
  });
  const pretender = await issue({ identity: nodeIdentity('evil'), hosts: ['127.0.0.1'] });
  const { port } = await face.listenTls({ host: '127.0.0.1', port: 0 }, pretender);
  t.teardown(() => face.close());
  const mine = await issue({ identity: nodeIdentity('two') });
  const client = new HttpClient({ servers: () => [`127.0.0.1:${port}`], credentials: () => mine });
  t.teardown(() => client.close());
  await t.rejects(client.get('nodes', { name: 'two' }), {
    code: 'ServiceUnavailable',
    message: /"system:node:evil", not of a podwire server/,
  });
  t.ok(as(mine));
});

const never = (): never => {
  throw new ApiError('NotFound', 'nothing here');
};

t.test('the next server is asked when one does not answer', async (t) => {
  const one = await startCluster(t);
  await one.registry.create('nodes', { metadata: { name: 'two' } });
  const credentials = await one.issue({ identity: nodeIdentity('two') });
  let asked = 0;
  const silent = createServer((socket) => {
    asked++;
    socket.on('error', () => {});
  });
  const silentPort = await listening(t, silent);
  let servers = ['127.0.0.1:1', one.server];
  const newClient = (): HttpClient => {
    const client = new HttpClient({ servers: () => servers, credentials: () => credentials });
    t.teardown(() => client.close());
    return client;
  };
  const beat = async (client: HttpClient): Promise<number> => {
    const began = performance.now();
    await client.patch('nodes', { name: 'two' }, { metadata: { annotations: { a: 'b' } } });
    return performance.now() - began;
  };
  t.ok(await until(async () => (await beat(newClient())) < 1000), 'refused: at once');
  const client = newClient();
  await beat(client);
  servers = [`127.0.0.1:${silentPort}`, ...servers];
  await beat(client);
  t.equal(asked, 0, 'who serves well is kept');
  servers = [`127.0.0.1:${silentPort}`, one.server];
  const took = await beat(newClient());
  t.ok(asked > 0 && took > 2500, `silent: after 3 s (${took.toFixed(0)} ms)`);
});

async function listening(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as { port: number }).port;
}

t.test("an agent's socket: what is read goes to the next server", async (t) => {
  const { registry, issue, server } = await startCluster(t);
  await registry.create('nodes', { metadata: { name: 'two' } });
  const credentials = await issue({ identity: nodeIdentity('two') });
  const target = { servers: () => ['127.0.0.1:1', server], credentials: () => credentials };
  const forward = forwardToServer(target, { nodeName: 'two', pods: () => [] });
  const face = createHttpServer((request, response) => {
    forward.relay(request, response).catch((error: Error) => response.writeHead(503).end(error.message));
  });
  const port = await listening(t, face);
  t.teardown(() => forward.close());
  const client = new HttpClient({ url: `http://127.0.0.1:${port}` });
  t.teardown(() => client.close());
  t.equal((await client.get('nodes', { name: 'two' })).metadata.name, 'two');
});

t.test("logs and exec go to the Pod's own node", async (t) => {
  const sessions: string[] = [];
  let logRead = Promise.withResolvers<void>();
  const streams: PodStreams = {
    logs: async function* (pod, options) {
      yield `${pod.metadata.name} of node two, last ${options.tailLines}\n`;
      if (options.follow) await logRead.promise;
      if (options.previous) throw new ApiError('BadRequest', 'never');
      yield 'end\n';
    },
    exec: async (_pod, { command }) => {
      sessions.push(command.join(' '));
      return echo();
    },
    attach: async (_pod, { stdin }) => {
      sessions.push(`attach ${stdin}`);
      return echo();
    },
    portForward: async (_pod, port) => {
      if (port === 81) throw new ApiError('InternalError', 'nobody listens');
      return new PassThrough();
    },
  };
  let agent: ReturnType<typeof agentFor> | undefined;
  let nodePort = 0;
  const locate: LocateNode = async ({ spec }) =>
    spec.nodeName === 'two'
      ? {
          what: 'node "two"',
          connection: { host: '127.0.0.1', port: nodePort, protocol: 'https:', agent: agent! },
        }
      : undefined;
  const { registry, issue, as, ca, port } = await startCluster(t, { locate });
  const key = { namespace: 'default', name: 'far' };
  await registry.create('pods', manifest('far', { spec: { nodeName: 'two' } }));
  const node = await createNodeServer({
    source: { find: (asked) => registry.get('pods', asked), streams },
    isReady: () => true,
  });
  t.teardown(() => node.close());
  const nodeCredentials = await issue({ identity: nodeIdentity('two'), hosts: ['two'] });
  ({ port: nodePort } = await node.listenTls({ host: '127.0.0.1', port: 0 }, nodeCredentials));
  const server = await issue({ identity: { name: 'podwire:server:one', groups: [groups.servers] } });
  agent = agentFor(server, theNode('two'));
  t.teardown(() => agent!.destroy());
  const adminCredentials = await issue({ identity: { name: 'a', groups: [groups.masters] } });
  const admin = as(adminCredentials);

  await t.test('a log, and one that goes on', async (t) => {
    const read = async (query: object): Promise<string> => {
      let text = '';
      logRead = Promise.withResolvers();
      for await (const chunk of admin.logs(key, query)) {
        text += chunk.toString();
        if (text.includes('\n')) logRead.resolve();
      }
      return text;
    };
    t.equal(await read({ tailLines: 3 }), 'far of node two, last 3\nend\n');
    t.equal(await read({ tailLines: 1, follow: true }), 'far of node two, last 1\nend\n');
    await t.rejects(read({ container: 'absent' }), {
      code: 'BadRequest',
      message: /container absent is not valid/,
    });
  });

  await t.test('attach', async (t) => {
    const session = await admin.attach(key, { stdin: true });
    let text = '';
    session.onStdout((chunk) => {
      text += chunk.toString();
    });
    void session.writeStdin(Buffer.from('hello'));
    session.closeStdin();
    t.equal(await session.exit, 7);
    t.same([text, sessions.pop()], ['hello', 'attach true']);
  });

  await t.test('portforward, both ways, 3 MB, and the end of one side', async (t) => {
    const stream = await admin.portForward(key, 80);
    const sent = randomBytes(3_000_000);
    stream.end(sent);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    t.ok(Buffer.concat(chunks).equals(sent));
    const refused = await admin.portForward(key, 81);
    await t.rejects(once(refused, 'end'), { message: 'nobody listens' });
    await t.rejects(admin.portForward(key, 0), { code: 'BadRequest' });
  });

  await t.test('exec, both ways, 2 MB', async (t) => {
    const session = await admin.exec(key, { command: ['echo', 'ä b'], stdin: true });
    let got = 0;
    session.onStdout((chunk) => {
      got += chunk.length;
      if (got >= 2_000_000) session.closeStdin();
    });
    const piece = Buffer.alloc(100_000, 'x');
    for (let at = 0; at < 20; at++) session.writeStdin(piece);
    t.equal(await session.exit, 7);
    t.equal(got, 2_000_000);
    t.same(sessions, ['echo ä b']);
  });

  await t.test('exec over SPDY, as kubectl before 1.31', async (t) => {
    const { request } = await import('node:https');
    const path = '/api/v1/namespaces/default/pods/far/exec?command=cat&stdin=true&stdout=true';
    const headers = {
      Connection: 'Upgrade',
      Upgrade: 'SPDY/3.1',
      'X-Stream-Protocol-Version': 'v4.channel.k8s.io',
    };
    const call = request({
      ...adminCredentials,
      host: '127.0.0.1',
      port,
      path,
      method: 'POST',
      headers,
    }).end();
    const [, socket, head] = (await once(call, 'upgrade')) as [unknown, Duplex, Buffer];
    const connection = new SpdyConnection(socket, { role: 'client', head });
    const [error, stdin, stdout] = await Promise.all(
      ['error', 'stdin', 'stdout'].map((streamType) => connection.open({ streamType })),
    );
    error!.listen({ data: () => {}, end: () => {} });
    let got = 0;
    const ended = new Promise<void>((resolve) =>
      stdout!.listen({ data: (chunk) => (got += chunk.length), end: resolve }),
    );
    stdin!.write(Buffer.alloc(2_000_000, 'x'));
    stdin!.end();
    await ended;
    t.equal(got, 2_000_000);
    t.equal(sessions.pop(), 'cat');
  });

  await t.test('what the node refuses is told', async (t) => {
    await t.rejects(admin.exec(key, { command: ['a'], container: 'absent' }), { code: 'BadRequest' });
  });

  await t.test('only servers may ask there', async (t) => {
    const path = '/api/v1/namespaces/default/pods/far/log';
    const ask = async (credentials: Credentials): Promise<number | undefined> => {
      const { request } = await import('node:https');
      const options = {
        ...credentials,
        host: '127.0.0.1',
        port: nodePort,
        path,
        agent: false as const,
        checkServerIdentity: () => undefined,
      };
      return new Promise((resolve, reject) => {
        request(options, (answer) => resolve(answer.resume().statusCode))
          .on('error', reject)
          .end();
      });
    };
    t.equal(await ask(await issue({ identity: nodeIdentity('three') })), 403, 'another node');
    t.equal(await ask(await issue({ identity: nodeIdentity('two') })), 403, 'itself');
    t.equal(
      await ask({
        ...(await issueKeyPair(await createCa(), { identity: { name: 'x', groups: [groups.servers] } })),
        ca: ca.cert,
      }),
      401,
    );
    t.equal(await ask({ ca: ca.cert } as Credentials), 401, 'nobody');
    t.equal(await ask(server), 200);
  });

  await t.test('a node in whose place another answers, and one that is gone', async (t) => {
    agent!.destroy();
    agent = agentFor(server, theNode('three'));
    await t.rejects(
      (async () => {
        for await (const _ of admin.logs(key)) t.fail('nothing may come');
      })(),
      { code: 'ServiceUnavailable', message: /node "two" does not answer: .*not of node three/ },
    );
    await node.close();
    agent = agentFor(server, theNode('two'));
    await t.rejects(admin.exec(key, { command: ['a'] }), {
      code: 'ServiceUnavailable',
      message: /node "two" does not answer/,
    });
  });
});

/** Gives back what it is given, and ends with 7 when its input ends. */
function echo(): ExecSession {
  let out: (chunk: Buffer) => void = () => {};
  let end: (code: number) => void = () => {};
  const exit = new Promise<number>((resolve) => (end = resolve));
  return {
    onStdout: (listener) => {
      out = listener;
    },
    onStderr: () => {},
    pauseOutput: () => {},
    resumeOutput: () => {},
    writeStdin: async (chunk) => out(chunk),
    closeStdin: () => end(7),
    resize: () => {},
    kill: () => end(137),
    exit,
  };
}
