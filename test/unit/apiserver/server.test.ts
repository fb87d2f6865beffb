// The HTTP face, seen by a client that knows only HTTP.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ApiError } from '../../../lib/api/errors.ts';
import { HttpClient } from '../../../lib/api/http/client.ts';
import type { LogOptions } from '../../../lib/api/streams.ts';
import { manifest, noStreams, onNode, startServer } from './fixtures.ts';

interface Answer {
  code: number;
  type: string;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the server says
  json: any;
}

function call(
  socketPath: string,
  method: string,
  path: string,
  options: { body?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length =
      options.body === undefined ? {} : { 'content-length': String(Buffer.byteLength(options.body)) };
    const sent = request(
      { socketPath, method, path, headers: { ...options.headers, ...length } },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          const type = response.headers['content-type'] ?? '';
          resolve({
            code: response.statusCode ?? 0,
            type,
            text,
            json: type.includes('json') && !path.includes('timeoutSeconds') ? JSON.parse(text) : undefined,
          });
        });
      },
    );
    // A refused body may break the writing before the answer is read.
    sent.on('error', (error) => setTimeout(() => reject(error), 30_000).unref());
    sent.end(options.body);
  });
}
const json = { 'content-type': 'application/json' };
const pods = '/api/v1/namespaces/default/pods';

t.test('discovery', async (t) => {
  let ready = false;
  const { socket, close } = await startServer({ server: { isReady: () => ready } });
  t.teardown(close);
  const get = (path: string) => call(socket, 'GET', path);
  t.strictSame((await get('/api')).json.versions, ['v1']);
  t.match((await get('/apis')).json, { kind: 'APIGroupList', groups: [{ name: 'coordination.k8s.io' }] });
  t.match((await get('/version')).json, {
    major: '1',
    minor: '34',
    gitVersion: /^v1\.34\.0\+podwire-0\.0\.0$/,
  });
  const { resources } = (await get('/api/v1')).json;
  t.match(
    resources.find(({ name }: { name: string }) => name === 'pods'),
    { kind: 'Pod', namespaced: true, shortNames: ['po'], verbs: ['create', 'delete'] },
  );
  t.ok(resources.some(({ name }: { name: string }) => name === 'pods/log'));
  t.match(await get('/healthz'), { code: 200, text: 'ok' });
  t.equal((await get('/readyz')).code, 503);
  ready = true;
  t.match(await get('/readyz'), { code: 200, text: 'ok' });
});

