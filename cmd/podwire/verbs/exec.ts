// `podwire exec`: runs a command in a container over a WebSocket, with its streams, its terminal and its exit code.
// Assumes Kubernetes' subprotocol v5.channel.k8s.io: the first byte of a message is its channel.
// Bytes pass through; what the socket cannot take yet holds standard input back.
import { WebSocket } from 'ws';
import { ApiError, type FailureStatus } from '../../../lib/api/errors.ts';
import { PodwireError } from '../../../lib/exec/errors.ts';
import type { Context } from '../context.ts';
import { ExitWith, UsageError } from '../errors.ts';
import { podName } from '../resources.ts';

export interface ExecOptions {
  container?: string;
  stdin?: boolean;
  tty?: boolean;
  quiet?: boolean;
}

/** Channel numbers. Source: k8s.io/apimachinery/pkg/util/remotecommand, websocket protocol v5. */
export const channel = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, close: 255 } as const;

export async function runExec(
  context: Context,
  args: readonly string[],
  options: ExecOptions,
): Promise<void> {
  const [pod, ...command] = args;
  if (pod === undefined)
    throw new UsageError('expected a Pod: podwire exec POD [-c CONTAINER] -- COMMAND [ARGS…]');
  if (command.length === 0)
    throw new UsageError('you must specify at least one command for the container, after --');
  const tty = options.tty === true && process.stdin.isTTY === true;
  if (options.tty && !tty)
    context.err('Unable to use a TTY - input is not a terminal or the right kind of file\n');
  const container =
    options.container ??
    (await defaultContainer(context, podName(pod), options.quiet === true ? 'quiet' : 'tell'));
  const query = new URLSearchParams({
    container,
    stdout: 'true',
    stderr: String(!tty),
    stdin: String(options.stdin === true),
    tty: String(tty),
  });
  for (const word of command) query.append('command', word);
  const path = `/api/v1/namespaces/${encodeURIComponent(context.namespace)}/pods/${encodeURIComponent(podName(pod))}/exec?${query}`;
  const socket = await connect(context.socket, path);
  const status = await session(socket, { stdin: options.stdin === true, tty });
  const code = exitCodeOf(status);
  if (code === undefined) throw ApiError.fromStatus(status);
  if (code !== 0) {
    context.err(`command terminated with exit code ${code}\n`);
    throw new ExitWith(code);
  }
}

/** The first container, told on standard error when there is a choice, as kubectl does. */
async function defaultContainer(context: Context, name: string, manner: 'quiet' | 'tell'): Promise<string> {
  const client = await context.client();
  const pod = await client.get('pods', { namespace: context.namespace, name });
  const names = pod.spec.containers.map((each) => each.name);
  if (names.length > 1 && manner === 'tell')
    context.err(`Defaulted container "${names[0]}" out of: ${names.join(', ')}\n`);
  return names[0]!;
}

interface ExecStatus extends Omit<FailureStatus, 'status' | 'reason'> {
  reason: string;
  status: 'Success' | 'Failure';
}

/** The command's exit code; undefined when the status tells of another failure. Pure. */
export function exitCodeOf(status: unknown): number | undefined {
  const { status: outcome, reason, details } = status as ExecStatus;
  if (outcome === 'Success') return 0;
  if (reason !== 'NonZeroExitCode') return undefined;
  const cause = details?.causes?.find((each) => each.reason === 'ExitCode');
  const code = Number(cause?.message);
  return Number.isInteger(code) && code !== 0 ? code : 1;
}

function connect(socketPath: string, path: string): Promise<WebSocket> {
  const socket = new WebSocket(`ws+unix:${socketPath}:${path}`, ['v5.channel.k8s.io'], {
    perMessageDeflate: false,
  });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
    socket.once('unexpected-response', (_request, response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => reject(refusal(text, response.statusCode ?? 0)));
    });
  });
}

function refusal(text: string, status: number): Error {
  try {
    const body = JSON.parse(text) as FailureStatus;
    if (body.kind === 'Status') return ApiError.fromStatus(body);
  } catch {
    // Not a Status object: shown as it is.
  }
  return new PodwireError('HTTP', `exec was refused: HTTP ${status}: ${text.trim().slice(0, 300)}`);
}

/** Carries the streams until the server closes; gives the last status. */
async function session(
  socket: WebSocket,
  how: { readonly stdin: boolean; readonly tty: boolean },
): Promise<FailureStatus> {
  const undo: Array<() => void> = [];
  if (how.tty) undo.push(rawTerminal(socket));
  if (how.stdin) undo.push(sendStdin(socket));
  try {
    return await new Promise<FailureStatus>((resolve, reject) => {
      let status: FailureStatus | undefined;
      socket.on('message', (data: Buffer) => {
        const payload = data.subarray(1);
        if (data[0] === channel.stdout) process.stdout.write(payload);
        else if (data[0] === channel.stderr) process.stderr.write(payload);
        else if (data[0] === channel.status) status = JSON.parse(payload.toString('utf8')) as FailureStatus;
      });
      socket.on('error', reject);
      socket.on('close', (code, reason) => {
        if (status) resolve(status);
        else
          reject(
            new PodwireError('EXEC_LOST', `the connection ended before the command did (${code} ${reason})`),
          );
      });
    });
  } finally {
    for (const each of undo) each();
  }
}

function rawTerminal(socket: WebSocket): () => void {
  const sendSize = (): void => {
    const size = JSON.stringify({ Width: process.stdout.columns ?? 80, Height: process.stdout.rows ?? 24 });
    socket.send(Buffer.concat([Buffer.of(channel.resize), Buffer.from(size)]));
  };
  process.stdin.setRawMode(true);
  process.stdout.on('resize', sendSize);
  sendSize();
  return () => {
    process.stdout.off('resize', sendSize);
    process.stdin.setRawMode(false);
  };
}

function sendStdin(socket: WebSocket): () => void {
  const onData = (chunk: Buffer): void => {
    process.stdin.pause();
    socket.send(Buffer.concat([Buffer.of(channel.stdin), chunk]), () => process.stdin.resume());
  };
  const onEnd = (): void => socket.send(Buffer.of(channel.close, channel.stdin));
  process.stdin.on('data', onData);
  process.stdin.once('end', onEnd);
  return () => {
    process.stdin.off('data', onData);
    process.stdin.off('end', onEnd);
    process.stdin.pause();
    // A terminal or a pipe that stays open must not keep the process alive.
    (process.stdin as NodeJS.ReadStream & { unref?: () => void }).unref?.();
  };
}
