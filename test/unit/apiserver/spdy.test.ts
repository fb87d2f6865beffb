// exec and port-forward over SPDY: as kubectl before 1.31 speaks it, and for ports through a WebSocket as later ones do.
import { once } from 'node:events';
import { connect } from 'node:net';
import { request } from 'node:http';
import { type Duplex, PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import WebSocket, { createWebSocketStream } from 'ws';
import type { PodStreams } from '../../../lib/api/streams.ts';
import type { ExecSession } from '../../../lib/container/cri.ts';
import { SpdyConnection, type SpdyStream } from '../../../lib/spdy/connection.ts';
import { manifest, noStreams, startServer } from './fixtures.ts';

/** Repeats its input; with its end it ends, with 7. */
function echo(log: string[]): ExecSession {
  const { promise: exit, resolve } = Promise.withResolvers<number>();
  let say: (chunk: Buffer) => void = () => {};
  return {
    onStdout: (listener) => {
      say = listener;
    },
    onStderr: () => {},
    pauseOutput: () => {},
    resumeOutput: () => {},
    writeStdin: async (chunk) => say(chunk),
    closeStdin: () => resolve(7),
    resize: (columns, rows) => void log.push(`${columns}x${rows}`),
    kill: () => void log.push('killed'),
    exit,
  };
}

async function start(t: Test): Promise<{ socket: string; log: string[] }> {
  const log: string[] = [];
  const streams: PodStreams = {
    ...noStreams,
    exec: async (_pod, { command }) => {
      if (command[0] === 'nope') throw new Error('no such command');
      return echo(log);
    },
    portForward: async (_pod, port) => {
      if (port === 81) throw new Error('nobody listens on 81');
      return new PassThrough();
    },
  };
  const running = await startServer({ server: { streams } });
  t.teardown(() => running.close());
  await running.registry.create('pods', manifest('web'));
  return { socket: running.socket, log };
}

const pod = '/api/v1/namespaces/default/pods/web';

async function upgrade(socketPath: string, path: string, protocol: string): Promise<SpdyConnection> {
  const call = request({
    ...{ socketPath, path, method: 'POST' },
    headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': ['other', protocol] },
  }).end();
  const [answer, socket, head] = (await once(call, 'upgrade')) as [
    { headers: Record<string, string> },
    Duplex,
    Buffer,
  ];
  t.equal(answer.headers['x-stream-protocol-version'], protocol);
  return new SpdyConnection(socket, { role: 'client', head });
}

/** All that comes until its end. */
function all(stream: SpdyStream): Promise<string> {
  let text = '';
  return new Promise((resolve) =>
    stream.listen({
      data: (chunk) => {
        text += chunk.toString();
      },
      end: () => resolve(text),
    }),
  );
}

t.test('exec: each stream, a size, the end of the input, the exit code', async (t) => {
  const { socket, log } = await start(t);
  const path = `${pod}/exec?command=cat&stdin=true&stdout=true&stderr=true&tty=true`;
  const connection = await upgrade(socket, path, 'v4.channel.k8s.io');
  const open = (streamType: string): Promise<SpdyStream> => connection.open({ streamType });
  const [error, stdin, stdout, resize] = await Promise.all(['error', 'stdin', 'stdout', 'resize'].map(open));
  const [status, output] = [all(error!), all(stdout!)];
  resize!.write(Buffer.from('{"Width":100,"Height":30}'));
  stdin!.write(Buffer.from('hello'));
  stdin!.end();
  t.equal(await output, 'hello');
  t.match(JSON.parse(await status), {
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: '7' }] },
  });
  t.same(log[0], '100x30');
});

t.test(
  'a client that goes takes its command along; before all its streams are there it starts none',
  async (t) => {
    const { socket, log } = await start(t);
    const path = `${pod}/exec?command=cat&stdout=true`;
    const early = await upgrade(socket, path, 'v4.channel.k8s.io');
    await early.open({ streamType: 'error' });
    early.close();
    const connection = await upgrade(socket, path, 'v4.channel.k8s.io');
    await connection.open({ streamType: 'error' });
    const stdout = await connection.open({ streamType: 'stdout' });
    stdout.listen({ data: () => {}, end: () => {} });
    await new Promise((resolve) => setTimeout(resolve, 50));
    connection.close();
    for (const end = Date.now() + 30_000; log.length === 0 && Date.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 10));
    t.same(log, ['killed']);
  },
);

