// `podwire attach`: joins the first process of a container, with its streams and its terminal.
// Assumes a container made with stdin or tty where those are asked for; the API refuses what was not. Ends when it ends.
import type { Context } from '../context.ts';
import { podName } from '../resources.ts';
import { carrySession } from '../session.ts';
import { defaultContainer } from './exec.ts';

export interface AttachOptions {
  container?: string;
  stdin?: boolean;
  tty?: boolean;
  quiet?: boolean;
}

export async function runAttach(context: Context, pod: string, options: AttachOptions): Promise<void> {
  const stdin = options.stdin === true;
  const tty = options.tty === true && process.stdin.isTTY === true;
  if (options.tty && !tty)
    context.err('Unable to use a TTY - input is not a terminal or the right kind of file\n');
  const name = podName(pod);
  const container = options.container ?? (await defaultContainer(context, name, options));
  const client = await context.client();
  const remote = await client.attach({ namespace: context.namespace, name }, { container, stdin, tty });
  if (!options.quiet && tty) {
    context.err("If you don't see a command prompt, try pressing enter.\n");
    // A change of size makes programs draw their screen anew.
    remote.resize((process.stdout.columns ?? 80) + 1, process.stdout.rows ?? 24);
  }
  await carrySession(remote, { stdin, tty });
}
