// The real kubectl against the real daemon, as somebody types it: no flags, TLS, and into Pods by whatever it speaks
// (WebSockets, SPDY, or SPDY in a WebSocket, by its version).
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type CommandResult, run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { openSession } from '../../lib/exec/session.ts';
import { allCodes, listen, startNode } from './harness.ts';

const program = findProgram('kubectl');
const why = program === undefined && 'there is no kubectl on this machine';

t.test('kubectl', { skip: why }, async (t) => {
  const node = await startNode(t);
  const folder = t.testdir();
  const file = join(folder, 'config');
  const made = await node.podwire(['kubeconfig']);
  t.equal(made.exitCode, 0, made.stderr);
  writeFileSync(file, made.stdout, { mode: 0o600 });
  const env = { KUBECONFIG: file, HOME: folder }; // it keeps what it discovers below the home
  const kubectl = (words: readonly string[], input?: string): Promise<CommandResult> =>
    run({
      argv: [program!, ...words],
      okCodes: allCodes,
      timeoutMs: 120_000,
      env,
      ...(input === undefined ? {} : { input }),
    });
  const ok = async (words: readonly string[], input?: string): Promise<string> => {
    const { exitCode, stdout, stderr } = await kubectl(words, input);
    t.equal(exitCode, 0, `kubectl ${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  t.comment(await ok(['version']));

  const manifest = (more: object = {}): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'k' },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {
            name: 'main',
            image: 'localhost/host',
            command: ['sh', '-c', server],
            workingDir: '/usr',
            readinessProbe: { tcpSocket: { port: 7070 }, periodSeconds: 1 },
            ...more,
          },
        ],
      },
    });
  const server = 'exec python3 -m http.server 7070';

  await t.test('apply, with what is unknown refused by name', async (t) => {
    const wrong = await kubectl(['apply', '-f', '-'], manifest({ imagePolicy: 'Never' }));
    t.equal(wrong.exitCode, 1);
    t.match(wrong.stderr, /unknown field "spec\.containers\[0\]\.imagePolicy"/);
    t.equal(await ok(['apply', '-f', '-'], manifest()), 'pod/k created\n');
    t.match(await ok(['diff', '-f', '-'], manifest()), /^$/, 'nothing differs');
    await ok(['wait', '--for=condition=Ready', 'pod/k', '--timeout=90s']);
    t.match(await ok(['get', 'pods', '-o', 'wide']), /k +1\/1 +Running/);
    t.match(await ok(['explain', 'pod.spec.containers.livenessProbe']), /httpGet/);
  });

  await t.test('exec: input, output, exit codes', async (t) => {
    t.equal(await ok(['exec', '-i', 'k', '--', 'cat'], 'through'), 'through');
    const large = 'x'.repeat(3_000_000);
    t.equal((await ok(['exec', '-i', 'k', '--', 'wc', '-c'], large)).trim(), '3000000');
    t.equal((await kubectl(['exec', 'k', '--', 'sh', '-c', 'exit 7'])).exitCode, 7);
    t.equal((await kubectl(['exec', 'k', '--', 'no-such-program'])).exitCode, 127);
  });

  await t.test('cp', async (t) => {
    await ok(['cp', 'k:/etc/hostname', join(folder, 'copied')]);
    t.equal((await run({ argv: ['cat', join(folder, 'copied')] })).stdout, 'k\n');
  });

  await t.test('port-forward', async (t) => {
    const session = await openSession({
      argv: [program!, 'port-forward', 'pod/k', ':7070'],
      env,
      tty: false,
      stdin: false,
    });
    try {
      const heard = listen(session);
      const forwarding = /127\.0\.0\.1:(\d+) -> 7070/;
      await heard.until(forwarding);
      const port = forwarding.exec(heard.text)?.[1];
      const pages = await Promise.all(
        [1, 2, 3].map(async () => (await fetch(`http://127.0.0.1:${port}/`)).text()),
      );
      for (const page of pages) t.match(page, /Directory listing/);
    } finally {
      session.kill();
      await session.exit;
    }
  });

  await t.test('typed clients send protobuf', async (t) => {
    t.equal(await ok(['create', 'configmap', 'c', '--from-literal=a=b']), 'configmap/c created\n');
    t.equal(await ok(['get', 'configmap', 'c', '-o', 'jsonpath={.data.a}']), 'b');
  });

  t.match(await ok(['delete', 'pod/k', 'configmap/c']), /pod "k" deleted/);
});
