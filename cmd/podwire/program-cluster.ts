// The command lines of `podwire network` and `podwire lab`. Assumes lib/lab's words; defaults stand here, where --help shows them.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { action, examples } from './action.ts';
import type { LabFlags, LabUpFlags } from './verbs/lab.ts';

/** `podwire network`. */
export function addNetworkVerbs(program: Command): void {
  program
    .command('network')
    .description("the Pods' network between nodes: status")
    .command('status')
    .description('who reaches whom, and the cause where not')
    .addOption(new Option('-o, --output <format>', 'json|yaml'))
    .action(action(async () => (await import('./verbs/network.ts')).runNetworkStatus));
}

const load = () => import('./verbs/lab.ts');

function whole(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new InvalidArgumentError('expected a whole number');
  return Number(text);
}

export function addLabVerbs(program: Command): void {
  const lab = program
    .command('lab')
    .description(
      'a cluster of namespaces on this machine: up, down, status, exec, and faults to see it survive',
    );
  const name = (): Option => new Option('--name <lab>', 'which lab').default('lab');
  lab
    .command('up')
    .description('make the machines, start podwire on each, and wait until every node is Ready')
    .addOption(name())
    .addOption(new Option('--nodes <count>', 'how many').argParser(whole).default(3))
    .addOption(
      new Option('--underlay <cidr>', 'the addresses of the machines, a /24').default('172.30.229.0/24'),
    )
    .addOption(new Option('--mtu <bytes>', "of the machines' links").argParser(whole).default(1500))
    .addOption(new Option('--network-backend <name>', 'vxlan, host-gw, wireguard or ipip'))
    .option('--cluster-cidr <cidrs>', "the Pods' addresses of all nodes, one range a family")
    .option('--node-monitor-grace-period <time>', 'silence after which a node is lost (default: 40s)')
    .option('--default-unreachable-toleration-seconds <s>', 'Pods stay on a lost node (default: 300)')
    .option('--log-level <level>', 'of every podwired')
    .addHelpText('after', examples('podwire lab up', 'podwire lab up --nodes 10 --network-backend host-gw'))
    .action(
      action(async () => async (context, flags: LabUpFlags) => (await load()).runLabUp(context, flags)),
    );
  lab
    .command('down')
    .description('end every machine and leave nothing')
    .addOption(name())
    .option('--all', 'every lab of this machine')
    .action(action(async () => (await load()).runLabDown));
  lab
    .command('ls')
    .description('the labs of this machine')
    .action(action(async () => async (context) => (await load()).runLabList(context)));
  lab
    .command('status')
    .description('the machines of a lab, their nodes and their faults')
    .addOption(name())
    .action(action(async () => (await load()).runLabStatus));
  lab
    .command('exec')
    .description('run a program inside a machine; without one, a shell')
    .argument('<node>')
    .argument('[command...]', 'after --')
    .addOption(name())
    .addHelpText(
      'after',
      examples('podwire lab exec node2 -- ip route', 'podwire lab exec node1 -- podwire get pods -o wide'),
    )
    .action(
      action(async () => {
        const { runLabExec } = await load();
        return (context, node: string, command: string[], flags: LabFlags) =>
          runLabExec(context, node, command, flags);
      }),
    );
  addFaultVerbs(lab, name);
}

function addFaultVerbs(lab: Command, name: () => Option): void {
  lab
    .command('partition')
    .description('cut one node from all others, or several from each other')
    .argument('<nodes...>')
    .addOption(name())
    .addHelpText('after', examples('podwire lab partition node3', 'podwire lab partition node1 node2'))
    .action(action(async () => (await load()).runLabPartition));
  lab
    .command('heal')
    .description('end all faults, or those of some nodes')
    .argument('[nodes...]')
    .addOption(name())
    .action(action(async () => (await load()).runLabHeal));
  lab
    .command('netem')
    .description('make the cables of some nodes bad')
    .argument('<nodes...>')
    .addOption(name())
    .option('--loss <percent>', 'lost packets, e.g. 1%')
    .option('--rate <rate>', 'e.g. 10mbit')
    .option('--delay <ms>', 'e.g. 20ms; where the kernel has netem')
    .action(action(async () => (await load()).runLabNetem));
  lab
    .command('kill')
    .description('cut the power of some machines')
    .argument('<nodes...>')
    .addOption(name())
    .option('--daemon', 'kill only podwired; Pods go on')
    .action(action(async () => (await load()).runLabKill));
  lab
    .command('restart')
    .description('boot machines again, as after a power cut')
    .argument('<nodes...>')
    .addOption(name())
    .option('--daemon', 'end and start only podwired; Pods go on')
    .action(action(async () => (await load()).runLabRestart));
}
