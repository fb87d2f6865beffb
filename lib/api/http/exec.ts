// exec from the client's side: a WebSocket with Kubernetes' channels, given as bytes in, bytes out, and an exit code.
// Assumes a server that speaks v5.channel.k8s.io. Loaded only when something is executed.
// Source: KEP-4006; channels 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize, 255 close.
import WebSocket from 'ws';
import type { ExecSession } from '../../exec/session.ts';
import { ApiError, type FailureStatus } from '../errors.ts';
import { openSocket } from './socket.ts';
import type { HttpTransport } from './transport.ts';

export interface RemoteExecOptions {
  command: readonly [string, ...string[]];
  container?: string | undefined;
  tty?: boolean | undefined;
  stdin?: boolean | undefined;
}

/** The far end of an exec. `exit` rejects with ApiError when it could not be run, or the connection broke. */
export type RemoteExec = ExecSession;

/** To join what runs already. */
export type RemoteAttachOptions = Omit<RemoteExecOptions, 'command'>;

export function execQuery({ command, ...options }: RemoteExecOptions): string {
  const query = new URLSearchParams();
  for (const word of command) query.append('command', word);
  return `${query}&${attachQuery(options)}`;
}

export function attachQuery({ container, tty = false, stdin = false }: RemoteAttachOptions): string {
  const query = new URLSearchParams();
  if (container) query.set('container', container);
  for (const [name, on] of Object.entries({ stdin, stdout: true, stderr: !tty, tty }))
    query.set(name, String(on));
  return query.toString();
}

export const openExec = (transport: HttpTransport, path: string): Promise<RemoteExec> =>
  openSocket(transport, path, sessionOver);

function sessionOver(socket: WebSocket): RemoteExec {
  const listeners: Record<1 | 2, (chunk: Buffer) => void> = { 1: () => {}, 2: () => {} };
  // What came before a listener was set waits, so that no byte is lost.
  const early: Record<1 | 2, Buffer[]> = { 1: [], 2: [] };
  const listening = { 1: false, 2: false };
  const send = (channel: number, payload: Buffer): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (socket.readyState === WebSocket.OPEN)
      socket.send(Buffer.concat([Buffer.of(channel), payload]), () => resolve());
    else resolve();
    return promise;
  };
  const exit = new Promise<number>((resolve, reject) => {
    socket.on('message', (data: Buffer) => {
      const channel = data[0];
      const payload = data.subarray(1);
      if (channel === 1 || channel === 2) {
        if (listening[channel]) listeners[channel](payload);
        else early[channel].push(payload);
      } else if (channel === 3) settle(payload, resolve, reject);
    });
    socket.on('close', () =>
      reject(new ApiError('ServiceUnavailable', 'the connection broke before the command ended')),
    );
  });
  exit.catch(() => {}); // whoever awaits it hears of it
  socket.on('error', () => socket.terminate());
  const listen = (channel: 1 | 2, listener: (chunk: Buffer) => void): void => {
    listeners[channel] = listener;
    listening[channel] = true;
    for (const chunk of early[channel].splice(0)) listener(chunk);
  };
  return {
    onStdout: (listener) => listen(1, listener),
    onStderr: (listener) => listen(2, listener),
    pauseOutput: () => socket.pause(),
    resumeOutput: () => socket.resume(),
    writeStdin: (chunk) => send(0, chunk),
    closeStdin: () => void send(255, Buffer.of(0)),
    resize: (columns, rows) => void send(4, Buffer.from(JSON.stringify({ Width: columns, Height: rows }))),
    kill: () => socket.terminate(),
    exit,
  };
}

function settle(payload: Buffer, resolve: (code: number) => void, reject: (error: ApiError) => void): void {
  const status = JSON.parse(payload.toString()) as FailureStatus | { status: 'Success' };
  if (status.status === 'Success') {
    resolve(0);
    return;
  }
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (code === undefined) reject(ApiError.fromStatus(status));
  else resolve(Number(code));
}
