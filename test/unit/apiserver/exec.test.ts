// exec over WebSockets: our own client, and kubectl's protocols byte by byte.
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import WebSocket from 'ws';
import { ApiError } from '../../../lib/api/errors.ts';
import type { ExecOptions } from '../../../lib/api/streams.ts';
import type { ExecSession } from '../../../lib/container/cri.ts';
import { until } from '../../until.ts';
import { manifest, noStreams, startServer, type RunningServer } from './fixtures.ts';

/** A command that repeats its input, and ends with the code it is told: `exit 3`, or when its input ends. */
class Echo implements ExecSession {
  readonly log: string[] = [];
  #stdout: (chunk: Buffer) => void = () => {};
  #stderr: (chunk: Buffer) => void = () => {};
  #end: (code: number) => void = () => {};
  readonly exit = new Promise<number>((resolve) => {
    this.#end = resolve;
  });
  onStdout(listener: (chunk: Buffer) => void): void {
    this.#stdout = listener;
    setImmediate(() => listener(Buffer.from('ready\n')));
  }
  onStderr(listener: (chunk: Buffer) => void): void {
    this.#stderr = listener;
  }
  pauseOutput(): void {}
  resumeOutput(): void {}
  async writeStdin(chunk: Buffer): Promise<void> {
    const text = chunk.toString();
    this.log.push(`stdin ${text}`);
    if (text.startsWith('exit ')) this.#end(Number(text.slice(5)));
    else if (text.startsWith('err ')) this.#stderr(Buffer.from(text.slice(4)));
    else this.#stdout(Buffer.from(`echo ${text}`));
  }
  closeStdin(): void {
    this.log.push('closed');
    this.#end(0);
  }
  resize(columns: number, rows: number): void {
    this.log.push(`resize ${columns}x${rows}`);
  }
  kill(): void {
    this.log.push('killed');
  }
}

async function start(t: Test): Promise<RunningServer & { sessions: Echo[]; asked: ExecOptions[] }> {
  const sessions: Echo[] = [];
  const asked: ExecOptions[] = [];
  const running = await startServer({
    server: {
      streams: {
        ...noStreams,
        exec: async (_pod, options) => {
          asked.push(options);
          if (options.command[0] === 'nope')
            throw new ApiError('BadRequest', 'exec: "nope": executable file not found in $PATH');
          // What a client sends meanwhile must not be lost.
          await new Promise((resolve) => setTimeout(resolve, 20));
          sessions.push(new Echo());
          return sessions.at(-1)!;
        },
      },
    },
  });
  t.teardown(() => running.close());
  await running.registry.create('pods', manifest('web'));
  return { ...running, sessions, asked };
}

t.test('our client', async (t) => {
  const { client, sessions, asked } = await start(t);
  const session = await client.exec(
    { name: 'web' },
    { command: ['sh', '-c', 'a & b=c'], stdin: true, tty: true },
  );
  let out = '';
  let err = '';
  session.onStdout((chunk) => {
    out += chunk.toString();
  });
  session.onStderr((chunk) => {
    err += chunk.toString();
  });
  session.writeStdin(Buffer.from('one'));
  session.resize(80, 24);
  session.writeStdin(Buffer.from('err two'));
  session.writeStdin(Buffer.from('exit 7'));
  t.equal(await session.exit, 7);
  t.match(out, /echo one/);
  t.equal(err, 'two');
  t.strictSame(sessions[0]?.log.slice(0, 4), ['stdin one', 'resize 80x24', 'stdin err two', 'stdin exit 7']);
  t.strictSame(asked[0], { container: 'a', command: ['sh', '-c', 'a & b=c'], tty: true, stdin: true });
});

t.test('the end of the input, and success', async (t) => {
  const { client, sessions } = await start(t);
  const session = await client.exec({ name: 'web' }, { command: ['cat'], stdin: true });
  session.closeStdin();
  t.equal(await session.exit, 0);
  t.match(sessions[0]?.log, ['closed']);
});

