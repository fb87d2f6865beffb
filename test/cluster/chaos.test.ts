// Faults of a cluster at random: cut cables, killed daemons, power cuts, a node that leaves and joins again; meanwhile a TCP flow
// between two other nodes never breaks, and after each healing every pair of Pods works. The machines are a lab's.
// PODWIRE_CHAOS_SEED repeats a run (as far as time allows), PODWIRE_CHAOS_SECONDS makes it longer or shorter.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Pod } from '../../lib/api/types.ts';
import { allReady } from '../../lib/lab/cluster.ts';
import { cut, heal } from '../../lib/lab/faults.ts';
import { findMachine } from '../../lib/lab/plan.ts';
import { Chance, faultsAtRest } from '../e2e/chaos.ts';
import { isSoonEnough, onNode, server, startFlow, untilEveryPair } from './flat-network.ts';
import { isRunning, sleep } from '../e2e/harness.ts';
import type { KernelFacts } from '../e2e/kernel-facts.ts';
import { until } from '../until.ts';
import { startLab, type TestLab } from './lab.ts';

const seconds = Number(process.env.PODWIRE_CHAOS_SECONDS ?? 40);
const nodes = ['node1', 'node2', 'node3', 'node4'] as const;
const podOf = (node: string): string => `on-${node}`;
const factsProgram = join(import.meta.dirname, '../e2e/kernel-facts.ts');

type Fault = keyof typeof weights;
const weights = {
  partition: 4,
  split: 3,
  killDaemon: 4,
  killDaemons: 2,
  powerCut: 4,
  leaveAndJoin: 3,
  severalAtOnce: 2,
};

class ClusterChaos {
  readonly #lab: TestLab;
  readonly #chance: Chance;
  readonly trail: string[] = [];
  constructor(lab: TestLab, chance: Chance) {
    this.#lab = lab;
    this.#chance = chance;
  }

  /** One fault, a moment, and its healing. Resolves when the machines are as before and podwire runs on all. */
  async inflict(fault: Fault): Promise<void> {
    const moment = (): Promise<void> => sleep(this.#chance.below(1000));
    const weak = this.#chance.of(['node3', 'node4'])!; // the flow goes between the others
    this.trail.push(fault === 'partition' || fault === 'powerCut' ? `${fault} ${weak}` : fault);
    if (fault === 'partition') await this.#cutFor([weak], moment);
    else if (fault === 'split') {
      const other = this.#chance.of(nodes.filter((name) => name !== weak))!;
      this.trail.push(`${weak} | ${other}`);
      await this.#cutFor([weak, other], moment);
    } else if (fault === 'killDaemon') await this.#killDaemons([this.#chance.of(nodes)!], moment);
    else if (fault === 'killDaemons') await this.#killDaemons(nodes, moment);
    else if (fault === 'powerCut') await this.#cutPower(weak, moment);
    else if (fault === 'leaveAndJoin') await this.#leaveAndJoin('node4');
    else
      await Promise.all([
        this.#cutPower('node4', moment),
        this.#killDaemons(['node2'], moment),
        this.#cutFor(['node3'], moment),
      ]);
  }

  async #cutFor(names: readonly string[], moment: () => Promise<void>): Promise<void> {
    await this.#lab.faults((faults) => cut(faults, names, nodes));
    await moment();
    await this.#lab.faults((faults) => heal(faults, []));
  }

  async #killDaemons(names: readonly string[], moment: () => Promise<void>): Promise<void> {
    await Promise.all(names.map((name) => this.#lab.killDaemon(name)));
    await moment();
    await Promise.all(names.map((name) => this.#lab.up(name)));
  }

  async #cutPower(name: string, moment: () => Promise<void>): Promise<void> {
    await this.#lab.powerOff(name);
    await moment();
    await this.#lab.reboot(name);
  }

  async #leaveAndJoin(name: string): Promise<void> {
    await this.#must(name, ['down', '--pods']);
    await this.#must(name, ['leave']);
    await this.#must('node1', ['node', 'remove', name, '--force']);
    const token = (await this.#must('node1', ['token', 'create'])).trim().split(/\s+/).at(-1)!;
    await this.#must(name, ['join', token, '--node-name', name]);
    await allReady(this.#lab.plan, 60_000);
    const { items } = await this.#lab.client.list('pods', { namespace: 'default' });
    if (!items.some(({ metadata }) => metadata.name === podOf(name)))
      await this.#lab.apply(onNode(podOf(name), name, server));
  }

  async #must(node: string, args: readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#lab.podwire(node, args);
    if (exitCode !== 0) throw new Error(`${node}: podwire ${args.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  }
}

/** What the kernels of all machines have that they must not have. */
async function faultsOfNodes(lab: TestLab, pods: readonly Pod[]): Promise<string[]> {
  const each = nodes.map(async (name) => {
    const { stdout, stderr } = await lab.inside(name, [
      process.execPath,
      factsProgram,
      findMachine(lab.plan, name).root,
    ]);
    if (stdout === '') throw new Error(stderr);
    const own = pods.filter(({ spec }) => spec.nodeName === name);
    return faultsAtRest(own, JSON.parse(stdout) as KernelFacts, () => true).map(
      (fault) => `${name}: ${fault}`,
    );
  });
  return (await Promise.all(each)).flat();
}

async function checkSubnets(t: Test, lab: TestLab): Promise<void> {
  const { items } = await lab.client.list('nodes');
  const subnets = items.flatMap(({ spec }) => spec?.podCIDRs ?? []);
  t.equal(new Set(subnets).size, nodes.length, `each node has a subnet of its own: ${subnets.join()}`);
}

t.test('whatever happens to a cluster, what is not hit goes on, and what was hit comes back', async (t) => {
  const chance = Chance.given();
  t.comment(`seed ${chance.seed} (PODWIRE_CHAOS_SEED=${chance.seed} repeats it), ${seconds} s`);
  const lab = await startLab(t, {
    name: 't-chaos',
    nodes: nodes.length,
    underlay: '172.30.239.0/24',
    serverFlags: ['--cluster-cidr', '10.219.0.0/16'],
  });
  await lab.apply(...nodes.map((name) => onNode(podOf(name), name, server)));
  const names = nodes.map(podOf);
  await untilEveryPair(lab, await lab.until(names, isRunning));
  const flow = await startFlow(lab, 'node1', 'node2');
  const chaos = new ClusterChaos(lab, chance);
  let said = await flow.said();
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const fault = chance.choose(weights);
    await chaos.inflict(fault);
    const what = chaos.trail.join(', ');
    const healed = Date.now();
    await lab.until(names, (pod) => isRunning(pod) && pod?.status?.podIP);
    const pods = await lab.until(names, isRunning);
    const back = Date.now() - healed;
    const took = await untilEveryPair(lab, pods);
    t.ok(isSoonEnough(took), `${what}: Pods run after ${back} ms, every pair works ${took.tookMs} ms later`);
    await checkSubnets(t, lab);
    const before = said;
    await until(async () => {
      said = await flow.said();
      return said > before;
    });
    t.ok(said > before, `${what}: the flow goes on (${before}, then ${said})`);
    chaos.trail.length = 0;
  }
  const { status } = await lab.client.get('pods', { namespace: 'default', name: 'flow' });
  t.match(status?.containerStatuses, [{ restartCount: 0, state: { running: {} } }], 'the flow never broke');
  let faults: string[] = [];
  await until(async () => {
    faults = await faultsOfNodes(lab, (await lab.client.list('pods', { namespace: 'default' })).items);
    return faults.length === 0;
  });
  t.same(faults, [], 'every machine has what its Pods need and nothing else');
});
