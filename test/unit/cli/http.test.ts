// The CLI at its edge: a real process against a small server on a unix socket, and against none.
import { spawn } from 'node:child_process';
import { createServer, type RequestListener } from 'node:http';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ApiError } from '../../../lib/api/errors.ts';
import { readJson, readLines } from '../../../cmd/podwire/http.ts';

const main = join(import.meta.dirname, '../../../cmd/podwire/main.ts');

async function listen(t: Test, listener: RequestListener): Promise<string> {
  const socket = join(t.testdir(), 's');
  const server = createServer(listener);
  await new Promise<void>((done) => server.listen(socket, done));
  t.teardown(() => server.close());
  return socket;
}

function podwire(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (chunk) => (output[name] += chunk));
  return new Promise((done) => child.on('close', (code) => done({ code, ...output })));
}

t.test('answers', async (t) => {
  const socket = await listen(t, (request, response) => {
    if (request.url === '/lines') return response.end('{"a":1}\n\n{"a":2}');
    if (request.url === '/plain') return response.writeHead(500).end('boom');
    response.writeHead(404).end(JSON.stringify(new ApiError('NotFound', 'pods "x" not found').status));
  });
  const found: unknown[] = [];
  for await (const line of readLines(socket, '/lines')) found.push(line);
  t.same(found, [{ a: 1 }, { a: 2 }]);
  await t.rejects(readJson(socket, '/x'), { code: 'NotFound', message: 'pods "x" not found' });
  await t.rejects(readJson(socket, '/plain'), { code: 'InternalError', message: /HTTP 500: boom/ });
});

t.test('exit codes and messages with no daemon', async (t) => {
  const socket = join(t.testdir(), 'none');
  const cases: ReadonlyArray<{ args: string[]; code: number; stderr: RegExp }> = [
    {
      args: ['get', 'pods'],
      code: 1,
      stderr: /^podwired is not running on .*none: start it with "podwire up"\n$/,
    },
    {
      args: ['apply', '-f', '/does/not/exist'],
      code: 1,
      stderr: /^error: the path "\/does\/not\/exist" does not exist/,
    },
    { args: ['apply'], code: 1, stderr: /^error: must specify a file/ },
    { args: ['frobnicate'], code: 1, stderr: /^error: unknown command 'frobnicate'/ },
    { args: ['get', 'pods', '--frob'], code: 1, stderr: /^error: unknown option '--frob'/ },
    {
      args: ['get', 'pods', '-n', '../../etc'],
      code: 1,
      stderr: /^error: namespace "\.\.\/\.\.\/etc": expected/,
    },
    { args: ['completion', 'tcsh'], code: 1, stderr: /^error: unsupported shell "tcsh"/ },
    { args: ['down'], code: 0, stderr: /^$/ },
    { args: ['version'], code: 0, stderr: /^$/ },
    { args: ['get', '--help'], code: 0, stderr: /^$/ },
  ];
  await Promise.all(
    cases.map(async (c) => {
      const result = await podwire('--socket', socket, ...c.args);
      t.equal(result.code, c.code, c.args.join(' '));
      t.match(result.stderr, c.stderr);
    }),
  );
});