t.test('input is not passed on where none was asked for', async (t) => {
  const { client, sessions } = await start(t);
  const session = await client.exec({ name: 'web' }, { command: ['cat'] });
  session.writeStdin(Buffer.from('secret'));
  session.resize(1, 1);
  session.closeStdin();
  await session.exit;
  t.strictSame(
    sessions[0]?.log.filter((line) => line !== 'killed'),
    ['closed'],
  );
});

t.test('a client that goes takes its command along', async (t) => {
  const { client, sessions } = await start(t);
  const session = await client.exec({ name: 'web' }, { command: ['sleep'] });
  await new Promise<void>((resolve) => session.onStdout(() => resolve()));
  session.kill();
  await t.rejects(session.exit, { code: 'ServiceUnavailable' });
  await until(() => sessions[0]?.log.includes('killed'));
  t.strictSame(sessions[0]?.log, ['killed']);
});

t.test('what cannot run is told', async (t) => {
  const { client, registry } = await start(t);
  await registry.create('pods', manifest('done'));
  await registry.patch(
    'pods',
    { name: 'done' },
    { status: { phase: 'Succeeded' } },
    { subresource: 'status' },
  );
  const exec = async (name: string, options: object): Promise<number> =>
    (await client.exec({ name }, { command: ['ls'], ...options })).exit;
  await t.rejects(exec('nope', {}), { code: 'NotFound', message: 'pods "nope" not found' });
  await t.rejects(exec('web', { container: 'x' }), {
    code: 'BadRequest',
    message: /container x is not valid/,
  });
  await t.rejects(exec('web', { command: [] }), { code: 'BadRequest', message: /at least one command/ });
  await t.rejects(exec('done', {}), {
    code: 'BadRequest',
    message: /completed pod; current phase is Succeeded/,
  });
  await t.rejects(
    exec('web', { command: ['nope'] }),
    { code: 'BadRequest', message: /executable file not found/ },
    'after the upgrade, too',
  );
});

t.test('the bytes of both protocols', async (t) => {
  const { socket } = await start(t);
  const path = '/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=true&stdout=true';
  for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io']) {
    const client = new WebSocket(`ws://podwire${path}`, [protocol, 'other'], {
      createConnection: () => connect(socket),
    });
    const messages: Buffer[] = [];
    client.on('message', (data: Buffer) => messages.push(data));
    await new Promise((resolve) => client.once('open', resolve));
    t.equal(client.protocol, protocol);
    client.send(Buffer.from([4, ...Buffer.from('not json')]));
    client.send(Buffer.from([9, 1, 2, 3]));
    client.send(Buffer.from([]));
    client.send(Buffer.from([0, ...Buffer.from('exit 3')]));
    await new Promise((resolve) => client.once('close', resolve));
    const last = messages.at(-1)!;
    t.equal(last[0], 3);
    t.strictSame(JSON.parse(last.subarray(1).toString()), {
      metadata: {},
      status: 'Failure',
      reason: 'NonZeroExitCode',
      message: 'command terminated with non-zero exit code: exit status 3',
      details: { causes: [{ reason: 'ExitCode', message: '3' }] },
    });
  }
});

t.test('what is no such WebSocket is refused with a Status', async (t) => {
  const { socket } = await start(t);
  const refusal = (path: string, protocols: string[]): Promise<string> =>
    new Promise((resolve) => {
      const client = new WebSocket(`ws://podwire${path}`, protocols, {
        createConnection: () => connect(socket),
      });
      client.on('error', () => {});
      client.once('unexpected-response', (_request, response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(`${response.statusCode} ${JSON.parse(text).message}`));
      });
    });
  t.match(
    await refusal('/api/v1/namespaces/default/pods/web/exec?command=a', ['v1.channel.k8s.io']),
    /^400 exec speaks the subprotocols/,
  );
  t.match(await refusal('/api/v1/pods', ['v5.channel.k8s.io']), /^404 /);
  t.match(await refusal('/api/v1/namespaces/%zz/pods/web/exec?command=a', ['v5.channel.k8s.io']), /^400 /);
});
