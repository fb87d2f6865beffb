// `podwire lab`: a cluster of namespaces on this machine, and the faults one wants to see it survive.
// Assumes root. Each command reads the lab's record and writes it again; the lab itself is what the kernel has.
import { isReady } from '../../../lib/api/conditions.ts';
import { join } from 'node:path';
import { run } from '../../../lib/exec/exec.ts';
import { findProgram } from '../../../lib/exec/find-program.ts';
import { allReady, labClient, startAgain, startCluster } from '../../../lib/lab/cluster.ts';
import { cut, type Faults, heal, impair, parseImpairment } from '../../../lib/lab/faults.ts';
import {
  changeFaults,
  type InitArgv,
  isUp,
  makeLab,
  removeLab,
  restartMachine,
  runInside,
} from '../../../lib/lab/lab.ts';
import { holderOf, inside, powerOff } from '../../../lib/lab/machine.ts';
import { findMachine, LabError, type LabMachine, type LabPlan } from '../../../lib/lab/plan.ts';
import { listLabs, readLab } from '../../../lib/lab/record.ts';
import type { Context } from '../context.ts';
import { repoFolder } from '../daemon.ts';
import { renderTable } from '../print/text.ts';

export interface LabFlags {
  readonly name: string;
}
export interface LabUpFlags extends LabFlags {
  readonly nodes: number;
  readonly underlay: string;
  readonly mtu: number;
  readonly networkBackend?: string;
  readonly clusterCidr?: string;
  readonly nodeMonitorGracePeriod?: string;
  readonly defaultUnreachableTolerationSeconds?: string;
  readonly logLevel?: string;
}

const podwire = (): string => join(repoFolder(), 'bin/podwire');

function initArgv(): InitArgv {
  needRoot();
  const init = join(repoFolder(), 'dist/lab-init.mjs');
  return [process.execPath, '--disable-warning=ExperimentalWarning', init];
}

function needRoot(): void {
  if (process.getuid?.() !== 0)
    throw new LabError('NOT_ROOT', 'podwire lab needs root: it makes namespaces, mounts and links');
}

export async function runLabUp(context: Context, flags: LabUpFlags): Promise<void> {
  const began = performance.now();
  const tell = (text: string): void => (process.stderr.isTTY ? context.err(`${text}\n`) : undefined);
  const { name, nodes, underlay, mtu } = flags;
  const init = initArgv();
  tell(`${nodes} machines on ${underlay}`);
  const plan = await makeLab({ name, nodes, underlay, mtu }, init);
  try {
    const level = flags.logLevel ? ['--log-level', flags.logLevel] : [];
    const backend = flags.networkBackend ? ['--network-backend', flags.networkBackend] : [];
    const ranges = flags.clusterCidr ? ['--cluster-cidr', flags.clusterCidr] : [];
    const options = {
      podwire: podwire(),
      serverFlags: [...ranges, ...backend, ...flagsOf(flags)],
      nodeFlags: level,
      onProgress: tell,
    };
    await startCluster(plan, options);
  } catch (error) {
    context.err(
      `the lab is left as it is, to be looked at; remove it with: podwire lab down${nameFlag(name)}\n`,
    );
    throw error;
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(2);
  context.out(`lab ${name}: ${nodes} ${nodes === 1 ? 'node is' : 'nodes are'} Ready after ${seconds} s\n`);
  context.out(`  podwire --root ${plan.machines[0]!.root} get nodes\n`);
  context.out(`  podwire lab exec${nameFlag(name)} node1 -- podwire get pods -o wide\n`);
}

/** Those of the control plane, as they were given. */
function flagsOf(flags: LabUpFlags): string[] {
  const given = [
    ['--node-monitor-grace-period', flags.nodeMonitorGracePeriod],
    ['--default-unreachable-toleration-seconds', flags.defaultUnreachableTolerationSeconds],
  ] as const;
  return given.flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]));
}

const nameFlag = (name: string): string => (name === 'lab' ? '' : ` --name ${name}`);

export async function runLabDown(
  context: Context,
  { name, all }: LabFlags & { all?: boolean },
): Promise<void> {
  needRoot();
  const names = all ? listLabs() : [name];
  if (!all && !listLabs().includes(name)) return context.out(`there is no lab ${name}\n`);
  for (const each of names) {
    await removeLab(readLab(each).plan);
    context.out(`lab ${each} is removed\n`);
  }
}

export function runLabList(context: Context): void {
  const rows = listLabs().map((name) => {
    const { plan } = readLab(name);
    const up = plan.machines.filter(isUp).length;
    return [name, `${up}/${plan.machines.length}`, plan.spec.underlay, plan.folder];
  });
  context.out(renderTable(['LAB', 'UP', 'UNDERLAY', 'FOLDER'], rows));
}

export async function runLabStatus(context: Context, { name }: LabFlags): Promise<void> {
  const { plan, faults } = readLab(name);
  const ready = await readyNodes(plan);
  const rows = plan.machines.map((machine) => [
    machine.name,
    isUp(machine) ? 'up' : 'down',
    ready === undefined ? '?' : ready.has(machine.name) ? 'Ready' : 'NotReady',
    machine.address,
    String(holderOf(machine)?.pid ?? '-'),
    machine.netns,
    faultsOf(faults, machine.name),
  ]);
  context.out(renderTable(['NODE', 'MACHINE', 'STATUS', 'ADDRESS', 'PID', 'NETNS', 'FAULTS'], rows));
}

