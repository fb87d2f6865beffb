// Reaching into Pods with the real daemon: attach, port-forward, exec's exit codes and sizes.
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { openSession } from '../../lib/exec/session.ts';
import { until } from '../until.ts';
import { isRunning, listen, sleep, startNode } from './harness.ts';

if (process.getuid?.() !== 0) t.bailout('needs root');
t.setTimeout(400_000);

const server = `
const { createServer } = require('node:net');
createServer({ allowHalfOpen: true }, (socket) => {
  let text = '';
  socket.on('data', (chunk) => (text += chunk));
  socket.on('end', () => socket.end('you said ' + text));
}).listen(7070, '127.0.0.1');
setTimeout(() => {}, 1e6);`;

t.test('reach', async (t) => {
  const node = await startNode(t);
  const host = { image: 'localhost/host' };
  const spec = (...containers: object[]): object => ({
    terminationGracePeriodSeconds: 0,
    containers: containers.map((one) => ({ ...host, ...one })),
  });
  const pod = (name: string, ...containers: object[]): object => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: spec(...containers),
  });
  const cat = {
    name: 'cat',
    stdin: true,
    command: ['sh', '-c', 'while read l; do echo "got $l"; done; echo end; sleep 1000'],
  };
  await node.apply(pod('in', cat, { ...cat, name: 'once', stdinOnce: true }));
  await node.apply(pod('tty', { name: 'sh', stdin: true, tty: true, command: ['sh'] }));
  await node.apply(pod('net', { name: 'net', command: [process.execPath, '-e', server] }));
  for (const name of ['in', 'tty', 'net']) await node.until(name, isRunning);

  t.test('attach: input reaches the first process, also of the next who attaches', async (t) => {
    for (const word of ['one', 'two']) {
      const session = await node.client.attach({ name: 'in' }, { container: 'cat', stdin: true });
      const heard = listen(session);
      await session.writeStdin(Buffer.from(`${word}\n`));
      await heard.until(new RegExp(`got ${word}\n`));
      session.closeStdin();
      session.kill();
    }
    await sleep(200);
    t.notMatch((await node.podwire(['logs', 'in', '-c', 'cat'])).stdout, /end/, 'its input stays open');
  });

  t.test('attach: with stdinOnce the input ends with the first who leaves', async () => {
    const session = await node.client.attach({ name: 'in' }, { container: 'once', stdin: true });
    const heard = listen(session);
    await session.writeStdin(Buffer.from('x\n'));
    session.closeStdin();
    await heard.until(/got x\nend\n/);
    session.kill();
  });

  t.test('attach: a prompt, a size, and the end with the container', async (t) => {
    const session = await node.client.attach({ name: 'tty' }, { stdin: true, tty: true });
    const heard = listen(session);
    session.resize(91, 33); // it goes another way than the input, and may come later
    const isResized = async () => {
      await session.writeStdin(Buffer.from('stty size\n'));
      return /33 91\r\n/.test(heard.text);
    };
    t.ok(await until(isResized));
    await session.writeStdin(Buffer.from('printf "no newline>"\n'));
    await heard.until(/no newline>[^"]*$/);
    await session.writeStdin(Buffer.from('exit 3\n'));
    t.equal(await session.exit, 0);
  });

  t.test('attach: what cannot be joined is refused', async (t) => {
    const refused = async (name: string, options: object): Promise<number> =>
      (await node.client.attach({ name }, options)).exit;
    await t.rejects(refused('net', { stdin: true }), { message: /stdin: true/ });
    await t.rejects(refused('in', { container: 'cat', tty: true }), { message: /tty: true/ });
  });

  t.test('port-forward, by the command and back', async (t) => {
    const argv = ['bin/podwire', '--root', node.paths.root, 'port-forward', 'pod/net', ':7070'] as const;
    const forward = await openSession({ argv, tty: false, stdin: false });
    const heard = listen(forward);
    await heard.until(/Forwarding from 127.0.0.1:\d+ -> 7070/);
    const port = Number(/127.0.0.1:(\d+)/.exec(heard.text)![1]);
    const talk = async (): Promise<string> => {
      const socket = connect(port, '127.0.0.1');
      socket.end('hello');
      let text = '';
      for await (const chunk of socket) text += chunk;
      return text;
    };
    t.same(await Promise.all([talk(), talk(), talk()]), Array(3).fill('you said hello'));
    forward.kill();
    await forward.exit;
    const refused = await node.client.portForward({ name: 'net' }, 9);
    await t.rejects(once(refused, 'end'), { message: /failed to connect to localhost:9/ });
    const { exitCode, stderr } = await node.podwire(['port-forward', 'net', '80:x']);
    t.equal(exitCode, 1, stderr);
  });

  t.test('debug: an ephemeral container sees the processes of its target, once', async (t) => {
    const debug = ['debug', 'net', '--image=localhost/host', '--target=net', '-c', 'look', '--attach', '--'];
    const { stdout, stderr, exitCode } = await node.podwire([...debug, 'cat', '/proc/1/cmdline']);
    t.equal(exitCode, 0, stderr);
    t.match(stdout, /createServer/, "process 1 is the target's");
    const { spec, status, metadata } = await node.until(
      'net',
      (pod) => pod?.status?.ephemeralContainerStatuses?.[0]?.state?.terminated,
    );
    t.match(spec.ephemeralContainers, [
      { name: 'look', targetContainerName: 'net', terminationMessagePolicy: 'File' },
    ]);
    t.match(status?.ephemeralContainerStatuses, [{ name: 'look', ready: false, restartCount: 0 }]);
    t.ok(
      isRunning(await node.client.get('pods', { namespace: 'default', name: 'net' })),
      'the Pod is as it was',
    );
    const key = { namespace: 'default', name: 'net' };
    const change = (one: object, subresource?: 'ephemeralcontainers') =>
      node.client.patch(
        'pods',
        key,
        { spec: { ephemeralContainers: [one] } },
        { type: 'strategic', ...(subresource ? { subresource } : {}) },
      );
    const other = { name: 'other', image: 'localhost/host' };
    await t.rejects(change(other), { code: 'Invalid' }, 'not by an ordinary update');
    const faults = [
      { name: 'look', image: 'other' },
      { ...other, targetContainerName: 'absent' },
      { ...other, livenessProbe: { exec: { command: ['x'] } } },
      { ...other, name: 'net' },
    ];
    for (const fault of faults)
      await t.rejects(change(fault, 'ephemeralcontainers'), { code: 'Invalid' }, JSON.stringify(fault));
    t.equal(metadata.generation, 2, 'a change of the spec counts');
    const born = pod('born', { name: 'x' }) as { spec: object };
    await t.rejects(node.apply({ ...born, spec: { ...born.spec, ephemeralContainers: [other] } }), {
      message: /cannot be set on create/,
    });
  });

  t.test('exec: exit codes as a shell has them', async (t) => {
    const codes = { 'sh -c exit\\ 5': 5, nosuchprogram: 127, '/etc/hostname': 126, '/nosuch/path': 127 };
    for (const [command, want] of Object.entries(codes)) {
      const argv = command.match(/(?:\\ |[^ ])+/g)!.map((word) => word.replaceAll('\\ ', ' '));
      const { exitCode, stderr } = await node.podwire(['exec', 'net', '--', ...argv]);
      t.equal(exitCode, want, `${command}: ${stderr}`);
    }
  });

  t.test('exec: a program that does not read makes the client wait', async (t) => {
    const session = await node.client.exec(
      { name: 'net' },
      { command: ['sh', '-c', 'sleep 1; wc -c'], stdin: true },
    );
    const heard = listen(session);
    for (let sent = 0; sent < 64; sent++) await session.writeStdin(Buffer.alloc(256 * 1024));
    session.closeStdin();
    t.equal(await session.exit, 0);
    t.equal(Number(heard.text), 64 * 256 * 1024);
  });
});
