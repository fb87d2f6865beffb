// The wires of a lab: a namespace with a bridge, one cable a machine, one for whoever runs the lab; and their faults.
// Assumes root. Three `ip` runs for all machines and one each; a fault is one transaction.
import { settleAll } from '../exec/errors.ts';
import { KernelError } from '../kernel/errors.ts';
import { ipBatch, ipJson } from '../kernel/ip.ts';
import { deleteLink } from '../kernel/link.ts';
import { deleteNetns, listNetns } from '../kernel/netns.ts';
import { nftApply } from '../kernel/nftables.ts';
import { tbfWords, tcBatch } from '../kernel/tc.ts';
import { type Faults, faultTable, type Impairment } from './faults.ts';
import {
  bridgeLines,
  cableLines,
  isOwnNetns,
  LabError,
  type LabMachine,
  type LabPlan,
  machineLines,
} from './plan.ts';

/** @throws KernelError, LabError LAB_UNDERLAY where the range is in use on this machine */
export async function makeUnderlay(plan: LabPlan): Promise<void> {
  await refuseTakenRange(plan);
  await ipBatch([plan, ...plan.machines].map(({ netns }) => `netns add ${netns}`));
  const { outside, inside } = bridgeLines(plan);
  await ipBatch(outside);
  await ipBatch([...inside, ...plan.machines.flatMap((machine) => cableLines(plan, machine))], {
    netns: plan.netns,
  });
  await Promise.all(plan.machines.map((machine) => connect(plan, machine)));
}

const connect = (plan: LabPlan, machine: LabMachine): Promise<unknown> =>
  ipBatch(machineLines(plan, machine), { netns: machine.netns });

/** A power cut took no link away: the machine's namespace is the lab's. What podwire made in it goes; a bad cable stays bad. */
export async function resetMachine(plan: LabPlan, machine: LabMachine, faults: Faults): Promise<void> {
  await deleteNetns(machine.netns); // takes the cable along, and every link, route and table
  await ipBatch([`netns add ${machine.netns}`]);
  await waitForPort(plan, machine);
  await ipBatch(cableLines(plan, machine), { netns: plan.netns });
  await connect(plan, machine);
  await setQdiscs(plan, [machine.port], faults);
}

/** The kernel ends a namespace behind our back; until then the cable's other end has its name. */
async function waitForPort({ netns }: LabPlan, { port }: LabMachine): Promise<void> {
  try {
    await ipBatch([`link del dev ${port}`], { netns });
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'ENODEV') throw error;
  }
}

async function refuseTakenRange({ spec }: LabPlan): Promise<void> {
  const routes = (await ipJson(['-4', 'route', 'show', 'root', spec.underlay])) as {
    dst?: string;
    dev?: string;
  }[];
  const exact = (await ipJson(['-4', 'route', 'show', 'match', spec.underlay])) as {
    dst?: string;
    dev?: string;
  }[];
  const taken = [...routes, ...exact].find(({ dst }) => dst !== undefined && dst !== 'default');
  if (taken)
    throw new LabError(
      'LAB_UNDERLAY',
      `the underlay ${spec.underlay} overlaps ${taken.dst} on ${taken.dev}; choose another with --underlay`,
    );
}

/** Makes the faults those that are asked for; what fails changes nothing. @throws LabError LAB_NETEM where the kernel cannot delay */
export async function applyFaults(plan: LabPlan, before: Faults, next: Faults): Promise<void> {
  const differs = ({ port }: LabMachine): boolean =>
    qdisc(before.impaired[port]) !== qdisc(next.impaired[port]);
  const ports = plan.machines.filter(differs).map(({ port }) => port);
  await setQdiscs(plan, ports, next);
  await nftApply(faultTable(next), { netns: plan.netns });
}

/** Whatever the ports had before. */
async function setQdiscs({ netns }: LabPlan, ports: readonly string[], faults: Faults): Promise<void> {
  const lines = ports.flatMap((port) => qdiscLines(port, faults.impaired[port]));
  try {
    await tcBatch(lines, { netns });
  } catch (error) {
    const lacks = error instanceof KernelError && ['ENOENT', 'EOPNOTSUPP'].includes(error.code);
    if (!lacks || !error.what.includes(' netem ')) throw error;
    throw new LabError(
      'LAB_NETEM',
      '--delay: this kernel has no netem (module sch_netem); --loss and --rate work without it',
      { cause: error },
    );
  }
}

/** `replace` takes the place of any kind; one that may be there or not is deleted by putting one there first. Pure. */
export function qdiscLines(port: string, how: Impairment | undefined): string[] {
  const words = qdisc(how);
  if (words !== undefined) return [`qdisc replace dev ${port} root ${words}`];
  return [`qdisc replace dev ${port} root pfifo`, `qdisc del dev ${port} root`];
}

/** What goes to a machine is slowed on its port. Pure. */
function qdisc(how: Impairment | undefined): string | undefined {
  if (how?.delayMs) return `netem delay ${how.delayMs}ms${how.rate ? ` rate ${how.rate}bit` : ''}`;
  if (how?.rate) return tbfWords({ rate: how.rate, burst: Math.max(how.rate / 100, 128_000) });
  return undefined;
}

/** Takes all of it away, also what a cut-off `up` left. Repeatable; tries everything. */
export async function removeUnderlay(plan: LabPlan): Promise<void> {
  const own = (name: string): boolean => isOwnNetns(plan, name);
  await settleAll('remove the underlay', [
    ...listNetns()
      .filter(own)
      .map((name) => () => deleteNetns(name)),
    () => deleteLink(plan.uplink),
  ]);
}
