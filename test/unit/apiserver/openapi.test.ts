// /openapi and ?fieldValidation= over HTTP: what kubectl asks before it applies, and what becomes of unknown fields.
import { request } from 'node:http';
import t from 'tap';
import { createApiServer } from '../../../lib/apiserver/server.ts';
import { duplicateFields } from '../../../lib/apiserver/registry/field-validation.ts';
import { manifest, noStreams, onNode, startRegistry, startServer } from './fixtures.ts';

interface Answer {
  readonly code: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** Each Warning header by itself. */
  readonly warnings: readonly string[];
}

function call(
  socketPath: string,
  [method, path]: readonly [string, string],
  more: { body?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, method, path, headers: more.headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const { statusCode: code = 0, headers, headersDistinct } = response;
        resolve({ code, headers, body: Buffer.concat(chunks), warnings: headersDistinct.warning ?? [] });
      });
    });
    sent.on('error', reject);
    sent.end(more.body);
  });
}

// biome-ignore lint/suspicious/noExplicitAny: whatever the server says
const jsonOf = (answer: Answer): any => JSON.parse(answer.body.toString());
const json = { 'content-type': 'application/json' };
const pods = '/api/v1/namespaces/default/pods';

t.test('the documents', async (t) => {
  const { socket, close } = await startServer();
  t.teardown(close);
  const index = await call(socket, ['GET', '/openapi/v3']);
  t.match(index, { code: 200, headers: { 'content-type': /^application\/json/ } });
  const { paths } = jsonOf(index);
  t.strictSame(Object.keys(paths).sort(), ['api/v1', 'apis/coordination.k8s.io/v1']);
  for (const [key, { serverRelativeURL: address }] of Object.entries<{ serverRelativeURL: string }>(paths)) {
    t.match(address, new RegExp(`^/openapi/v3/${key}\\?hash=[0-9A-F]{32}$`));
    const first = await call(socket, ['GET', address]);
    t.match(first, { code: 200, headers: { 'cache-control': /immutable/, etag: /^"[0-9A-F]{32}"$/ } });
    t.equal(jsonOf(first).openapi, '3.0.0');
    const headers = { 'if-none-match': String(first.headers.etag) };
    t.match(await call(socket, ['GET', address], { headers }), { code: 304, body: Buffer.alloc(0) });
    const plain = await call(socket, ['GET', `/openapi/v3/${key}`]);
    t.match(plain, { code: 200, body: first.body });
    t.notOk(plain.headers['cache-control'], 'without its hash it may change');
    t.match(await call(socket, ['GET', `/openapi/v3/${key}?hash=0`]), {
      code: 301,
      headers: { location: address },
    });
  }
  t.match(jsonOf(await call(socket, ['GET', '/openapi/v3/apis/apps/v1'])), { reason: 'NotFound' });
});

t.test('every path and method is served, and every route on objects is there', async (t) => {
  const { registry, close } = await startRegistry();
  t.teardown(close);
  const { app } = await createApiServer({ registry, streams: noStreams, version: '0.0.0' });
  t.teardown(() => app.close());
  const { socket, close: end } = await startServer();
  t.teardown(end);
  const told: string[] = [];
  for (const key of ['api/v1', 'apis/coordination.k8s.io/v1']) {
    const { paths } = jsonOf(await call(socket, ['GET', `/openapi/v3/${key}`]));
    for (const [path, { parameters: _, ...operations }] of Object.entries<Record<string, object>>(paths))
      for (const method of Object.keys(operations)) told.push(`${method.toUpperCase()} ${path}`);
  }
  for (const one of told) {
    const [method = '', path = ''] = one.split(' ');
    const url = path.replaceAll(/\{(\w+)\}/g, ':$1');
    t.ok(app.hasRoute({ method: method as 'GET', url }), one);
  }
  for (const one of [
    'GET /api/v1/pods',
    'POST /api/v1/namespaces/{namespace}/pods',
    'DELETE /api/v1/namespaces/{namespace}/pods',
    'PATCH /api/v1/namespaces/{namespace}/pods/{name}',
    'PUT /api/v1/namespaces/{namespace}/pods/{name}/status',
    'PATCH /api/v1/namespaces/{namespace}/pods/{name}/resize',
    'GET /api/v1/nodes/{name}',
    'PATCH /apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}',
  ])
    t.ok(told.includes(one), one);
});

