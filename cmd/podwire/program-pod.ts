// The verbs that reach into a Pod: logs, exec, attach, port-forward, explain.
// Assumes argv went through normalizeArgv.
import { type Command, Option } from 'commander';
import { action, examples } from './action.ts';
import type { Context } from './context.ts';

const container = new Option('-c, --container <name>', 'the container (default: the first one)');
const selector = new Option(
  '-l, --selector <labels>',
  'only objects with these labels, e.g. app=web,tier!=db',
);
const words = (first: string | undefined, rest: readonly string[]): string[] =>
  first === undefined ? [] : [first, ...rest];

export function addPodVerbs(program: Command): void {
  program.commandsGroup('Inside a Pod:');
  program
    .command('logs')
    .description('what a container wrote')
    .argument('[pod]', 'the Pod: NAME or pod/NAME')
    .argument('[container]', 'the container, as with -c')
    .addOption(container)
    .option('-f, --follow', 'go on with what comes')
    .option('-p, --previous', 'of the container before the last restart')
    .option('--tail <lines>', 'only the last lines')
    .option('--since <duration>', 'only what is younger, e.g. 5m')
    .option('--since-time <time>', 'only what is younger than this RFC 3339 time')
    .option('--limit-bytes <bytes>', 'stop after so many bytes')
    .option('--timestamps', 'with the time before each line')
    .option('--all-containers', 'of every container')
    .option('--prefix', 'with pod and container before each line')
    .addOption(selector)
    .addHelpText(
      'after',
      examples(
        'podwire logs web',
        'podwire logs -f web -c writer --tail=20',
        'podwire logs web --all-containers --prefix',
      ),
    )
    .action(
      action(async () => {
        const { runLogs } = await import('./verbs/logs.ts');
        return (context: Context, pod: string | undefined, name: string | undefined, options: object) =>
          runLogs(
            context,
            [pod, name].filter((each) => each !== undefined),
            options,
          );
      }),
    );
  program
    .command('exec')
    .description('run a command in a container')
    .usage('POD [flags] -- COMMAND [ARGS...]')
    .argument('[pod]', 'the Pod: NAME or pod/NAME')
    .argument('[command...]', 'after --')
    .addOption(container)
    .option('-i, --stdin', 'pass standard input on')
    .option('-t, --tty', 'with a terminal')
    .option('-q, --quiet', 'only what the command writes')
    .addHelpText('after', examples('podwire exec web -- date', 'podwire exec -it web -c writer -- sh'))
    .action(
      action(async () => {
        const { runExec } = await import('./verbs/exec.ts');
        return (context: Context, pod: string | undefined, command: string[], options: object) =>
          runExec(context, words(pod, command), options);
      }),
    );
  program
    .command('attach')
    .description("join a container's first process: see what it writes, and write to it")
    .argument('<pod>', 'the Pod: NAME or pod/NAME')
    .addOption(container)
    .option('-i, --stdin', 'pass standard input on')
    .option('-t, --tty', 'with a terminal')
    .option('-q, --quiet', 'only what the container writes')
    .addHelpText('after', examples('podwire attach web', 'podwire attach -it shell -c main'))
    .action(action(async () => (await import('./verbs/attach.ts')).runAttach));
  program
    .command('debug')
    .description('put a container with tools into a Pod that runs, and join it')
    .usage('POD --image=IMAGE [flags] [-- COMMAND [ARGS...]]')
    .argument('[pod]', 'the Pod: NAME or pod/NAME')
    .argument('[command...]', 'after --')
    .option('--image <ref>', 'the image of the new container')
    .option('--target <container>', 'see the processes of this container')
    .option('-c, --container <name>', "the new container's name (default: debugger-…)")
    .option('-i, --stdin', 'with standard input, and join it')
    .option('-t, --tty', 'with a terminal')
    .option('--attach', 'join it (default: with -i)')
    .option('-q, --quiet', 'only what the container writes')
    .addHelpText(
      'after',
      examples(
        'podwire debug -it web --image=localhost/host --target=nginx -- sh',
        'podwire debug web --image=busybox -- ps',
      ),
    )
    .action(
      action(async () => {
        const { runDebug } = await import('./verbs/debug.ts');
        return (context: Context, pod: string | undefined, command: string[], options: object) =>
          runDebug(context, words(pod, command), options);
      }),
    );
  program
    .command('port-forward')
    .description("make ports of a Pod's localhost ports of this machine")
    .argument('<pod>', 'the Pod: NAME or pod/NAME')
    .argument('<ports...>', 'LOCAL:REMOTE, or PORT for both, or :REMOTE for any local port')
    .option('--address <addresses>', 'where to listen, with commas between (default: localhost)')
    .addHelpText(
      'after',
      examples('podwire port-forward pod/web 8080:80', 'podwire port-forward web :80 --address 0.0.0.0'),
    )
    .action(action(async () => (await import('./verbs/port-forward.ts')).runPortForward));
  program
    .command('explain')
    .description("the ip and nft commands that built a Pod's network, runnable as a script")
    .argument('<pod>', 'pod/NAME')
    .addHelpText('after', examples('podwire explain pod/web', 'podwire explain pod/web > web-network.sh'))
    .action(action(async () => (await import('./verbs/explain.ts')).runExplain));
}