t.test('every failure is a Status', async (t) => {
  const { socket, close } = await startServer({
    server: {
      register: (app) => {
        app.get('/podwire/v1/broken', () => {
          throw new Error('bug');
        });
        app.get('/podwire/v1/fine', async (_request, reply) => reply.send({ fine: true }));
      },
    },
  });
  t.teardown(close);
  const good = JSON.stringify(manifest('web'));
  const cases: {
    name: string;
    call: [string, string, { body?: string; headers?: Record<string, string> }?];
    code: number;
    reason: string;
    says: RegExp;
  }[] = [
    {
      name: 'no such path',
      call: ['GET', '/api/v1/nothing'],
      code: 404,
      reason: 'NotFound',
      says: /could not find the requested resource/,
    },
    {
      name: 'no such object',
      call: ['GET', `${pods}/web`],
      code: 404,
      reason: 'NotFound',
      says: /pods "web" not found/,
    },
    {
      name: 'a climbing name',
      call: ['GET', `${pods}/..%2F..%2Fetc`],
      code: 404,
      reason: 'NotFound',
      says: /not found/,
    },
    { name: 'a malformed address', call: ['GET', `${pods}/%zz`], code: 400, reason: 'BadRequest', says: /./ },
    {
      name: 'no JSON',
      call: ['POST', pods, { body: '{', headers: json }],
      code: 400,
      reason: 'BadRequest',
      says: /the body is not JSON/,
    },
    {
      name: 'no body',
      call: ['POST', pods],
      code: 400,
      reason: 'BadRequest',
      says: /must be one Pod object/,
    },
    {
      name: 'no type we know',
      call: ['POST', pods, { body: good, headers: { 'content-type': 'text/csv' } }],
      code: 415,
      reason: 'UnsupportedMediaType',
      says: /application\/json/,
    },
    {
      name: 'a form',
      call: ['POST', pods, { body: 'a=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
      code: 415,
      reason: 'UnsupportedMediaType',
      says: /./,
    },
    {
      name: 'too much',
      call: ['POST', pods, { body: `"${'x'.repeat(4_000_000)}"`, headers: json }],
      code: 413,
      reason: 'RequestEntityTooLarge',
      says: /3 MiB/,
    },
    {
      name: 'a prototype',
      call: ['POST', pods, { body: '{"__proto__": {"x": 1}}', headers: json }],
      code: 400,
      reason: 'BadRequest',
      says: /__proto__/,
    },
    {
      name: 'a strange dry run',
      call: ['POST', `${pods}?dryRun=Some`, { body: good, headers: json }],
      code: 400,
      reason: 'BadRequest',
      says: /dryRun: "Some": expected All/,
    },
    {
      name: 'another name',
      call: ['PUT', `${pods}/other`, { body: good, headers: json }],
      code: 400,
      reason: 'BadRequest',
      says: /\(web\) does not match the name on the URL \(other\)/,
    },
    {
      name: 'another namespace',
      call: [
        'POST',
        '/api/v1/namespaces/kube-system/pods',
        { body: JSON.stringify(manifest('web', { metadata: { namespace: 'default' } })), headers: json },
      ],
      code: 400,
      reason: 'BadRequest',
      says: /does not match the namespace/,
    },
    {
      name: 'a patch in JSON',
      call: ['PATCH', `${pods}/web`, { body: '{}', headers: json }],
      code: 415,
      reason: 'UnsupportedMediaType',
      says: /merge-patch/,
    },
    {
      name: 'a bad flag',
      call: ['GET', `${pods}?watch=maybe`],
      code: 400,
      reason: 'BadRequest',
      says: /watch: must be true or false/,
    },
    {
      name: 'bad options',
      call: ['DELETE', `${pods}/web`, { body: '{"gracePeriodSecond":1}', headers: json }],
      code: 400,
      reason: 'BadRequest',
      says: /did you mean "gracePeriodSeconds"/,
    },
    { name: 'a bug', call: ['GET', '/podwire/v1/broken'], code: 500, reason: 'InternalError', says: /bug/ },
  ];
  for (const c of cases) {
    const answer = await call(socket, ...c.call);
    t.match(
      answer,
      {
        code: c.code,
        json: {
          kind: 'Status',
          apiVersion: 'v1',
          status: 'Failure',
          reason: c.reason,
          code: c.code,
          message: c.says,
        },
      },
      c.name,
    );
  }
  t.strictSame(
    (await call(socket, 'GET', '/podwire/v1/fine')).json,
    { fine: true },
    'what the caller added is there',
  );
  t.match(await call(socket, 'POST', `${pods}?dryRun=All`, { body: good, headers: json }), {
    code: 201,
    json: { metadata: { name: 'web' }, spec: { restartPolicy: 'Always' } },
  });
  t.equal((await call(socket, 'GET', pods)).json.items.length, 0, 'and a dry run left nothing');
  t.match(
    await call(socket, 'POST', `${pods}?dryRun=All`, { body: good }),
    { code: 201 },
    'JSON unless told',
  );
});

t.test('protobuf, as kubectl create and drain send it', async (t) => {
  const { socket, close } = await startServer({ admit: onNode });
  t.teardown(close);
  const field = (number: number, value: string): string =>
    String.fromCharCode((number << 3) | 2, value.length) + value;
  const body = (apiVersion: string, kind: string, raw: string): string =>
    `k8s\0${field(1, field(1, apiVersion) + field(2, kind))}${field(2, raw)}`;
  const headers = { 'content-type': 'application/vnd.kubernetes.protobuf' };
  const metadata = field(1, field(1, 'web'));
  const secrets = '/api/v1/namespaces/default/secrets';
  const secret = body('v1', 'Secret', metadata + field(2, field(1, 'key') + field(2, 'value')));
  t.match(await call(socket, 'POST', secrets, { body: secret, headers }), {
    code: 201,
    json: { metadata: { name: 'web', namespace: 'default' }, data: { key: 'dmFsdWU=' }, type: 'Opaque' },
  });
  t.match(await call(socket, 'POST', pods, { body: secret, headers }), {
    code: 400,
    json: { message: /Kind=Secret in the body does not match/ },
  });
  const deployments = '/apis/apps/v1/namespaces/default/deployments';
  t.match(
    await call(socket, 'POST', deployments, { body: body('apps/v1', 'Deployment', metadata), headers }),
    { code: 404 },
    'what nobody serves is not read',
  );
  t.match(await call(socket, 'POST', secrets, { body: 'k8s', headers }), {
    code: 400,
    json: { message: /not protobuf/ },
  });
  const namespace = body('v1', 'Namespace', metadata + field(2, ''));
  t.match(await call(socket, 'POST', '/api/v1/namespaces', { body: namespace, headers }), {
    code: 201,
    json: { spec: { finalizers: ['kubernetes'] } },
  });
  await call(socket, 'POST', pods, { body: JSON.stringify(manifest('web')), headers: json });
  const eviction = body('policy/v1', 'Eviction', metadata);
  t.match(await call(socket, 'POST', `${pods}/web/eviction`, { body: eviction, headers }), { code: 201 });
  t.ok((await call(socket, 'GET', `${pods}/web`)).json.metadata.deletionTimestamp);
  const options = body('v1', 'DeleteOptions', '\x08\0');
  t.match(await call(socket, 'DELETE', `${pods}/web`, { body: options, headers }), { code: 200 });
  t.equal((await call(socket, 'GET', `${pods}/web`)).code, 404, 'gracePeriodSeconds 0 is meant');
});

t.test('YAML, Tables, lists', async (t) => {
  const { socket, close } = await startServer({ admit: onNode });
  t.teardown(close);
  const yaml = 'metadata: {name: web}\nspec:\n  containers:\n  - {name: a, image: "nginx:1"}\n';
  const headers = { 'content-type': 'application/yaml' };
  t.match(await call(socket, 'POST', pods, { body: yaml, headers }), {
    code: 201,
    json: { metadata: { name: 'web' } },
  });
  t.match(await call(socket, 'POST', pods, { body: `${yaml}---\na: b\n`, headers }), {
    code: 400,
    json: { message: /several YAML documents/ },
  });
  t.match(await call(socket, 'POST', pods, { body: 'a: [', headers }), {
    code: 400,
    json: { message: /not YAML/ },
  });
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
    .split('')
    .map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[at]}`).join(',')}]`)
    .join('\n')}`;
  t.match(
    await call(socket, 'POST', pods, { body: bomb, headers }),
    { code: /^[45]/ },
    'a bomb of aliases is no danger',
  );
  const list = await call(socket, 'GET', pods);
  t.match(list, {
    code: 200,
    json: {
      kind: 'PodList',
      apiVersion: 'v1',
      metadata: { resourceVersion: /\d/ },
      items: [{ kind: 'Pod' }],
    },
  });
  const accept = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };
  const table = await call(socket, 'GET', pods, { headers: accept });
  t.match(table.json, {
    kind: 'Table',
    columnDefinitions: [{ name: 'Name' }],
    rows: [{ cells: ['web', '0/1', 'Pending', '0'], object: { kind: 'PartialObjectMetadata' } }],
  });
  t.match((await call(socket, 'GET', `${pods}/web?includeObject=Object`, { headers: accept })).json, {
    rows: [{ object: { kind: 'Pod' } }],
  });
  const watched = await call(socket, 'GET', `${pods}?watch=true&timeoutSeconds=1`, { headers: accept }).catch(
    (error) => error,
  );
  t.match(watched.text ?? '', /"type":"ADDED","object":\{"kind":"Table"/);
});

t.test('a watch ends by its time, and is quiet about bookmarks nobody asked for', async (t) => {
  const { socket, registry, close } = await startServer();
  t.teardown(close);
  await registry.create('pods', manifest('web'));
  const types = async (query: string): Promise<string[]> => {
    const { text } = await call(socket, 'GET', `${pods}?watch=1&timeoutSeconds=1${query}`);
    return text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).type);
  };
  const [plain, withBookmarks] = await Promise.all([
    types(''),
    types('&sendInitialEvents=true&allowWatchBookmarks=true'),
  ]);
  t.strictSame(plain, ['ADDED']);
  t.strictSame(withBookmarks, ['ADDED', 'BOOKMARK']);
  t.match(await call(socket, 'GET', `${pods}?watch=1&resourceVersion=99999`), {
    code: 410,
    json: { reason: 'Expired' },
  });
});

t.test('logs', async (t) => {
  const asked: LogOptions[] = [];
  const { socket, client, registry, close } = await startServer({
    server: {
      streams: {
        ...noStreams,
        async *logs(pod, options, signal) {
          asked.push(options);
          if (options.previous)
            throw new ApiError('BadRequest', 'previous terminated container "a" in pod "web" not found');
          yield `${pod.metadata.name} `;
          yield Buffer.from('says hello\n');
          if (!options.follow) return;
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        },
      },
    },
  });
  t.teardown(close);
  await registry.create('pods', manifest('web'));
  await registry.create(
    'pods',
    manifest('two', {
      spec: {
        containers: [
          { name: 'x', image: 'i' },
          { name: 'y', image: 'i' },
        ],
      },
    }),
  );
  const log = (name: string, query = '') => call(socket, 'GET', `${pods}/${name}/log${query}`);
  t.match(await log('web', '?tailLines=5&timestamps=true&sinceSeconds=60&limitBytes=100'), {
    code: 200,
    type: /^text\/plain/,
    text: 'web says hello\n',
  });
  t.strictSame(asked[0], {
    container: 'a',
    follow: false,
    previous: false,
    timestamps: true,
    tailLines: 5,
    sinceSeconds: 60,
    limitBytes: 100,
  });
  t.match(await log('web', '?previous=true'), { code: 400, json: { message: /previous terminated/ } });
  t.match(await log('two'), {
    code: 400,
    json: { message: 'a container name must be specified for pod two, choose one of: [x y]' },
  });
  t.match(await log('two', '?container=z'), {
    code: 400,
    json: { message: /container z is not valid for pod two/ },
  });
  t.match(await log('two', '?container=y'), { code: 200 });
  t.match(await log('web', '?tailLines=-1'), {
    code: 400,
    json: { message: /tailLines: Invalid value: "-1"/ },
  });
  t.match(await log('web', '?sinceTime=yesterday'), { code: 400 });
  t.match(await log('none'), { code: 404 });
  const stop = new AbortController();
  let text = '';
  for await (const chunk of client.logs({ name: 'web' }, { follow: true }, stop.signal)) {
    text += chunk.toString();
    if (text.endsWith('hello\n')) stop.abort();
  }
  t.equal(text, 'web says hello\n', 'a following log comes as it is written, and ends when the client goes');
});

t.test('the socket is for its owner alone, and one daemon has it', async (t) => {
  const { socket, close } = await startServer();
  t.teardown(close);
  t.equal(statSync(socket).mode & 0o777, 0o600);
  const folder = mkdtempSync(join(tmpdir(), 'podwire-socket-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { listenUnix } = await import('../../../lib/apiserver/unix-socket.ts');
  const http = await import('node:http');
  await t.rejects(listenUnix(http.createServer(), socket), { code: 'SOCKET_IN_USE' });
  await t.rejects(listenUnix(http.createServer(), `/tmp/${'x'.repeat(120)}`), {
    code: 'SOCKET_FAILED',
    message: /107 bytes/,
  });
  // A socket whose daemon was killed: the file is there, nobody answers.
  const stale = join(folder, 'deep/stale.sock');
  const dead = createServer();
  const { mkdirSync, renameSync } = await import('node:fs');
  mkdirSync(join(folder, 'deep'));
  await new Promise<void>((resolve) => dead.listen(`${stale}.tmp`, resolve));
  renameSync(`${stale}.tmp`, stale);
  await new Promise((resolve) => dead.close(resolve));
  t.ok(existsSync(stale));
  const server = http.createServer();
  await listenUnix(server, stale);
  t.equal(statSync(stale).mode & 0o777, 0o600);
  server.close();
});

t.test('the client says what to do when nobody answers', async (t) => {
  const client = new HttpClient({ socketPath: '/nonexistent/podwired.sock' });
  await t.rejects(client.list('pods'), { code: 'ServiceUnavailable', message: /podwire up/ });
  await t.rejects(client.exec({ name: 'x' }, { command: ['x'] }), { code: 'ServiceUnavailable' });
  await t.rejects(async () => client.get('pods', { name: '..' }), { code: 'BadRequest' });
});

t.test(
  'a watch in the client survives a server that ends it in peace, and tells when it is gone',
  async (t) => {
    const { client, registry, close } = await startServer();
    let closed = false;
    t.teardown(async () => closed || close());
    const seen: string[] = [];
    const failed = (async () => {
      for await (const event of client.watch('nodes', { signal: new AbortController().signal })) {
        seen.push(event.type);
        if (event.type === 'BOOKMARK') await registry.create('nodes', { metadata: { name: 'n' } });
        if (event.type === 'ADDED') {
          closed = true;
          await close();
        }
      }
    })();
    await t.rejects(failed, { code: 'ServiceUnavailable' });
    t.strictSame(seen, ['BOOKMARK', 'ADDED']);
  },
);
