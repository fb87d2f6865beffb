// An exec through a runtime's streaming server: SPDY, for its streams can be closed one by one (over the WebSocket of
// containerd 1.6 standard input has no end). Assumes the URL that the CRI's Exec gave: it is good for one use, soon.
// Source: Kubernetes' remotecommand protocol, v4. One TCP connection a session.
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { ExecSession, ExecSyncResult } from '../container/cri.ts';
import { ExecError, messageOf } from '../exec/errors.ts';
import { Relay } from '../exec/session.ts';
import { SpdyConnection, type SpdyStream } from '../spdy/connection.ts';
import { CriError } from './connection.ts';

const protocolName = 'v4.channel.k8s.io';
const upgradeMs = 30_000;
/** A command that is not there, or could not be run: in the shells' words. */
export const codeOfFailure = (message: string): number =>
  /executable file not found|no such file or directory/i.test(message) ? 127 : 126;

/** @throws CriError RUNTIME_FAILED when the server refuses */
export async function openRemoteExec(
  url: string,
  { tty, stdin }: { readonly tty: boolean; readonly stdin: boolean },
): Promise<ExecSession> {
  const connection = await upgrade(url, protocolName);
  // The server begins when all streams are there; their order is free.
  const open = (streamType: string): Promise<SpdyStream> => connection.open({ streamType });
  const status = open('error');
  const input = stdin ? open('stdin') : undefined;
  const output = open('stdout');
  const errors = tty ? undefined : open('stderr');
  const sizes = tty ? open('resize') : undefined;
  const stdout = new Relay();
  const stderr = new Relay();
  const result: Buffer[] = [];
  const outputs = [relay(await output, stdout), ...(errors ? [relay(await errors, stderr)] : [])];
  const ended = collect(await status, result);
  const closed = new Promise<void>((resolve) => {
    connection.onClose = resolve;
  });
  const exit = (async (): Promise<number> => {
    await Promise.race([ended, closed]);
    const { code, message } = exitOf(Buffer.concat(result).toString());
    if (message !== '') stderr.push(Buffer.from(`${message}\n`));
    await Promise.race([Promise.all(outputs), closed]);
    connection.close();
    return code;
  })();
  const writable = await input;
  const resizable = await sizes;
  return {
    onStdout: (listener) => stdout.add(listener),
    onStderr: (listener) => stderr.add(listener),
    pauseOutput: () => connection.pause(),
    resumeOutput: () => connection.resume(),
    writeStdin: async (chunk) => writable?.write(chunk),
    closeStdin: () => (tty ? writable?.write(Buffer.from('\x04')) : writable?.end()),
    resize: (columns, rows) => {
      if (columns > 0 && rows > 0)
        resizable?.write(
          Buffer.from(JSON.stringify({ Width: Math.floor(columns), Height: Math.floor(rows) })),
        );
    },
    // The server ends what runs when nobody listens any more.
    kill: () => connection.close(),
    exit,
  };
}

export function upgrade(url: string, subprotocol: string): Promise<SpdyConnection> {
  const { protocol } = new URL(url);
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown): void =>
      reject(new CriError('RUNTIME_FAILED', `the runtime's streaming server: ${why}`, { cause }));
    const options = {
      method: 'POST',
      headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': subprotocol },
      timeout: upgradeMs,
      // It listens on this machine only, with a certificate of its own making.
      rejectUnauthorized: false,
      agent: false as const,
    };
    const request = protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
    request.on('upgrade', (_response, socket: Duplex, head) => {
      (socket as Duplex & { setTimeout?(ms: number): void }).setTimeout?.(0);
      resolve(new SpdyConnection(socket, { role: 'client', head }));
    });
    request.on('response', (response) => {
      response.resume();
      fail(`${response.statusCode} ${response.statusMessage}`);
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${upgradeMs / 1000} s`)));
    request.on('error', (error) => fail(messageOf(error), error));
    request.end();
  });
}

function collect(stream: SpdyStream, into: Buffer[]): Promise<void> {
  return new Promise((resolve) => {
    stream.listen({ data: (chunk) => into.push(Buffer.from(chunk)), end: resolve });
  });
}

/** The exit code in a metav1.Status, and what is to be told where there is none. Pure. */
export function exitOf(text: string): { code: number; message: string } {
  let status: { status?: string; reason?: string; message?: string; details?: { causes?: Cause[] } };
  try {
    status = JSON.parse(text) as typeof status;
  } catch {
    return { code: 137, message: text }; // the connection broke: the container, or the runtime, has ended
  }
  if (status.status === 'Success') return { code: 0, message: '' };
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (status.reason === 'NonZeroExitCode' && code !== undefined) return { code: Number(code), message: '' };
  const message = status.message ?? text;
  return { code: codeOfFailure(message), message };
}

interface Cause {
  readonly reason?: string;
  readonly message?: string;
}

/** Resolves at the stream's end. */
function relay(stream: SpdyStream, into: Relay): Promise<void> {
  return new Promise((resolve) => {
    // What waits for a listener must not hold the whole read.
    stream.listen({ data: (chunk) => into.push(Buffer.from(chunk)), end: resolve });
  });
}

/** The runtime's own wrapping is of no use to who wrote the Pod. */
export const readable = (text: string): string => text.replace(/^failed to create containerd task: /, '');

/** A command that cannot be run is a result, as it is in a shell. @throws what else it may have been */
export function execFailure(error: unknown, argv: readonly string[]): ExecSyncResult {
  if (!(error instanceof CriError)) throw error;
  const { code, message } = error;
  if (code === 'RUNTIME_TIMEOUT')
    throw new ExecError('EXEC_TIMEOUT', `${argv[0]}: not over in time`, { argv, cause: error });
  if (code === 'RUNTIME_CANCELLED')
    throw new ExecError('EXEC_ABORTED', `${argv[0]}: given up`, { argv, cause: error });
  if (/OCI runtime exec failed|failed to start exec/.test(message))
    return { exitCode: codeOfFailure(message), output: `${readable(message)}\n` };
  throw error;
}