t.test('version 2, for kubectl before 1.24: an empty document', async (t) => {
  const { socket, close } = await startServer();
  t.teardown(close);
  const headers = { accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf' };
  const { code, body } = await call(socket, ['GET', '/openapi/v2'], { headers });
  t.equal(code, 200);
  const outer = textsIn(body);
  t.equal(outer.get(1)?.toString(), '2.0');
  const info = textsIn(outer.get(2)!);
  t.strictSame([info.get(1)?.toString(), info.get(2)?.toString()], ['podwire: see /openapi/v3', '0.0.0']);
  t.match(jsonOf(await call(socket, ['GET', '/openapi/v2'])), { swagger: '2.0', paths: {} });
});

/** The fields of a protobuf message that has only texts and messages, none longer than 127 bytes. */
function textsIn(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; at += 2 + bytes[at + 1]!) {
    t.equal(bytes[at]! & 7, 2, 'a length and as many bytes');
    found.set(bytes[at]! >> 3, bytes.subarray(at + 2, at + 2 + bytes[at + 1]!));
  }
  return found;
}

const twice =
  '{"metadata":{"name":"web"},"spec":{"containers":[{"name":"a","image":"x:1","image":"nginx:1"}]}}';
const unknown = JSON.stringify(manifest('web', { metadata: { colour: 'ü' }, spec: { foo: { bar: 1 } } }));
const unsupported = JSON.stringify(manifest('web', { spec: { runtimeClassName: 'gvisor' } }));

t.test('fields that no schema knows, and fields given twice', async (t) => {
  const { socket, close } = await startServer({ admit: onNode });
  t.teardown(close);
  const bothUnknown = ['299 - "unknown field \\"metadata.colour\\""', '299 - "unknown field \\"spec.foo\\""'];
  const onceTwice = ['299 - "duplicate field \\"spec.containers[0].image\\""'];
  const cases: {
    name: string;
    body: string;
    level: string;
    code: number;
    says?: RegExp;
    warnings?: readonly string[];
  }[] = [
    {
      name: 'unknown, nothing asked',
      body: unknown,
      level: '',
      code: 400,
      says: /strict decoding error: .*"spec\.foo"/,
    },
    {
      name: 'unknown, Strict',
      body: unknown,
      level: 'Strict',
      code: 400,
      says: /"metadata\.colour".*"spec\.foo"/,
    },
    { name: 'unknown, Warn', body: unknown, level: 'Warn', code: 201, warnings: bothUnknown },
    { name: 'unknown, Ignore', body: unknown, level: 'Ignore', code: 201 },
    {
      name: 'twice, nothing asked',
      body: twice,
      level: '',
      code: 400,
      says: /duplicate field "spec\.containers\[0\]\.image"/,
    },
    { name: 'twice, Strict', body: twice, level: 'Strict', code: 400, says: /strict decoding error: dup/ },
    { name: 'twice, Warn', body: twice, level: 'Warn', code: 201, warnings: onceTwice },
    { name: 'twice, Ignore', body: twice, level: 'Ignore', code: 201 },
    {
      name: 'not supported, Ignore',
      body: unsupported,
      level: 'Ignore',
      code: 422,
      says: /runtimeClassName: Forbidden: not supported/,
    },
    {
      name: 'not supported, Warn',
      body: unsupported,
      level: 'Warn',
      code: 422,
      says: /runtimeClassName: Forbidden/,
    },
    {
      name: 'a strange level',
      body: unknown,
      level: 'strict',
      code: 400,
      says: /fieldValidation: Unsupported value: "strict"/,
    },
  ];
  for (const c of cases) {
    const query = `?dryRun=All${c.level ? `&fieldValidation=${c.level}` : ''}`;
    const answer = await call(socket, ['POST', `${pods}${query}`], { body: c.body, headers: json });
    t.equal(answer.code, c.code, c.name);
    t.strictSame(answer.warnings, c.warnings ?? [], `${c.name}: warnings`);
    const told = jsonOf(answer);
    if (c.says) t.match(told.message, c.says, c.name);
    else
      t.match(told, {
        metadata: { name: 'web' },
        spec: { foo: undefined, containers: [{ image: 'nginx:1' }] },
      });
  }

  await t.test('in what changes an object, too', async (t) => {
    await call(socket, ['POST', pods], { body: JSON.stringify(manifest('web')), headers: json });
    const merge = { 'content-type': 'application/merge-patch+json' };
    const patch = '{"metadata":{"labels":{"a":"b"}},"spec":{"foo":1}}';
    const path = `${pods}/web`;
    t.match(await call(socket, ['PATCH', path], { body: patch, headers: merge }), { code: 400 });
    t.match(await call(socket, ['PATCH', `${path}?fieldValidation=Warn`], { body: patch, headers: merge }), {
      code: 200,
      warnings: ['299 - "unknown field \\"spec.foo\\""'],
    });
    const status = '{"status":{"foo":1,"message":"m"}}';
    const statusPath = `${path}/status?fieldValidation=`;
    t.match(await call(socket, ['PATCH', `${statusPath}Strict`], { body: status, headers: merge }), {
      code: 400,
    });
    const warned = await call(socket, ['PATCH', `${statusPath}Warn`], { body: status, headers: merge });
    t.strictSame(warned.warnings, ['299 - "unknown field \\"status.foo\\""']);
    const ignored = await call(socket, ['PATCH', `${statusPath}Ignore`], { body: status, headers: merge });
    t.match(jsonOf(ignored).status, { message: 'm', foo: undefined });
    const put = await call(socket, ['PUT', `${path}?fieldValidation=Warn`], { body: unknown, headers: json });
    t.match(put, { code: 200, warnings: bothUnknown });
    t.equal(jsonOf(put).metadata.labels, undefined);
  });

  await t.test('a head of bounded size', async (t) => {
    const spec = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`field${at}\x7f`, 1]));
    const body = JSON.stringify(manifest('many', { spec }));
    const answer = await call(socket, ['POST', `${pods}?dryRun=All&fieldValidation=Warn`], {
      body,
      headers: json,
    });
    t.equal(answer.code, 201);
    t.ok(answer.warnings.length > 50 && answer.warnings.join('').length < 4096);
  });
});

