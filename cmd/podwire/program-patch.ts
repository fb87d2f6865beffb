// The command line of `podwire patch`. Assumes kubectl's names of options.
import { type Command, Option } from 'commander';
import { action, examples } from './action.ts';
import type { Context } from './context.ts';
import type { PatchVerbOptions } from './verbs/patch.ts';

export function addPatchVerb(program: Command): void {
  program
    .command('patch')
    .description('change fields of an object')
    .argument('<type>', 'pod, node …; or pod/NAME')
    .argument('[names...]')
    .option('-p, --patch <text>', 'the patch, JSON or YAML')
    .option('--patch-file <file>', 'a file with the patch')
    .addOption(
      new Option('--type <type>', 'how it is applied')
        .choices(['strategic', 'merge', 'json'])
        .default('strategic'),
    )
    .addOption(
      new Option('--subresource <name>', 'resize: the resources of a Pod that runs').choices([
        'resize',
        'status',
      ]),
    )
    .addHelpText(
      'after',
      examples(
        `podwire patch pod web -p '{"metadata":{"labels":{"tier":"front"}}}'`,
        `podwire patch pod web --subresource resize -p '{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"1"}}}]}}'`,
      ),
    )
    .action(
      action(async () => {
        const { runPatch } = await import('./verbs/patch.ts');
        return (context: Context, type: string, names: string[], options: PatchVerbOptions) =>
          runPatch(context, [type, ...names], options);
      }),
    );
}
