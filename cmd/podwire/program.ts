// The command line of podwire: verbs, flags, help. What a verb does is loaded only when it is called.
// Assumes argv went through normalizeArgv. Building the tree costs 3 ms.
import { Command, Option } from 'commander';
import { addLabVerbs, addNetworkVerbs } from './program-cluster.ts';
import { addPatchVerb } from './program-patch.ts';
import { addNodesVerbs } from './program-node.ts';
import { addPodVerbs } from './program-pod.ts';
import { addJoinVerbs, addNodeFlags } from './program-join.ts';
import { action, examples, type Run } from './action.ts';
import type { Context } from './context.ts';
import type { DaemonFlags } from './daemon.ts';

const collect = (value: string, before: string[] = []): string[] => [...before, value];
const files = new Option(
  '-f, --filename <file>',
  'file, folder, or - for standard input; may be repeated',
).argParser(collect);
const recursive = new Option('-R, --recursive', 'look into folders below a folder given with -f');
const selector = new Option(
  '-l, --selector <labels>',
  'only objects with these labels, e.g. app=web,tier!=db',
);
const fieldSelector = new Option(
  '--field-selector <fields>',
  'only objects with these fields, e.g. status.phase=Running',
);
const output = (choices: string): Option => new Option('-o, --output <format>', choices);

export function buildProgram(): Command {
  const program = new Command('podwire')
    .description('Kubernetes Pods on plain Linux. Talks to podwired, the daemon of this machine.')
    .option('-n, --namespace <name>', 'namespace (default: default)')
    .option('--root <dir>', "the node's root folder, if podwired was started with --root")
    .option('--socket <path>', "podwired's socket (default: /run/podwire/podwired.sock)")
    .usage('VERB [flags]')
    .addHelpCommand(
      new Command('help').argument('[verb]').description('tell about a verb').helpGroup('Other:'),
    )
    .configureHelp({ sortOptions: true, showGlobalOptions: true })
    .showHelpAfterError('(see: podwire VERB --help)')
    .addHelpText('after', firstSteps);
  addNodeVerbs(program);
  addJoinVerbs(program);
  addObjectVerbs(program);
  addPodVerbs(program);
  addImageVerbs(program);
  program.commandsGroup('Several machines:');
  addNodesVerbs(program);
  addNetworkVerbs(program);
  addLabVerbs(program);
  addOtherVerbs(program);
  return program;
}

const firstSteps = `
First steps:
  podwire doctor                     is this machine fit?
  podwire up                         start the daemon
  podwire apply -f examples/web.yaml
  podwire get pods -o wide -w
  podwire explain pod/web            the ip and nft commands behind this Pod's network
  podwire down --pods                take everything away again`;

function addNodeVerbs(program: Command): void {
  program.commandsGroup('This node:');
  const up = program
    .command('up')
    .description('start podwired in the background and wait until it is ready')
    .option('--cluster-cidr <cidr>', 'the addresses of all Pods of the cluster (default: 10.244.0.0/16)')
    .option('--node-cidr-mask-size-ipv4 <bits>', "prefix length of a node's IPv4 subnet (default: 24)")
    .option('--node-cidr-mask-size-ipv6 <bits>', "prefix length of a node's IPv6 subnet (default: 64)")
    .option('--service-cidr <cidr>', 'the addresses of Services (default: 10.96.0.0/12)')
    .option('--node-monitor-grace-period <time>', 'silence after which a node is lost (default: 40s)')
    .option('--default-not-ready-toleration-seconds <s>', 'Pods stay on a node not ready (default: 300)')
    .option('--default-unreachable-toleration-seconds <s>', 'Pods stay on a lost node (default: 300)')
    .option('--listen <addr:port>', 'open the API to other machines (podwire token create opens :6443)')
    .option('--advertise-address <ip>', 'the address by which other machines reach this server')
    .option(
      '--network-backend <name>',
      'how Pods reach those of other nodes: vxlan (default), host-gw, wireguard, ipip; with options as vxlan,vni=5,port=4789',
    )
    .option('--datastore <address>', 'sqlite (default), or etcd://HOST:PORT,… that several servers share')
    .option('--datastore-ca <file>', "PEM of the authority that signed etcd's certificates (etcds://)")
    .option('--datastore-cert <file>', 'PEM of the certificate by which etcd knows this server')
    .option('--datastore-key <file>', 'PEM of its key')
    .addHelpText('after', examples('podwire up', 'podwire up --pod-cidr 10.55.0.0/24 --runtime runc'))
    .action(action(async (): Promise<Run<[DaemonFlags]>> => (await import('./verbs/up.ts')).runUp));
  addNodeFlags(up);
  program
    .command('down')
    .description('end podwired; Pods go on running unless --pods is given')
    .option('--pods', 'also remove every Pod and every kernel object that podwire made')
    .option('--timeout <duration>', 'how long Pods may take to end (default: 60s)')
    .addHelpText('after', examples('podwire down', 'podwire down --pods'))
    .action(action(async () => (await import('./verbs/down.ts')).runDown));
  program
    .command('doctor')
    .description('check this machine: what is missing or wrong, and the command that mends it')
    .option('--pod-cidr <cidr>', "the Pods' addresses to check (default: 10.244.0.0/24)")
    .addOption(output('json'))
    .action(action(async () => (await import('./verbs/doctor.ts')).runDoctor));
}