t.test('dry runs', async (t) => {
  const { socket, client, close } = await startServer({ admit: onNode });
  t.teardown(close);
  await client.create('pods', manifest('web'));
  const before = await client.get('pods', { namespace: 'default', name: 'web' });
  const dry = async (method: string, path: string, more: { body?: object; type?: string }) => {
    const answer = await call(socket, [method, `${path}?dryRun=All`], {
      ...(more.body ? { body: JSON.stringify(more.body) } : {}),
      headers: more.body ? { 'content-type': more.type ?? 'application/json' } : {},
    });
    return { code: answer.code, ...jsonOf(answer) };
  };
  const { resourceVersion } = before.metadata;
  const changed = manifest('web', { spec: { containers: [{ name: 'a', image: 'nginx:2' }] } });
  t.match(
    await dry('PUT', `${pods}/web`, { body: changed }),
    { code: 200, metadata: { resourceVersion, generation: 2 }, spec: { containers: [{ image: 'nginx:2' }] } },
    'a client that compares sees what would change, and no more',
  );
  const status = { body: { status: { message: 'm' } }, type: 'application/merge-patch+json' };
  t.match(await dry('PATCH', `${pods}/web/status`, status), { code: 200, status: { message: 'm' } });
  t.match(await dry('DELETE', `${pods}/web`, {}), { code: 200, metadata: { name: 'web' } });
  t.match(await dry('DELETE', `${pods}/other`, {}), { code: 404 });
  t.match(await dry('DELETE', '/api/v1/namespaces/default', {}), { code: 403 });
  t.match(await dry('DELETE', pods, {}), { code: 400, message: /dryRun: not supported/ });
  t.strictSame(await client.get('pods', { namespace: 'default', name: 'web' }), before, 'nothing was done');
});

for (const [given, wanted] of [
  ['{}', []],
  ['[]', []],
  ['"{\\"a\\":1,\\"a\\":2}"', []],
  ['{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}', []],
  ['{"a":"a","b":"a","":",{[","c":["a","a"]}', []],
  ['{"a":1,"a":2}', ['a']],
  ['{"a":1,"\\u0061":2,"a":3}', ['a', 'a']],
  ['{"a":[{"b":1},{"b":[[],[{"c":"\\\\","c":"\\""}]]}],"a":null}', ['a[1].b[1][0].c', 'a']],
  [' [ {"op" : 1 , "op" : 2 } ] ', ['[0].op']],
] as const)
  t.strictSame(duplicateFields(given), wanted, given);