/** undefined: the server does not answer. */
async function readyNodes(plan: LabPlan): Promise<Set<string> | undefined> {
  const client = labClient(plan);
  try {
    const { items } = await client.list('nodes');
    return new Set(items.filter(isReady).map((node) => node.metadata.name));
  } catch {
    return undefined;
  } finally {
    client.close();
  }
}

/** One cell: `cut from node2,node3; loss 1%`. Pure. */
export function faultsOf({ cuts, impaired }: Faults, name: string): string {
  const others = cuts.filter((pair) => pair.includes(name)).map(([a, b]) => (a === name ? b : a));
  const { lossPercent, rate, delayMs } = impaired[name] ?? {};
  const words = [
    ...(others.length > 0 ? [`cut from ${others.join(',')}`] : []),
    ...(lossPercent ? [`loss ${lossPercent}%`] : []),
    ...(rate ? [`rate ${rate / 1000}kbit`] : []),
    ...(delayMs ? [`delay ${delayMs}ms`] : []),
  ];
  return words.length > 0 ? words.join('; ') : '-';
}

/** This process becomes the program: its terminal, its signals, its exit code. */
export function runLabExec(_context: Context, node: string, command: string[], { name }: LabFlags): void {
  const machine = findMachine(readLab(name).plan, node);
  const asked = command.length > 0 ? command : [process.env.SHELL ?? '/bin/sh'];
  // Entering a mount namespace leads to its root: env goes back to where the person stands.
  const argv = inside(machine, ['env', '-C', process.cwd(), ...asked]);
  const { PATH = '/usr/sbin:/usr/bin:/sbin:/bin' } = process.env;
  const env = { ...process.env, PATH: `${join(repoFolder(), 'bin')}:${PATH}`, PODWIRE_ROOT: machine.root };
  process.execve!(findProgram(argv[0]) ?? argv[0], argv, env as Record<string, string>);
}

export async function runLabPartition(context: Context, nodes: string[], { name }: LabFlags): Promise<void> {
  await fault(context, name, nodes, (faults, plan) =>
    cut(
      faults,
      nodes,
      plan.machines.map((each) => each.name),
    ),
  );
}

export async function runLabHeal(context: Context, nodes: string[], { name }: LabFlags): Promise<void> {
  await fault(context, name, nodes, (faults) => heal(faults, nodes));
}

export async function runLabNetem(
  context: Context,
  nodes: string[],
  flags: LabFlags & { loss?: string; rate?: string; delay?: string },
): Promise<void> {
  const how = parseImpairment(flags);
  await fault(context, flags.name, nodes, (faults) => impair(faults, nodes, how));
}

async function fault(
  context: Context,
  name: string,
  nodes: readonly string[],
  change: (faults: Faults, plan: LabPlan) => Faults,
): Promise<void> {
  needRoot();
  const { plan } = readLab(name);
  for (const node of nodes) findMachine(plan, node);
  await changeFaults(name, change);
  await runLabStatus(context, { name });
}

export async function runLabKill(
  context: Context,
  nodes: string[],
  { name, daemon }: LabFlags & { daemon?: boolean },
): Promise<void> {
  needRoot();
  const { plan } = readLab(name);
  for (const node of nodes) {
    const machine = findMachine(plan, node);
    context.out(`${node}: ${daemon ? await killDaemon(machine) : await cutPower(machine)}\n`);
  }
}

async function killDaemon(machine: LabMachine): Promise<string> {
  const argv = inside(machine, ['pkill', '-KILL', '-f', 'podwired.mjs']);
  const { exitCode } = await run({ argv, okCodes: [0, 1] }); // 1: there is none, pkill(1)
  return exitCode === 0 ? 'podwired is killed; its Pods go on' : 'podwired does not run';
}

async function cutPower(machine: LabMachine): Promise<string> {
  if (!isUp(machine)) return 'it is down already';
  await powerOff(machine);
  return 'the power is cut';
}

export async function runLabRestart(
  context: Context,
  nodes: string[],
  { name, daemon }: LabFlags & { daemon?: boolean },
): Promise<void> {
  const { plan } = readLab(name);
  const init = initArgv();
  await Promise.all(nodes.map((node) => restart(plan, findMachine(plan, node), daemon ? undefined : init)));
  const started = nodes.join(', ');
  const server = plan.machines[0]!;
  if (!nodes.includes(server.name) && (await readyNodes(plan)) === undefined)
    return context.out(
      `${started}: started; ${server.name}, the server, does not answer: Ready once it does\n`,
    );
  await allReady({ ...plan, machines: [server, ...nodes.map((node) => findMachine(plan, node))] });
  context.out(`${started}: Ready again\n`);
}

/** A boot, or without `init` only of the daemon. */
async function restart(plan: LabPlan, machine: LabMachine, init: InitArgv | undefined): Promise<void> {
  if (init) await restartMachine(plan, machine, init);
  else await runInside(machine, [podwire(), 'down']);
  await startAgain(machine, podwire());
}
