// The command lines of `podwire node`, and of kubectl's own verbs for the same. Assumes verbs/node.ts; defaults stand here.
import { type Command, Option } from 'commander';
import { action, examples } from './action.ts';
import type { DrainFlags } from './verbs/node.ts';

const load = () => import('./verbs/node.ts');

export function addNodesVerbs(program: Command): void {
  const node = program
    .command('node')
    .description('the nodes of the cluster: cordon, uncordon, drain, remove');
  for (const [parent, prefix] of [
    [node, 'podwire node'],
    [program, 'podwire'],
  ] as const) {
    addCordon(parent, prefix);
    addDrain(parent, prefix);
  }
  node
    .command('remove')
    .description('forget a node that is gone for good: its subnet is free again')
    .argument('<names...>')
    .option('--force', 'also one that is Ready')
    .addHelpText('after', examples('podwire node remove two'))
    .action(action(async () => (await load()).runNodeRemove));
}

function addCordon(parent: Command, prefix: string): void {
  parent
    .command('cordon')
    .description('let no new Pods onto a node')
    .argument('<names...>')
    .addHelpText('after', examples(`${prefix} cordon two`))
    .action(
      action(async () => {
        const { runCordon } = await load();
        return (context, names: string[]) => runCordon(context, names, 'cordon');
      }),
    );
  parent
    .command('uncordon')
    .description('let new Pods onto a node again')
    .argument('<names...>')
    .action(
      action(async () => {
        const { runCordon } = await load();
        return (context, names: string[]) => runCordon(context, names, 'uncordon');
      }),
    );
}

function addDrain(parent: Command, prefix: string): void {
  parent
    .command('drain')
    .description('cordon a node and ask its Pods to leave; those of files stay')
    .argument('<names...>')
    .addOption(new Option('--grace-period <seconds>', "seconds to end in (default: each Pod's own)"))
    .option('--timeout <duration>', 'how long it may take (default: 0s, without limit)')
    .option('--force', 'also Pods that nothing makes anew elsewhere')
    .option('--ignore-daemonsets', 'leave the Pods of DaemonSets')
    .option('--delete-emptydir-data', 'also Pods with an emptyDir: what is in it is lost')
    .addHelpText('after', examples(`${prefix} drain two --force --timeout 2m`))
    .action(
      action(async () => {
        const { runDrain } = await load();
        return (context, names: string[], flags: DrainFlags) => runDrain(context, names, flags);
      }),
    );
}