function addObjectVerbs(program: Command): void {
  program.commandsGroup('Objects:');
  for (const verb of ['apply', 'create'] as const) {
    const command = program.command(verb);
    command
      .description(
        verb === 'apply' ? 'create or change objects from manifests' : 'create objects from manifests',
      )
      .addOption(files)
      .addOption(recursive)
      .addOption(
        new Option(
          '--dry-run <how>',
          'client: only read the files; server: let the server check everything',
        ).choices(['none', 'client', 'server']),
      )
      .addOption(output('json|yaml|name|jsonpath=TEMPLATE'))
      .addHelpText(
        'after',
        examples(
          `podwire ${verb} -f web.yaml`,
          `cat web.yaml | podwire ${verb} -f -`,
          `podwire ${verb} -f manifests/ --dry-run=server`,
        ),
      )
      .action(
        action(async () => {
          const { runApply, runCreate } = await import('./verbs/apply.ts');
          return verb === 'apply' ? runApply : runCreate;
        }),
      );
    if (verb === 'create') addCreateData(command);
  }
  program
    .command('get')
    .description('show objects: pods, nodes, events, namespaces, all')
    .argument('[type]', 'pods, pod/NAME, nodes, events, namespaces, all; several as pods,events')
    .argument('[names...]', 'only these')
    .addOption(output('wide|json|yaml|name|jsonpath=TEMPLATE'))
    .option('-w, --watch', 'go on showing changes')
    .option('-A, --all-namespaces', 'in every namespace')
    .addOption(selector)
    .addOption(fieldSelector)
    .addOption(files)
    .addOption(recursive)
    .option('--no-headers', 'leave the header out')
    .option('--show-labels', 'a column with the labels')
    .option('--ignore-not-found', 'an absent object is no error')
    .addHelpText(
      'after',
      examples(
        'podwire get pods -o wide',
        'podwire get pod web -o yaml',
        'podwire get pods -l app=web -w',
        "podwire get pod web -o jsonpath='{.status.podIP}'",
        'podwire get events',
      ),
    )
    .action(
      action(async () => {
        const { runGet } = await import('./verbs/get.ts');
        return (context: Context, type: string | undefined, names: string[], options: GetFlags) =>
          runGet(context, words(type, names), { ...options, noHeaders: options.headers === false });
      }),
    );
  program
    .command('describe')
    .description('tell all about objects: state, events, where the start-up time went')
    .argument('[type]', 'pod, node, namespace, configmap or secret; or pod/NAME')
    .argument('[names...]')
    .option('-A, --all-namespaces', 'in every namespace')
    .addOption(selector)
    .addOption(files)
    .addHelpText('after', examples('podwire describe pod web', 'podwire describe node'))
    .action(
      action(async () => {
        const { runDescribe } = await import('./verbs/describe.ts');
        return (context: Context, type: string | undefined, names: string[], options: object) =>
          runDescribe(context, words(type, names), options);
      }),
    );
  addPatchVerb(program);
  addDeleteAndWait(program);
}

type GetFlags = { headers?: boolean } & object;

const words = (type: string | undefined, names: readonly string[]): string[] =>
  type === undefined ? [] : [type, ...names];

/** `create configmap` and `create secret generic`. */
function addCreateData(create: Command): void {
  const literal = new Option('--from-literal <key=value>', 'a key with its value; may be repeated').argParser(
    collect,
  );
  const file = new Option(
    '--from-file <source>',
    'FILE, KEY=FILE, or a folder of files; may be repeated',
  ).argParser(collect);
  create
    .command('configmap')
    .alias('cm')
    .description('create a ConfigMap from values and files')
    .argument('<name>')
    .addOption(literal)
    .addOption(file)
    .addHelpText(
      'after',
      examples('podwire create configmap web --from-literal=color=red --from-file=page.html'),
    )
    .action(action(async () => (await import('./verbs/create-data.ts')).runCreateConfigMap));
  create
    .command('secret')
    .description('create a Secret from values and files')
    .argument('<kind>', 'generic')
    .argument('<name>')
    .addOption(literal)
    .addOption(file)
    .option('--type <type>', 'the type of the Secret (default: Opaque)')
    .addHelpText('after', examples('podwire create secret generic db --from-file=password=./password.txt'))
    .action(action(async () => (await import('./verbs/create-data.ts')).runCreateSecret));
}

