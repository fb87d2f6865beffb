// The CLI against the real daemon: words, formats and exit codes as kubectl's; and every manifest of examples/.
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { run } from '../../lib/exec/exec.ts';
import { until } from '../until.ts';
import { allCodes, hostPod, isRunning, sleeper, startNode, type TestNode } from './harness.ts';

const repo = join(import.meta.dirname, '../..');
const example = (name: string): string => join(repo, 'examples', name);

t.test('verbs', async (t) => {
  const node = await startNode(t);
  const ok = async (...args: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await node.podwire(args);
    t.equal(exitCode, 0, `podwire ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const fails = async (wanted: RegExp, ...args: string[]): Promise<void> => {
    const { exitCode, stderr } = await node.podwire(args);
    t.equal(exitCode, 1, `podwire ${args.join(' ')}`);
    t.match(stderr, wanted);
  };

  await t.test('up again says so', async (t) => {
    t.match(await ok('up'), /^podwired is already running \(pid \d+\)/);
    t.match(await ok('version'), /^podwire \S+ \(Node \S+\)\npodwired: Kubernetes API v1\.34/);
  });

  await t.test('nothing there yet', async (t) => {
    const empty = await node.podwire(['get', 'pods']);
    t.same(
      [empty.exitCode, empty.stdout, empty.stderr],
      [0, '', 'No resources found in default namespace.\n'],
    );
    await fails(/^Error from server \(NotFound\): pods "nope" not found\n$/, 'get', 'pod', 'nope');
    await fails(/NotFound/, 'delete', 'pod', 'nope');
    await fails(/NotFound/, 'logs', 'nope');
    await fails(/NotFound/, 'exec', 'nope', '--', 'true');
    t.equal(await ok('delete', 'pod', 'nope', '--ignore-not-found'), '');
  });

  await t.test('apply: created, unchanged, configured', async (t) => {
    const file = join(t.testdir(), 'pod.json');
    const manifest = hostPod('cli', { main: `echo out; echo err >&2; ${sleeper}`, side: sleeper });
    const write = (labels: object): void =>
      writeFileSync(file, JSON.stringify({ ...manifest, metadata: { name: 'cli', labels } }));
    write({ app: 'x', old: 'y' });
    t.equal(await ok('apply', '-f', file, '--dry-run=server'), 'pod/cli created (server dry run)\n');
    t.equal((await node.podwire(['get', 'pods'])).stdout, '', 'a dry run makes nothing');
    t.equal(await ok('apply', '-f', file), 'pod/cli created\n');
    t.equal(await ok('apply', '-f', file), 'pod/cli unchanged\n');
    write({ app: 'z' });
    t.equal(await ok('apply', '-f', file), 'pod/cli configured\n');
    t.equal(await ok('get', 'pod', 'cli', '-o', 'jsonpath={.metadata.labels}'), '{"app":"z"}');
    await fails(
      /^Error from server \(AlreadyExists\): .*pod\.json \(document 1\).*"cli" already exists/,
      'create',
      '-f',
      file,
    );
  });

  await t.test('one bad document does not stop the others', async (t) => {
    const file = join(t.testdir(), 'mixed.yaml');
    const good = JSON.stringify(hostPod('good', { main: sleeper }));
    writeFileSync(file, `apiVersion: v1\nkind: Widget\nmetadata: {name: w}\n---\n${good}\n---\na: [\n`);
    const { exitCode, stdout, stderr } = await node.podwire(['apply', '-f', file]);
    t.equal(exitCode, 1);
    t.equal(stdout, 'pod/good created\n');
    t.match(stderr, /mixed\.yaml \(document 1\): no matches for kind "Widget" in version "v1"/);
    t.match(stderr, /error parsing .*mixed\.yaml \(document 3\): line \d+, column \d+/);
    t.match(await ok('delete', 'pod/good', '--now'), /^pod "good" deleted from default namespace\n$/);
  });

  await t.test('get in every format', async (t) => {
    t.match(
      await ok('wait', '--for=condition=Ready', 'pod/cli', '--timeout=90s'),
      /^pod\/cli condition met\n$/,
    );
    const pod = await node.until('cli', isRunning);
    t.match(await ok('get', 'pods'), /^NAME +READY +STATUS +RESTARTS +AGE\ncli +2\/2 +Running +0 +\d+s\n$/);
    t.match(await ok('get', 'po', '-o', 'wide'), new RegExp(`\\b${pod.status?.podIP}\\b`));
    t.match(await ok('get', 'pods', '-A'), /^NAMESPACE +NAME/);
    t.equal(await ok('get', 'pods', '-o', 'name', '-l', 'app=z'), 'pod/cli\n');
    t.equal(await ok('get', 'pods', '-o', 'name', '-l', 'app!=z'), '');
    t.equal(await ok('get', 'pod/cli', '-o', 'jsonpath={.status.podIP}'), pod.status?.podIP);
    t.equal(JSON.parse(await ok('get', 'pods', '-o', 'json')).kind, 'List');
    t.equal(parse(await ok('get', 'pod', 'cli', '-o', 'yaml')).metadata.name, 'cli');
    t.match(await ok('get', 'nodes'), /Ready/);
    t.match(await ok('get', 'ns'), /default +Active/);
    t.match(await ok('get', 'events', '--field-selector', 'involvedObject.name=cli'), /Started +pod\/cli/);
    await fails(/^error: the server doesn't have a resource type "widgets"/, 'get', 'widgets');
    await fails(/allowed formats are/, 'get', 'pods', '-o', 'xml');
  });

  await t.test('describe and explain', async (t) => {
    const text = await ok('describe', 'pod', 'cli');
    for (const wanted of [
      /^Name: +cli$/m,
      /^Start-up: {2}[\d.]+ ms$/m,
      /█/,
      /Scheduled|Started/,
      /^QoS Class: +BestEffort$/m,
    ])
      t.match(text, wanted);
    t.match(await ok('describe', 'node'), /^Pods: {2}\(1 in total\)$/m);
    const script = await ok('explain', 'pod/cli');
    t.match(script, /^#!\/bin\/sh\n/);
    t.match(script, /^ip netns add cli-/m);
    await run({ argv: ['sh', '-n'], input: script });
  });

  await t.test('logs', async (t) => {
    t.match(
      (await node.podwire(['logs', 'cli'])).stderr,
      /^Defaulted container "main" out of: main, side\n$/,
    );
    await until(async () => (await ok('logs', 'cli', '-c', 'main')).split('\n').length === 3);
    const text = await ok('logs', 'cli', '-c', 'main');
    t.same(text.split('\n').sort(), ['', 'err', 'out']);
    t.match(await ok('logs', 'cli', '--all-containers', '--prefix'), /^\[pod\/cli\/main\] (out|err)$/m);
    t.equal((await ok('logs', 'cli', 'main', '--tail=1')).split('\n').length, 2);
    t.match(await ok('logs', 'cli', 'main', '--timestamps'), /^\d{4}-\d\d-\d\dT\S+ (out|err)$/m);
    await fails(/container nope is not valid for pod cli/, 'logs', 'cli', '-c', 'nope');
  });

  await t.test('exec: output, input, exit codes, a terminal', async (t) => {
    const exec = (...args: string[]) => node.podwire(['exec', 'cli', '-c', 'main', ...args]);
    t.equal((await exec('--', 'echo', 'a  b', '$HOME')).stdout, 'a  b $HOME\n', 'no shell between');
    const seven = await exec('--', 'sh', '-c', 'exit 7');
    t.same([seven.exitCode, seven.stderr], [7, 'command terminated with exit code 7\n']);
    t.not((await exec('--', 'no-such-program')).exitCode, 0);
    const input = 'x'.repeat(300_000);
    const piped = await node.podwire(['exec', '-i', 'cli', '-c', 'main', '--', 'wc', '-c'], input);
    t.equal(piped.stdout.trim(), '300000');
    t.match(await onTerminal(node, 'exec -it cli -c main -- sh -c "tty; stty size; exit 3"'), {
      code: 3,
      output: /\/dev\/(pts\/\d+|console)\r+\n\d+ \d+\r+\n/,
    });
  });

  await t.test('images', async (t) => {
    t.match(await ok('image', 'ls'), /^IMAGE +TAG +IMAGE ID +SIZE +AGE\n(.*\n)*localhost\/host/);
    await fails(/NotFound/, 'image', 'rm', 'docker.io/library/none:1');
    await fails(/./, 'image', 'import', '/does/not/exist.tar');
  });

  await t.test('completion in bash', async (t) => {
    const complete = async (line: string): Promise<string[]> => {
      const words = line.split(' ');
      const script = [
        `podwire() { ${join(repo, 'bin/podwire')} "$@"; }`,
        'source <(podwire completion bash)',
        `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}`,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is bash's
        '_podwire; printf "%s\\n" "${COMPREPLY[@]}"',
      ].join('\n');
      return (await run({ argv: ['bash', '-c', script] })).stdout.trim().split('\n');
    };
    t.same(await complete('podwire desc'), ['describe']);
    t.same(await complete(`podwire --root ${node.paths.root} get pods c`), ['cli']);
    t.same(await complete(`podwire --root ${node.paths.root} logs pod/cli -c s`), ['side']);
    t.same(await complete('podwire up --runtime r'), ['runc']);
  });

  await t.test('a watch shows the end; delete waits for it', async (t) => {
    const watch = spawn(join(repo, 'bin/podwire'), ['--root', node.paths.root, 'get', 'pods', '-w'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let seen = '';
    watch.stdout.on('data', (chunk) => (seen += chunk));
    const ended = new Promise((resolve) => watch.on('close', resolve));
    await until(() => seen.includes('Running'));
    t.equal(await ok('delete', 'pod', 'cli'), 'pod "cli" deleted from default namespace\n');
    t.equal((await node.podwire(['get', 'pods', '-o', 'name'])).stdout, '', 'it is gone when delete returns');
    t.ok(await until(() => /cli +2\/2 +Terminating/.test(seen)));
    watch.kill('SIGINT');
    t.equal(await ended, 0);
    t.match(await ok('wait', '--for=delete', 'pod/cli', '--timeout=60s'), /condition met/);
  });

  await t.test('wait gives up in time', async () => {
    await fails(/NotFound/, 'wait', '--for=condition=Ready', 'pod/none', '--timeout=1s');
  });
});

t.test('every example', async (t) => {
  const node = await startNode(t, { podCidr: '10.201.1.0/24' });
  const files = readdirSync(example('.')).filter((name) => name.endsWith('.yaml'));
  t.same([...files].sort(), Object.keys(checks).sort(), 'each example has a check here');
  const applied = await node.podwire(['apply', '-f', example('.')]);
  t.equal(applied.exitCode, 0, applied.stderr);
  t.equal(
    applied.stdout,
    files
      .sort()
      .map((name) => `pod/${name.replace('.yaml', '')} created\n`)
      .join(''),
  );
  for (const name of files) await t.test(name, (t) => checks[name]!(t, node));
  const deleted = await node.podwire(['delete', '-f', example('.'), '--timeout=90s']);
  t.equal(deleted.exitCode, 0, deleted.stderr);
});

type Check = (t: Tap, node: TestNode) => Promise<void>;
type Tap = Parameters<typeof startNode>[0];

const logOf = async (node: TestNode, ...args: string[]): Promise<string> =>
  (await node.podwire(['logs', ...args])).stdout;
const phase = (node: TestNode, name: string, wanted: string) =>
  node.until(name, (pod) => pod?.status?.phase === wanted, 90);

const checks: Readonly<Record<string, Check>> = {
  'web.yaml': async (t, node) => {
    const pod = await node.until('web', isRunning);
    await node.until('client', isRunning);
    const get = `for i in {1..600}; do exec 3<>/dev/tcp/${pod.status?.podIP}/8080 && break; sleep 0.1; done 2>/dev/null; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3`;
    const { stdout, exitCode } = await node.podwire(['exec', 'client', '--', 'bash', '-c', get]);
    t.equal(exitCode, 0);
    t.match(stdout, /^HTTP\/1\.0 200 OK\r\n[\s\S]*\r\n\r\nHello from Pod web\. It is \d\d:\d\d:\d\d\.\n$/);
    const client = await node.until('client', isRunning);
    t.match(
      await logOf(node, 'web', '-c', 'server'),
      `${client.status?.podIP} GET / HTTP/1.0`,
      'the peer sees the real source',
    );
  },
  'client.yaml': async (t, node) => {
    const pod = await node.until('client', isRunning);
    t.ok(pod.status?.podIP);
  },
  'once.yaml': async (t, node) => {
    await phase(node, 'once', 'Succeeded');
    t.equal(await logOf(node, 'once'), '1 + ... + 100 = 5050\n');
  },
  'retry.yaml': async (t, node) => {
    const pod = await phase(node, 'retry', 'Succeeded');
    t.equal(pod.status?.containerStatuses?.[0]?.restartCount, 2);
    t.equal(await logOf(node, 'retry'), 'start number 3\n');
  },
  'memory.yaml': async (t, node) => {
    await phase(node, 'memory', 'Succeeded');
    const text = await logOf(node, 'memory');
    t.match(text, /tmpfs +16M/);
    t.match(text, /^8 MiB fit$/m);
    t.match(text, /^32 MiB do not$/m);
  },
  'shared-pid.yaml': async (t, node) => {
    await phase(node, 'shared-pid', 'Succeeded');
    const text = await logOf(node, 'shared-pid', '-c', 'watcher');
    t.match(text, /^1 \S*(catatonit|sleep)/m);
    t.match(text, /^\d+ sleep 5 ?$/m);
  },
  'limits.yaml': async (t, node) => {
    const pod = await phase(node, 'limits', 'Failed');
    t.match(pod.status?.containerStatuses?.[0]?.state?.terminated, { reason: 'OOMKilled', exitCode: 137 });
    t.equal(pod.status?.qosClass, 'Burstable');
    t.match(await logOf(node, 'limits'), /^4 MiB\n8 MiB\n/);
  },
  'host-path.yaml': async (t, node) => {
    await phase(node, 'host-path', 'Succeeded');
    const [, name] = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8')) ?? [];
    t.equal(
      await logOf(node, 'host-path'),
      `The machine runs ${name}\nand its file cannot be changed from here\n`,
    );
  },
};

/** Runs the CLI on a pseudo-terminal that `script` makes. */
async function onTerminal(node: TestNode, args: string): Promise<{ code: number; output: string }> {
  const folder = join(node.paths.root, 'terminal');
  mkdirSync(folder, { recursive: true });
  const command = `${join(repo, 'bin/podwire')} --root ${node.paths.root} ${args}`;
  const { exitCode, stdout } = await run({
    argv: ['script', '-qefc', command, join(folder, 'typescript')],
    okCodes: allCodes,
  });
  return { code: exitCode, output: stdout };
}
