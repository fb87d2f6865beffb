// The small pure parts of the verbs.
import t from 'tap';
import { listeningInode, readableLogLine } from '../../../cmd/podwire/daemon.ts';
import { parseCount, parseDuration } from '../../../cmd/podwire/duration.ts';
import { describeError, socketErrno, UsageError } from '../../../cmd/podwire/errors.ts';
import { withQuery } from '../../../cmd/podwire/http.ts';
import { parseOutput } from '../../../cmd/podwire/print/output.ts';
import { parseTargets, podName, restPath } from '../../../cmd/podwire/resources.ts';
import { graceSeconds } from '../../../cmd/podwire/verbs/delete.ts';
import { imageTable } from '../../../cmd/podwire/verbs/image.ts';
import { nodeIpFault } from '../../../cmd/podwire/verbs/join.ts';
import { logQuery } from '../../../cmd/podwire/verbs/logs.ts';
import { parseCondition } from '../../../cmd/podwire/verbs/wait.ts';
import { ApiError } from '../../../lib/api/errors.ts';
import { resources } from '../../../lib/api/resources.ts';

t.test('durations', async (t) => {
  for (const [text, ms] of [
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['0', 0],
    ['5', 5000],
    ['250ms', 250],
    ['-1s', -1000],
    ['1.5s', 1500],
  ] as const)
    t.equal(parseDuration(text, '--timeout'), ms, text);
  for (const text of ['', 's', '1x', '1s2', '1 s', 'abc', '1m-3s'])
    t.throws(() => parseDuration(text, '--timeout'), { code: 'USAGE', message: /--timeout/ }, text);
  t.equal(parseCount('0', '--tail', -1), 0);
  t.throws(() => parseCount('1.5', '--tail', -1), { message: /invalid value "1.5" for --tail/ });
});

t.test('targets', async (t) => {
  const shown = (...args: string[]) =>
    parseTargets(args).map(({ info, name }) => `${info.resource}${name ? `/${name}` : ''}`);
  t.same(shown('po'), ['pods']);
  t.same(shown('Pods,no'), ['pods', 'nodes']);
  t.same(shown('pod', 'a', 'b'), ['pods/a', 'pods/b']);
  t.same(shown('pod/a', 'ns/b'), ['pods/a', 'namespaces/b']);
  t.same(shown('all'), ['pods']);
  t.throws(() => shown('deployments'), { message: 'the server doesn\'t have a resource type "deployments"' });
  t.throws(() => shown(), { code: 'USAGE' });
  t.throws(() => shown('pod/a/b'), { code: 'USAGE' });
  t.throws(() => shown('pod/a', 'b'), { code: 'USAGE' });
  t.equal(podName('pod/web'), 'web');
  t.throws(() => podName('node/x'), { message: '"node/x" is no Pod' });
});

t.test('REST paths hold no raw user text', async (t) => {
  t.equal(restPath(resources.pods, { namespace: 'a', name: 'b' }), '/api/v1/namespaces/a/pods/b');
  t.equal(
    restPath(resources.pods, { namespace: '../x', name: 'a/b' }),
    '/api/v1/namespaces/..%2Fx/pods/a%2Fb',
  );
  t.equal(restPath(resources.nodes, { name: 'n' }), '/api/v1/nodes/n');
  t.equal(withQuery('/a', { x: 1, y: undefined, z: 'a b&c' }), '/a?x=1&z=a+b%26c');
});

t.test('output formats', async (t) => {
  t.same(parseOutput('json', ['json', 'yaml']), { type: 'json' });
  t.same(parseOutput('jsonpath={.a=1}', ['jsonpath']), { type: 'jsonpath', template: '{.a=1}' });
  t.throws(() => parseOutput('xml', ['json', 'jsonpath']), {
    message: /allowed formats are: json,jsonpath=TEMPLATE/,
  });
  t.throws(() => parseOutput('jsonpath', ['jsonpath']), { message: /needs a template/ });
});

t.test("errors in kubectl's words", async (t) => {
  const place = { socket: '/s' };
  const missing = new ApiError('NotFound', 'pods "x" not found');
  t.equal(describeError(missing, place), 'Error from server (NotFound): pods "x" not found');
  t.equal(
    describeError(missing, { ...place, about: 'a.yaml (document 2)' }),
    'Error from server (NotFound): a.yaml (document 2): pods "x" not found',
  );
  t.equal(describeError(new UsageError('wrong'), place), 'error: wrong');
  const refused = Object.assign(new Error('connect ECONNREFUSED /s'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });
  t.equal(describeError(refused, place), 'podwired is not running on /s: start it with "podwire up"');
  const wrapped = new ApiError('ServiceUnavailable', 'x', undefined, {
    cause: Object.assign(new Error('y'), { code: 'ENOENT', syscall: 'connect' }),
  });
  t.equal(describeError(wrapped, place), 'podwired is not running on /s: start it with "podwire up"');
  const file = Object.assign(new Error('open'), { code: 'ENOENT', syscall: 'open' });
  t.equal(socketErrno(file), undefined);
  const causes = [
    {
      reason: 'FieldValueInvalid',
      message: 'Invalid value: 70000: must be between 1 and 65535',
      field: 'spec.containers[0].ports[0].containerPort',
    },
  ];
  const invalid = (list: typeof causes) =>
    new ApiError('Invalid', 'Pod "x" is invalid: …', { kind: 'Pod', name: 'x', causes: list });
  t.equal(
    describeError(invalid(causes), place),
    'The Pod "x" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535',
  );
  t.match(
    describeError(invalid([...causes, ...causes]), place),
    /^The Pod "x" is invalid: \n\* spec.*\n\* spec/,
  );
});