t.test('a command that cannot be started is told on the error stream', async (t) => {
  const { socket } = await start(t);
  const connection = await upgrade(socket, `${pod}/exec?command=nope&stdout=true`, 'v4.channel.k8s.io');
  const error = await connection.open({ streamType: 'error' });
  await connection.open({ streamType: 'stdout' });
  t.match(JSON.parse(await all(error)), { status: 'Failure', message: /no such command/ });
});

for (const way of ['SPDY', 'SPDY in a WebSocket'])
  t.test(`ports by ${way}`, async (t) => {
    const { socket } = await start(t);
    const connection = await (way === 'SPDY'
      ? upgrade(socket, `${pod}/portforward`, 'portforward.k8s.io')
      : tunnel(t, socket));
    t.teardown(() => connection.close());
    const port = async (number: number, requestID: string) => {
      const headers = { port: `${number}`, requestID };
      const errors = await connection.open({ streamType: 'error', ...headers });
      errors.end();
      return { data: await connection.open({ streamType: 'data', ...headers }), errors };
    };
    const [one, two, refused] = await Promise.all([port(80, '0'), port(80, '1'), port(81, '2')]);
    const [first, second] = [all(one.data), all(two.data)];
    const large = 'x'.repeat(3_000_000);
    one.data.write(Buffer.from(large));
    two.data.write(Buffer.from('two'));
    one.data.end();
    two.data.end();
    t.equal((await first) === large, true, 'three megabytes there and back');
    t.equal(await second, 'two', 'and another connection beside');
    t.equal(await all(one.errors), '', 'no error is an end without a word');
    t.equal(await all(refused.errors), 'nobody listens on 81');
    const bad = await connection.open({ streamType: 'data', port: '0', requestID: '3' });
    t.equal(await all(bad), '', 'what is no port is reset');
  });

/** The protocol's name has a slash: `ws` neither asks for one nor takes it, so both are done beside it. */
async function tunnel(t: Test, socketPath: string): Promise<SpdyConnection> {
  const protocol = 'SPDY/3.1+portforward.k8s.io';
  let answered = '';
  const client = new WebSocket(`ws://podwire${pod}/portforward`, {
    headers: { 'Sec-WebSocket-Protocol': protocol },
    createConnection: () => {
      const socket = connect(socketPath);
      const push = socket.push.bind(socket);
      socket.push = (chunk: Buffer | null) => {
        if (answered !== '' || chunk === null) return push(chunk);
        const head = chunk
          .toString('latin1')
          .replace(/Sec-WebSocket-Protocol: (.*)\r\n/, (_, name: string) => {
            answered = name;
            return '';
          });
        return push(Buffer.from(head, 'latin1'));
      };
      return socket;
    },
  });
  await once(client, 'open');
  t.equal(answered, protocol);
  return new SpdyConnection(createWebSocketStream(client), { role: 'client' });
}

t.test('another protocol is refused with a Status', async (t) => {
  const { socket: socketPath } = await start(t);
  for (const { verb, headers } of [
    {
      verb: 'exec?command=a',
      headers: { Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'channel.k8s.io' },
    },
    { verb: 'exec?command=a', headers: { Upgrade: 'SPDY/3.1' } },
    { verb: 'exec?command=a', headers: { Upgrade: 'h2c' } },
    {
      verb: 'portforward',
      headers: { Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io' },
    },
  ]) {
    const path = `${pod}/${verb}`;
    const call = request({
      socketPath,
      path,
      method: 'POST',
      headers: { Connection: 'Upgrade', ...headers },
    });
    call.end();
    const [answer] = (await once(call, 'response')) as [{ statusCode: number; resume(): void }];
    answer.resume();
    t.equal(answer.statusCode, 400, JSON.stringify(headers));
  }
});
