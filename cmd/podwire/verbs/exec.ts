// `podwire exec`: runs a command in a container, with its streams, its terminal and its exit code.
// Assumes lib/api/http/exec.ts for the protocol. Bytes pass through as they come.
import type { Context } from '../context.ts';
import { defaultContainerOf } from '../default-container.ts';
import { ExitWith, UsageError } from '../errors.ts';
import { podName } from '../resources.ts';
import { carrySession } from '../session.ts';

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
  const code = await carrySession(
    await client.exec(key, { command: [program, ...rest], container, stdin, tty }),
    {
      stdin,
      tty,
    },
  );
  if (code === 0) return;
  if (!options.quiet) context.err(`command terminated with exit code ${code}\n`);
  throw new ExitWith(code);
}

/** Told on standard error when there is a choice, as kubectl does. */
export async function defaultContainer(
  context: Context,
  name: string,
  options: { readonly quiet?: boolean },
): Promise<string> {
  const client = await context.client();
  const chosen = defaultContainerOf(await client.get('pods', { namespace: context.namespace, name }));
  if (chosen.told !== undefined && !options.quiet) context.err(`${chosen.told}\n`);
  return chosen.name;
}
