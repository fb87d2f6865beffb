// How a verb of the command line is bound to what it does: loaded only when it is called. Pure but for that.
import type { Command } from 'commander';
import { type Context, type GlobalFlags, makeContext } from './context.ts';

export type Run<A extends unknown[]> = (context: Context, ...args: A) => void | Promise<void>;

/** Hands a verb its context, its arguments and its flags. */
export function action<A extends unknown[]>(
  load: () => Promise<Run<A>>,
): (...args: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.pop() as Command;
    const context = makeContext(command.optsWithGlobals<GlobalFlags>());
    const verb = await load();
    await verb(context, ...(given as A));
  };
}

/** Lines below a verb's help. */
export const examples = (...lines: string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
