// Traffic between namespaces, by small Node programs: answering (TCP and UDP, both families) and asking. Assumes nothing
// but Node. A listener says whom it saw, so a test can tell whether the source address was kept.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { run } from '../../../lib/exec/exec.ts';

const node = process.execPath;
const quiet = '--disable-warning=ExperimentalWarning';

const serverCode = `
const { createServer } = require('node:net');
const { createSocket } = require('node:dgram');
const plain = (address) => address.replace(/^::ffff:/, '');
createServer((socket) => {
  let length = 0;
  socket.on('data', (data) => {
    length += data.length;
    if (data.includes('\\n')) socket.end(plain(socket.remoteAddress) + ' ' + length);
  });
  socket.on('error', () => {});
}).listen(7000, '::');
const udp = createSocket('udp6');
udp.on('message', (data, from) => udp.send(plain(from.address) + ' ' + data.length, from.port, from.address));
udp.bind(7000, '::', () => console.log('ready'));
`;

const clientCode = `
const [kind, address, size, ms] = process.argv.slice(1);
const { connect } = require('node:net');
const { createSocket } = require('node:dgram');
const done = (text) => { console.log(text); process.exit(0); };
setTimeout(() => done('timeout'), Number(ms));
if (kind === 'tcp') {
  let said = '';
  const socket = connect(7000, address, () => socket.write('x'.repeat(Number(size) - 1) + '\\n'));
  socket.on('data', (data) => { said += data; });
  socket.on('end', () => done(said));
  socket.on('error', (error) => done(error.code));
} else {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (data) => done(String(data)));
  socket.on('error', (error) => done(error.code));
  const send = () => socket.send('x'.repeat(Number(size)), 7000, address, (error) => error && done(error.code));
  send();
  setInterval(send, 250); // a datagram is lost while a neighbour is being looked for
}
`;

export interface Listener {
  close(): Promise<void>;
}

/** Answers on port 7000 in a namespace, with the address it saw and the bytes it got. */
export async function listen(netns: string): Promise<Listener> {
  const child: ChildProcess = spawn('nsenter', [`--net=/run/netns/${netns}`, node, quiet, '-e', serverCode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = () => child.kill('SIGKILL');
  process.once('exit', stop); // a test that fails does not get to its close()
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  return {
    async close() {
      const gone = once(child, 'exit');
      stop();
      await gone;
      process.off('exit', stop);
    },
  };
}

export interface Ask {
  readonly kind: 'tcp' | 'udp';
  readonly to: string;
  /** Bytes to send. */
  readonly size?: number;
  readonly ms?: number;
}

/** `<address the other side saw> <bytes it got>`, an errno, or 'timeout'. */
export async function ask(netns: string, { kind, to, size = 4, ms = 30_000 }: Ask): Promise<string> {
  const { stdout } = await run({
    argv: [
      'nsenter',
      `--net=/run/netns/${netns}`,
      node,
      quiet,
      '-e',
      clientCode,
      kind,
      to,
      `${size}`,
      `${ms}`,
    ],
    timeoutMs: ms + 30_000,
  });
  return stdout.trim();
}