t.test('delete: seconds to give', async (t) => {
  t.equal(graceSeconds({}), undefined);
  t.equal(graceSeconds({ now: true }), 1);
  t.equal(graceSeconds({ force: true }), 0);
  t.equal(graceSeconds({ gracePeriod: '7' }), 7);
  t.equal(graceSeconds({ gracePeriod: '-1' }), undefined);
  t.throws(() => graceSeconds({ now: true, gracePeriod: '3' }), { code: 'USAGE' });
  t.throws(() => graceSeconds({ force: true, gracePeriod: '3' }), { code: 'USAGE' });
});

t.test('logs: the query', async (t) => {
  const given = (options: Parameters<typeof logQuery>[0]) =>
    Object.fromEntries(Object.entries(logQuery(options)).filter(([, value]) => value !== undefined));
  t.same(given({}), {});
  t.same(given({ follow: true, tail: '5', since: '1m', timestamps: true }), {
    follow: true,
    tailLines: 5,
    sinceSeconds: 60,
    timestamps: true,
  });
  t.same(given({ tail: '0', previous: true }), { tailLines: 0, previous: true });
  for (const wrong of [
    { since: '1m', sinceTime: '2026-01-01T00:00:00Z' },
    { sinceTime: 'now' },
    { follow: true, previous: true },
    { since: '0s' },
    { tail: 'x' },
  ])
    t.throws(() => logQuery(wrong), { code: 'USAGE' }, JSON.stringify(wrong));
});

t.test('wait: conditions', async (t) => {
  const pod = { status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] } } as never;
  t.equal(parseCondition('condition=Ready')(pod), true);
  t.equal(parseCondition('condition=ready=false')(pod), false);
  t.equal(parseCondition('condition=Ready')(undefined), false);
  t.equal(parseCondition('delete')(undefined), true);
  t.equal(parseCondition('create')(pod), true);
  t.equal(parseCondition("jsonpath='{.status.phase}'=Running")(pod), true);
  t.equal(parseCondition('jsonpath={.status.phase}=Failed')(pod), false);
  t.equal(parseCondition('jsonpath={.status.podIP}')(pod), false);
  for (const wrong of ['Ready', 'condition=', 'jsonpath=.a', 'jsonpath={.a[}'])
    t.throws(() => parseCondition(wrong), { code: 'USAGE' }, wrong);
});

t.test("the daemon's socket in /proc/net/unix", async (t) => {
  const table = [
    'Num       RefCount Protocol Flags    Type St Inode Path',
    '0000000000000000: 00000003 00000000 00000000 0001 03 111 /run/podwire/podwired.sock',
    '0000000000000000: 00000002 00000000 00010000 0001 01 222 /run/podwire/podwired.sock',
    '0000000000000000: 00000002 00000000 00010000 0001 01 333 /run/other.sock',
  ].join('\n');
  t.equal(listeningInode(table, '/run/podwire/podwired.sock'), '222');
  t.equal(listeningInode(table, '/run/none'), undefined);
  t.equal(readableLogLine('{"level":60,"msg":"no","err":{"message":"why"}}'), 'fatal no: why');
  t.equal(readableLogLine('plain'), 'plain');
});

t.test('images', async (t) => {
  const now = Date.parse('2026-01-01T01:00:00Z');
  const images = [
    { ref: 'localhost/host', id: '', sizeBytes: 0, pulledAt: '2026-01-01T00:00:00Z' },
    {
      ref: 'docker.io/library/nginx:1.27',
      id: `sha256:${'ab'.repeat(32)}`,
      sizeBytes: 73_400_320,
      pulledAt: '2026-01-01T00:00:00Z',
    },
    { ref: 'h:5000/x', id: 'sha256:cd', sizeBytes: 10, pulledAt: '2026-01-01T00:59:00Z' },
  ];
  t.equal(
    imageTable(images, { now, width: 'short' }),
    `IMAGE                     TAG      IMAGE ID        SIZE      AGE
localhost/host            <none>   <built in>      -         -
docker.io/library/nginx   1.27     ababababababa   70.0MiB   60m
h:5000/x                  <none>   cd              10B       60s
`,
  );
});

t.test('addresses that no node has', async (t) => {
  for (const address of ['192.168.56.10', '10.0.2.15', 'fd00::2', '2001:db8::1', '::2'])
    t.equal(nodeIpFault(address), undefined, address);
  for (const address of [
    '127.0.0.1',
    '0.0.0.0',
    '224.0.0.5',
    '169.254.1.1',
    '::',
    '::1',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
  ])
    t.match(nodeIpFault(address), /loopback, link-local/, address);
  for (const address of ['', 'one', '10.0.0', '10.0.0.1/24'])
    t.match(nodeIpFault(address), /expected an IPv4/, address);
});
