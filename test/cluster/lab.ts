// A cluster of lab machines for tests: real podwired on each, real kernels' networks between them; nothing left at the end.
// Assumes root and the built dist/. Tests that run at the same time take different names and underlays.
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { HttpClient } from '../../lib/api/http/client.ts';
import type { Pod } from '../../lib/api/types.ts';
import { type CommandResult, run } from '../../lib/exec/exec.ts';
import { labClient, startAgain, startCluster } from '../../lib/lab/cluster.ts';
import { changeFaults, makeLab, removeLab, restartMachine } from '../../lib/lab/lab.ts';
import { inside, powerOff } from '../../lib/lab/machine.ts';
import type { Faults } from '../../lib/lab/faults.ts';
import { findMachine, type LabPlan } from '../../lib/lab/plan.ts';
import { allCodes, leftovers, netnsNames, processesOf, sleep } from '../e2e/harness.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';

const repo = join(import.meta.dirname, '../..');
export const podwireProgram = join(repo, 'bin/podwire');
const init = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(repo, 'dist/lab-init.mjs'),
] as const;

export interface TestLab {
  readonly plan: LabPlan;
  readonly client: HttpClient;
  /** Seconds from nothing to all nodes Ready. */
  readonly seconds: number;
  /** Runs a program inside a machine; never throws for an exit code. */
  inside(node: string, argv: readonly [string, ...string[]], input?: string): Promise<CommandResult>;
  /** The CLI on a machine. */
  podwire(node: string, args: readonly string[], input?: string): Promise<CommandResult>;
  apply(...objects: object[]): Promise<void>;
  /** Waits until all Pods of these names satisfy `met`; throws with what they are otherwise. */
  until(names: readonly string[], met: (pod: Pod | undefined) => unknown, seconds?: number): Promise<Pod[]>;
  faults(change: (faults: Faults, plan: LabPlan) => Faults): Promise<void>;
  powerOff(node: string): Promise<void>;
  /** A boot after a power cut, podwire too. */
  reboot(node: string): Promise<void>;
  /** SIGKILL to podwired alone. */
  killDaemon(node: string): Promise<void>;
  up(node: string): Promise<void>;
}

export interface LabOptions {
  readonly name: string;
  readonly nodes: number;
  readonly underlay: string;
  readonly serverFlags?: readonly string[];
  readonly nodeFlags?: readonly string[];
}

export async function startLab(t: Test, options: LabOptions): Promise<TestLab> {
  const { serverFlags = [], nodeFlags = [] } = options;
  const began = performance.now();
  const lab = await bareLab(t, options);
  await startCluster(lab.plan, { podwire: podwireProgram, serverFlags, nodeFlags });
  return { ...lab, seconds: (performance.now() - began) / 1000 };
}

/** The machines alone; podwire runs on none of them. */
export async function bareLab(t: Test, options: LabOptions): Promise<Omit<TestLab, 'seconds'>> {
  const { name, nodes, underlay } = options;
  const plan = await makeLab({ name, nodes, underlay, mtu: 1500 }, init);
  t.teardown(async () => {
    await removeLab(plan);
    const left = await leftByLab(plan);
    if (left.length > 0) throw new Error(`left by lab ${name}:\n${left.join('\n')}`);
  });
  const client = labClient(plan);
  t.teardown(() => client.close());
  return controls(plan, client);
}

function controls(plan: LabPlan, client: HttpClient): Omit<TestLab, 'seconds'> {
  const runIn: TestLab['inside'] = (node, argv, input) => {
    const machine = findMachine(plan, node);
    return run({
      argv: inside(machine, argv),
      env: { PODWIRE_ROOT: machine.root },
      okCodes: allCodes,
      timeoutMs: 120_000,
      ...(input === undefined ? {} : { input }),
    });
  };
  const podwire: TestLab['podwire'] = (node, args, input) => runIn(node, [podwireProgram, ...args], input);
  return {
    plan,
    client,
    inside: runIn,
    podwire,
    apply: async (...objects) => {
      const list = { apiVersion: 'v1', kind: 'List', items: objects };
      const { exitCode, stderr } = await podwire('node1', ['apply', '-f', '-'], JSON.stringify(list));
      if (exitCode !== 0) throw new Error(stderr);
    },
    until: (names, met, seconds = 60) => untilAll(client, { names, met, seconds }),
    faults: async (change) => void (await changeFaults(plan.spec.name, change)),
    powerOff: (node) => powerOff(findMachine(plan, node)),
    reboot: async (node) => {
      const machine = findMachine(plan, node);
      await restartMachine(plan, machine, init);
      await startAgain(machine, podwireProgram);
    },
    killDaemon: async (node) => {
      const { root } = findMachine(plan, node);
      for (const pid of daemonsOf(root)) process.kill(pid, 'SIGKILL');
      while (daemonsOf(root).length > 0) await sleep(5);
    },
    up: (node) => startAgain(findMachine(plan, node), podwireProgram),
  };
}

/** pids as this side knows them. */
const daemonsOf = (root: string): number[] =>
  processesOf(root).filter((pid) => commandOf(pid).includes('podwired.mjs'));

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

async function untilAll(
  client: HttpClient,
  {
    names,
    met,
    seconds,
  }: { names: readonly string[]; met: (pod: Pod | undefined) => unknown; seconds: number },
): Promise<Pod[]> {
  let last: (Pod | undefined)[] = [];
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(25)) {
    const { items } = await client.list('pods', { namespace: 'default' });
    last = names.map((name) => items.find((pod) => pod.metadata.name === name));
    if (last.every((pod) => met(pod))) return last as Pod[];
  }
  const { items } = await client.list('events', { namespace: 'default' });
  const told = items
    .map((event) => `${event.involvedObject.name} ${event.reason}: ${event.message}`)
    .slice(-30);
  const states = last.map((pod, at) => `${names[at]}: ${JSON.stringify(pod?.status)}`);
  throw new Error(`not so after ${seconds} s:\n${states.join('\n')}\nevents:\n${told.join('\n')}`);
}

/** What the kernel still has of a lab that is down. */
async function leftByLab(plan: LabPlan): Promise<string[]> {
  const { netns, uplink, folder, machines } = plan;
  return [
    ...netnsNames().filter((name) => name === netns || name.startsWith(`${netns}-`)),
    ...readdirSync('/sys/class/net').filter((name) => name === uplink),
    ...(existsSync(folder) ? [folder] : []),
    ...machines.flatMap(({ root }) => leftovers(nodePaths(root))),
  ];
}
