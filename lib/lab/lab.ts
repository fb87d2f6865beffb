// A lab: machines made of namespaces on one machine, each a whole podwire node, joined by an underlay bridge.
// Assumes root, and one command a lab at a time. Making and ending machines goes side by side; costs grow with machines.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { allSettledOrThrow, ExecError, settleAll } from '../exec/errors.ts';
import { run } from '../exec/exec.ts';
import { detectCgroups, killCgroup, prepareCgroups, removeCgroup } from '../kernel/cgroup.ts';
import { withFileLock } from '../kernel/flock.ts';
import { unmountAll } from '../kernel/mount.ts';
import { nodePaths } from '../kernel/paths.ts';
import type { Faults } from './faults.ts';
import { boot, holderOf, inside, powerOff } from './machine.ts';
import { LabError, type LabMachine, type LabPlan, type LabSpec, planLab } from './plan.ts';
import { createRecord, readLab, removeRecord, writeRecord } from './record.ts';
import { applyFaults, makeUnderlay, removeUnderlay, resetMachine } from './underlay.ts';

/** argv of the program that becomes a machine's first process (lib/lab/init.ts). */
export type InitArgv = readonly [string, ...string[]];

/**
 * Makes the machines and boots them; what podwire does on them is the caller's. A lab that cannot be made whole is
 * taken away again. @throws LabError LAB_EXISTS …, KernelError
 */
export async function makeLab(spec: LabSpec, init: InitArgv): Promise<LabPlan> {
  const plan = planLab(spec);
  createRecord(plan);
  try {
    await prepareCgroups(detectCgroups()); // once for all machines: they share the hierarchies
    await makeUnderlay(plan);
    await allSettledOrThrow(
      'boot',
      plan.machines.map((machine) => boot(machine, init)),
    );
    return plan;
  } catch (error) {
    await removeLab(plan).catch((left) => {
      throw new AggregateError(
        [error, left],
        `${(error as Error).message} (and: ${(left as Error).message})`,
      );
    });
    throw error;
  }
}

/** Ends every machine, whatever runs in it, and takes all away. Repeatable; tries everything. */
export async function removeLab(plan: LabPlan): Promise<void> {
  await settleAll(`remove lab ${plan.spec.name}`, [
    () => allSettledOrThrow('power off', plan.machines.map(powerOff)),
    () => allSettledOrThrow('clean up', plan.machines.map(clear)),
    () => removeUnderlay(plan),
  ]);
  removeRecord(plan);
}

/** What a dead machine leaves on the machine that ran it: cgroups, and mounts made below its folder. */
async function clear({ root }: LabMachine): Promise<void> {
  const { cgroup } = nodePaths(root);
  await killCgroup(cgroup);
  await removeCgroup(cgroup);
  await unmountAll(root);
}

/** Boots a machine that was killed, as after a power cut: its disk is as it was, its links and /run are new. */
export async function restartMachine(plan: LabPlan, machine: LabMachine, init: InitArgv): Promise<void> {
  await powerOff(machine);
  await clear(machine);
  rmSync(nodePaths(machine.root).run, { recursive: true, force: true });
  await resetMachine(plan, machine, readLab(plan.spec.name).faults);
  await boot(machine, init);
}

/** Changes the faults of the underlay by a pure function, and remembers them. */
export async function changeFaults(
  name: string,
  change: (faults: Faults, plan: LabPlan) => Faults,
): Promise<Faults> {
  const { folder } = readLab(name).plan;
  return withFileLock(join(folder, 'lock'), async () => {
    const { plan, faults } = readLab(name);
    const next = change(faults, plan);
    await applyFaults(plan, faults, next);
    writeRecord(plan, next);
    return next;
  });
}

/** Runs a program inside a machine. @throws LabError LAB_DOWN, LAB_COMMAND with what it said; ExecError */
export async function runInside(
  machine: LabMachine,
  argv: readonly [string, ...string[]],
  options: { timeoutMs?: number } = {},
): Promise<string> {
  try {
    const { stdout } = await run({
      argv: inside(machine, argv),
      env: { PODWIRE_ROOT: machine.root },
      ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    });
    return stdout;
  } catch (error) {
    const said = error instanceof ExecError && error.code === 'EXEC_FAILED' ? error.stderr.trim() : '';
    if (said === '') throw error;
    throw new LabError('LAB_COMMAND', `${machine.name}: ${said.replace(/^error: /, '')}`, { cause: error });
  }
}

export const isUp = (machine: LabMachine): boolean => holderOf(machine) !== undefined;
