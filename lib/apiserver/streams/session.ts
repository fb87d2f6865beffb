// exec and attach: what a client sends goes to the program, what the program says goes to the client, the exit code last.
// Assumes a client that is a WebSocket (session-socket.ts) or streams of SPDY (session-spdy.ts). Who does not read makes the
// program wait; a program that does not read makes the client wait. Memory: a megabyte each way a session.
// Source: k8s.io/apimachinery/pkg/util/remotecommand.
import type { ExecSession } from '../../container/cri.ts';
import { toApiError } from '../content.ts';

/** Above it the other side waits. */
export const muchWaiting = 1024 * 1024;
/** So often a client that waits is listened to all the same: otherwise nobody would notice that it has gone. */
const listenMs = 1000;

/** What brings bytes to a client and from it; several streams may share it, and then wait together. */
export interface Carrier {
  /** Bytes that the client has not read yet. */
  readonly waiting: number;
  /** Reads no more until resume(): the client waits when the connection is full. */
  pause(): void;
  resume(): void;
  readonly isPaused: boolean;
}

export interface SessionClient {
  readonly carrier: Carrier;
  /** Once; what came before is told at once. */
  listen(listener: SessionListener): void;
  /** `sent` is called when the connection has taken it, or is gone. */
  send(to: 'stdout' | 'stderr' | 'error', chunk: Buffer, sent?: () => void): void;
  /** When all that was sent has arrived. */
  close(): void;
}

export interface SessionListener {
  input(chunk: Buffer): void;
  inputEnd(): void;
  /** JSON: Width and Height. */
  resize(message: Buffer): void;
  gone(): void;
}

interface Wanted {
  readonly tty: boolean;
  readonly stdin: boolean;
}

export async function serveSession(
  client: SessionClient,
  start: () => Promise<ExecSession>,
  options: Wanted,
): Promise<void> {
  const input = new Input(client, options);
  client.listen(input);
  try {
    const session = await start();
    if (input.isGone) return session.kill();
    forward(client, session);
    input.begin(session);
    sendStatus(client, exitStatus(await session.exit));
  } catch (error) {
    sendStatus(client, toApiError(error).status);
  }
  client.close();
}

function forward(client: SessionClient, session: ExecSession): void {
  const send = (to: 'stdout' | 'stderr') => (chunk: Buffer) => {
    client.send(to, chunk, () => {
      if (client.carrier.waiting < muchWaiting / 2) session.resumeOutput();
    });
    if (client.carrier.waiting > muchWaiting) session.pauseOutput();
  };
  session.onStdout(send('stdout'));
  session.onStderr(send('stderr'));
}

/** What the client sends, to the session; what comes before the session stands waits. */
class Input implements SessionListener {
  readonly #carrier: Carrier;
  readonly #options: Wanted;
  #session: ExecSession | undefined;
  #early: Array<() => void> = [];
  /** Bytes that the program has not taken yet. */
  #waiting = 0;
  isGone = false;

  constructor({ carrier }: SessionClient, options: Wanted) {
    this.#carrier = carrier;
    this.#options = options;
  }

  begin(session: ExecSession): void {
    this.#session = session;
    for (const told of this.#early.splice(0)) told();
  }

  input(chunk: Buffer): void {
    if (this.#options.stdin && chunk.length > 0) this.#then((session) => this.#write(session, chunk));
  }

  inputEnd(): void {
    this.#then((session) => session.closeStdin());
  }

  resize(message: Buffer): void {
    const size = sizeOf(message);
    if (this.#options.tty && size) this.#then((session) => session.resize(size.columns, size.rows));
  }

  gone(): void {
    this.isGone = true;
    this.#session?.kill();
  }

  #then(act: (session: ExecSession) => void): void {
    if (this.#session) act(this.#session);
    else this.#early.push(() => act(this.#session!));
  }

  #write(session: ExecSession, chunk: Buffer): void {
    this.#waiting += chunk.length;
    void Promise.resolve(session.writeStdin(chunk)).then(() => {
      this.#waiting -= chunk.length;
      if (this.#waiting < muchWaiting / 2) this.#carrier.resume();
    });
    if (this.#waiting <= muchWaiting || this.#carrier.isPaused) return;
    this.#carrier.pause();
    setTimeout(() => this.#carrier.resume(), listenMs).unref();
  }
}

function sizeOf(message: Buffer): { columns: number; rows: number } | undefined {
  try {
    const { Width, Height } = JSON.parse(message.toString()) as { Width: unknown; Height: unknown };
    const isSize = (value: unknown): value is number =>
      Number.isInteger(value) && (value as number) > 0 && (value as number) < 65536;
    return isSize(Width) && isSize(Height) ? { columns: Width, rows: Height } : undefined;
  } catch {
    return undefined; // a malformed size changes nothing
  }
}

const sendStatus = (client: SessionClient, status: object): void =>
  client.send('error', Buffer.from(JSON.stringify(status)));

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