function addDeleteAndWait(program: Command): void {
  program
    .command('delete')
    .description('delete objects and wait until they are gone')
    .argument('[type]', 'pod, namespace …; or pod/NAME')
    .argument('[names...]')
    .addOption(files)
    .addOption(recursive)
    .addOption(selector)
    .addOption(fieldSelector)
    .option('--all', 'every object of that type in the namespace')
    .option('-A, --all-namespaces', 'with --all or -l: in every namespace')
    .option('--grace-period <seconds>', "seconds to end in (default: the Pod's own)")
    .option('--now', 'like --grace-period=1')
    .option('--force', 'like --grace-period=0: kill at once')
    .option('--no-wait', 'do not wait until they are gone (also: --wait=false)')
    .option('--timeout <duration>', 'how long to wait; 0s: without limit')
    .option('--ignore-not-found', 'an absent object is no error')
    .addOption(output('name'))
    .addHelpText(
      'after',
      examples('podwire delete pod web', 'podwire delete -f examples/', 'podwire delete pods --all --now'),
    )
    .action(
      action(async () => {
        const { runDelete } = await import('./verbs/delete.ts');
        return (context: Context, type: string | undefined, names: string[], options: object) =>
          runDelete(context, words(type, names), options);
      }),
    );
  program
    .command('wait')
    .description('wait until a condition holds')
    .argument('[type]', 'pod …; or pod/NAME')
    .argument('[names...]')
    .addOption(
      new Option(
        '--for <condition>',
        'delete, create, condition=NAME[=VALUE] or jsonpath={.path}[=VALUE]',
      ).argParser(collect),
    )
    .option('--timeout <duration>', 'how long (default: 30s)')
    .option('--all', 'every object of that type in the namespace')
    .option('-A, --all-namespaces', 'with --all or -l: in every namespace')
    .addOption(selector)
    .addOption(fieldSelector)
    .addOption(files)
    .addHelpText(
      'after',
      examples(
        'podwire wait --for=condition=Ready pod/web',
        'podwire wait --for=delete pod/web --timeout=60s',
        "podwire wait --for=jsonpath='{.status.phase}'=Succeeded pod/once",
      ),
    )
    .action(
      action(async () => {
        const { runWait } = await import('./verbs/wait.ts');
        return (context: Context, type: string | undefined, names: string[], options: object) =>
          runWait(context, words(type, names), options);
      }),
    );
}

function addImageVerbs(program: Command): void {
  program.commandsGroup('Images:');
  const image = program.command('image').description("this node's images: ls, pull, import, rm");
  image
    .command('ls')
    .alias('list')
    .description('what is there')
    .addOption(output('wide|json|yaml|name'))
    .action(action(async () => (await import('./verbs/image.ts')).runImageList));
  image
    .command('pull')
    .description('fetch an image from a registry')
    .argument('<ref>', 'e.g. docker.io/library/nginx:1.27')
    .action(action(async () => (await import('./verbs/image.ts')).runImagePull));
  image
    .command('import')
    .description('bring in a docker-archive or oci-archive file')
    .argument('<archive>', 'the file')
    .option('--ref <name>', 'the name to give it (default: the names in the archive)')
    .addHelpText(
      'after',
      examples('podwire image import busybox.tar', 'podwire image import app.tar --ref localhost/app:1'),
    )
    .action(action(async () => (await import('./verbs/image.ts')).runImageImport));
  image
    .command('rm')
    .description('remove images')
    .argument('<refs...>')
    .action(action(async () => (await import('./verbs/image.ts')).runImageRemove));
}

function addOtherVerbs(program: Command): void {
  program.commandsGroup('Other:');
  program
    .command('completion')
    .description('print the completion script of a shell')
    .argument('<shell>', 'bash, zsh or fish')
    .addHelpText(
      'after',
      examples(
        'source <(podwire completion bash)',
        'podwire completion zsh > ~/.zfunc/_podwire',
        'podwire completion fish > ~/.config/fish/completions/podwire.fish',
      ),
    )
    .action(action(async () => (await import('./verbs/completion.ts')).runCompletion));
  program
    .command('version')
    .description('print versions')
    .option('--client', 'only of this program')
    .addOption(output('json'))
    .action(action(async () => (await import('./verbs/version.ts')).runVersion));
  program
    .command('complete', { hidden: true })
    .argument('[words...]')
    .action(
      action(async () => {
        const { runComplete } = await import('./verbs/completion.ts');
        return (context: Context, typed: string[]) => runComplete(context, program, typed);
      }),
    );
}
