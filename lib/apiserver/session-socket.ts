// exec and attach over a WebSocket as kubectl ≥ 1.31 speaks it: the first byte of a message is its channel.
// Assumes subprotocols v5.channel.k8s.io (255 closes a channel) or v4. Who does not read makes the program wait; a program
// that does not read makes the client wait. Memory: a megabyte each way a session.
// Source: k8s.io/apimachinery/pkg/util/remotecommand, KEP-4006.
import type { RawData, WebSocket } from 'ws';
import type { ExecSession } from '../container/cri.ts';
import { toApiError } from './content.ts';

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;
/** Above it the other side waits. */
export const muchWaiting = 1024 * 1024;
/** So often a client that waits is listened to all the same: otherwise nobody would notice that it has gone. */
const listenMs = 1000;

export async function serveSession(
  client: WebSocket,
  start: () => Promise<ExecSession>,
  options: { readonly tty: boolean; readonly stdin: boolean },
): Promise<void> {
  // What the client sends before the session stands waits here.
  let input: Input | undefined;
  let session: ExecSession | undefined;
  const early: RawData[] = [];
  client.on('message', (data: RawData) => {
    if (input) input.receive(bytesOf(data));
    else early.push(data);
  });
  let isGone = false;
  client.on('error', () => client.terminate());
  client.on('close', () => {
    isGone = true;
    session?.kill();
  });
  try {
    session = await start();
    if (isGone) return session.kill();
    forward(client, session);
    input = new Input(client, session, options);
    for (const data of early) input.receive(bytesOf(data));
    sendStatus(client, exitStatus(await session.exit));
  } catch (error) {
    sendStatus(client, toApiError(error).status);
  }
  client.close(1000);
}

function forward(client: WebSocket, session: ExecSession): void {
  const send = (to: number) => (chunk: Buffer) => {
    if (client.readyState !== client.OPEN) return;
    client.send(Buffer.concat([Buffer.of(to), chunk]), () => {
      if (client.bufferedAmount < muchWaiting / 2) session.resumeOutput();
    });
    if (client.bufferedAmount > muchWaiting) session.pauseOutput();
  };
  session.onStdout(send(channel.stdout));
  session.onStderr(send(channel.stderr));
}

/** What the client sends, to the session. */
class Input {
  readonly #client: WebSocket;
  readonly #session: ExecSession;
  readonly #options: { readonly tty: boolean; readonly stdin: boolean };
  /** Bytes that the program has not taken yet. */
  #waiting = 0;

  constructor(client: WebSocket, session: ExecSession, options: { tty: boolean; stdin: boolean }) {
    this.#client = client;
    this.#session = session;
    this.#options = options;
  }

  receive(message: Buffer): void {
    const payload = message.subarray(1);
    switch (message[0]) {
      case channel.stdin:
        if (this.#options.stdin && payload.length > 0) this.#write(payload);
        break;
      case channel.resize: {
        const size = sizeOf(payload);
        if (this.#options.tty && size) this.#session.resize(size.columns, size.rows);
        break;
      }
      case channel.close:
        if (payload[0] === channel.stdin) this.#session.closeStdin();
        break;
    }
  }

  #write(payload: Buffer): void {
    this.#waiting += payload.length;
    void Promise.resolve(this.#session.writeStdin(payload)).then(() => {
      this.#waiting -= payload.length;
      if (this.#waiting < muchWaiting / 2) this.#client.resume();
    });
    if (this.#waiting <= muchWaiting || this.#client.isPaused) return;
    this.#client.pause();
    setTimeout(() => this.#client.resume(), listenMs).unref();
  }
}

function sizeOf(payload: Buffer): { columns: number; rows: number } | undefined {
  try {
    const { Width, Height } = JSON.parse(payload.toString()) as { Width: unknown; Height: unknown };
    const isSize = (value: unknown): value is number =>
      Number.isInteger(value) && (value as number) > 0 && (value as number) < 65536;
    return isSize(Width) && isSize(Height) ? { columns: Width, rows: Height } : undefined;
  } catch {
    return undefined; // a malformed size changes nothing
  }
}

export const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);

function sendStatus(client: WebSocket, status: object): void {
  if (client.readyState === client.OPEN)
    client.send(Buffer.concat([Buffer.of(channel.error), Buffer.from(JSON.stringify(status))]));
}

/** As the kubelet tells it: kubectl takes its own exit code from the cause. */
function exitStatus(code: number): object {
  if (code === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    reason: 'NonZeroExitCode',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}
