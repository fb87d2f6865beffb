// The verbs that are about several machines: token, join, kubeconfig; and the flags that make a node what it is.
// Assumes argv went through normalizeArgv.
import { type Command, Option } from 'commander';
import { action, examples } from './action.ts';
import { addResourceFlags } from './resource-flags.ts';

export function addJoinVerbs(program: Command): void {
  program.commandsGroup('Several machines:');
  const token = program
    .command('token')
    .description('the words by which other machines join: create, list, delete');
  token
    .command('create')
    .description('print the line that makes another machine a node of this cluster')
    .option('--ttl <duration>', 'how long it may be used (default: 24h)')
    .option(
      '--listen <addr:port>',
      'where the API is opened to other machines, the first time (default: :6443)',
    )
    .option('--advertise-address <ip>', 'the address by which they reach this machine (default: all it has)')
    .addHelpText(
      'after',
      examples('podwire token create', 'podwire token create --advertise-address 192.168.56.10'),
    )
    .action(action(async () => (await import('./verbs/token.ts')).runTokenCreate));
  token
    .command('list')
    .alias('ls')
    .description('tokens that still hold')
    .action(action(async () => (await import('./verbs/token.ts')).runTokenList));
  token
    .command('delete')
    .alias('rm')
    .description('nobody joins by it any more; who has joined stays')
    .argument('<ids...>')
    .action(action(async () => (await import('./verbs/token.ts')).runTokenDelete));
  const join = program
    .command('join')
    .description('make this machine a node of a cluster; "podwire up" starts it as that from then on')
    .argument('<token>', 'what "podwire token create" printed on a server')
    .addHelpText(
      'after',
      examples('podwire join pw1.…', 'podwire join pw1.… --node-name two --node-ip 192.168.56.11'),
    )
    .action(action(async () => (await import('./verbs/join.ts')).runJoin));
  addNodeFlags(join);
  program
    .command('leave')
    .description('make this machine one of its own again, after "podwire down --pods"')
    .action(action(async () => (await import('./verbs/join.ts')).runLeave));
  program
    .command('kubeconfig')
    .description('print a kubeconfig with a certificate for kubectl')
    .option('--server <host:port>', 'the server to name in it (default: this one)')
    .option('--ttl <duration>', 'how long its certificate lives (default: a year)')
    .addHelpText(
      'after',
      examples(
        'podwire kubeconfig > podwire.kubeconfig',
        'kubectl --kubeconfig podwire.kubeconfig get nodes',
      ),
    )
    .action(action(async () => (await import('./verbs/kubeconfig.ts')).runKubeconfig));
}

/** Of `up` and `join` alike; they go on to podwired. */
export function addNodeFlags(command: Command): void {
  command
    .option('--pod-cidr <cidr>', "this node's subnet, given by hand (default: one of the cluster's)")
    .addOption(new Option('--runtime <name>', 'OCI runtime').choices(['crun', 'runc']))
    .option(
      '--runtime-endpoint <socket>',
      "run Pods under a container runtime by its CRI socket (unix:///run/containerd/containerd.sock); '': podwire's own",
    )
    .option('--cni-conf-dir <dir>', "where conflists are, the runtime's folder with --runtime-endpoint")
    .option('--node-name <name>', "this node's name (default: the host name)")
    .option(
      '--node-ip <ip>',
      "this node's address (default: the one of the default route; of an agent, the one towards its server)",
    )
    .option(
      '--node-port <port>',
      "this node's TLS port, where servers ask for logs and exec (default: 10250)",
    )
    .option(
      '--allowed-unsafe-sysctls <names>',
      'sysctls that Pods may set beside the safe ones, e.g. net.core.*',
    )
    .option('--max-pods <n>', 'Pods this node takes (default: 250)')
    .option('--pod-pids-limit <n>', 'processes a Pod may have (default: 0, no limit)')
    .option('--image-gc-high-threshold <percent>', 'disk use above which unused images go (default: 85)')
    .option('--image-gc-low-threshold <percent>', 'disk use down to which they go (default: 80)')
    .option(
      '--container-log-max-size <quantity>',
      "a container's log is put aside at that size (default: 10Mi)",
    )
    .option('--container-log-max-files <n>', "files of a container's log that are kept (default: 5)")
    .option('--log-level <level>', 'debug, info, warn or error');
  addResourceFlags(command);
}
