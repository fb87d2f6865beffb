// `podwire exec`: runs a command in a container, with its streams, its terminal and its exit code.
// Assumes lib/api/http-exec.ts for the protocol. Bytes pass through as they come.
import type { RemoteExec } from '../../../lib/api/http-exec.ts';
import type { Context } from '../context.ts';
import { ExitWith, UsageError } from '../errors.ts';
import { podName } from '../resources.ts';

export interface ExecOptions {
  container?: string;
  stdin?: boolean;
  tty?: boolean;
  quiet?: boolean;
}

export async function runExec(
  context: Context,
  args: readonly string[],
  options: ExecOptions,
): Promise<void> {
  const [pod, program, ...rest] = args;
  if (pod === undefined)
    throw new UsageError('expected a Pod: podwire exec POD [-c CONTAINER] -- COMMAND [ARGS…]');
  if (program === undefined)
    throw new UsageError('you must specify at least one command for the container, after --');
  const stdin = options.stdin === true;
  const tty = options.tty === true && process.stdin.isTTY === true;
  if (options.tty && !tty)
    context.err('Unable to use a TTY - input is not a terminal or the right kind of file\n');
  const container = options.container ?? (await defaultContainer(context, podName(pod), options));
  const client = await context.client();
  const key = { namespace: context.namespace, name: podName(pod) };
  const code = await session(await client.exec(key, { command: [program, ...rest], container, stdin, tty }), {
    stdin,
    tty,
  });
  if (code === 0) return;
  if (!options.quiet) context.err(`command terminated with exit code ${code}\n`);
  throw new ExitWith(code);
}

/** The first container, told on standard error when there is a choice, as kubectl does. */
async function defaultContainer(context: Context, name: string, options: ExecOptions): Promise<string> {
  const client = await context.client();
  const pod = await client.get('pods', { namespace: context.namespace, name });
  const names = pod.spec.containers.map((each) => each.name);
  if (names.length > 1 && !options.quiet)
    context.err(`Defaulted container "${names[0]}" out of: ${names.join(', ')}\n`);
  return names[0]!;
}

/** Carries the streams until the command ends; gives its exit code. */
async function session(
  remote: RemoteExec,
  how: { readonly stdin: boolean; readonly tty: boolean },
): Promise<number> {
  const undo: Array<() => void> = [];
  remote.onStdout((chunk) => process.stdout.write(chunk));
  remote.onStderr((chunk) => process.stderr.write(chunk));
  if (how.tty) undo.push(rawTerminal(remote));
  if (how.stdin) undo.push(sendStdin(remote));
  try {
    return await remote.exit;
  } finally {
    for (const each of undo) each();
  }
}

function rawTerminal(remote: RemoteExec): () => void {
  const sendSize = (): void => remote.resize(process.stdout.columns ?? 80, process.stdout.rows ?? 24);
  process.stdin.setRawMode(true);
  process.stdout.on('resize', sendSize);
  sendSize();
  return () => {
    process.stdout.off('resize', sendSize);
    process.stdin.setRawMode(false);
  };
}

function sendStdin(remote: RemoteExec): () => void {
  const onData = async (chunk: Buffer): Promise<void> => {
    process.stdin.pause(); // until there is room for more on the way
    await remote.writeStdin(chunk);
    process.stdin.resume();
  };
  const onEnd = (): void => remote.closeStdin();
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
