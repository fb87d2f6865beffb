// What is known of a lab between two commands: one file, written before anything is made and removed last.
// Assumes one command at a time a lab; those that change faults wait for one another. A few hundred bytes.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import { type Faults, noFaults } from './faults.ts';
import { checkLabName, LabError, labsFolder, type LabPlan, type LabSpec, planLab } from './plan.ts';

export interface LabRecord {
  readonly spec: LabSpec;
  readonly faults: Faults;
}

const file = (folder: string): string => join(folder, 'lab.json');

/** The record of a lab that is to be made: of two who make it at once, one does. @throws LabError LAB_EXISTS */
export function createRecord(plan: LabPlan): void {
  const { name } = plan.spec;
  mkdirSync(labsFolder, { recursive: true, mode: 0o700 });
  try {
    mkdirSync(plan.folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const hint = `remove it with: podwire lab down --name ${name}`;
    throw new LabError('LAB_EXISTS', `there is a lab ${name} already; ${hint}`, { cause: error });
  }
  writeRecord(plan, noFaults);
}

export function writeRecord(plan: LabPlan, faults: Faults): void {
  replaceFile(file(plan.folder), JSON.stringify({ spec: plan.spec, faults } satisfies LabRecord));
}

/** @throws LabError LAB_ABSENT */
export function readLab(name: string): { plan: LabPlan; faults: Faults } {
  const text = readIfThere(file(join(labsFolder, checkLabName(name))));
  if (text === undefined)
    throw new LabError(
      'LAB_ABSENT',
      `there is no lab ${JSON.stringify(name)}; make it with: podwire lab up --name ${name}`,
    );
  const { spec, faults = noFaults } = JSON.parse(text) as LabRecord;
  return { plan: planLab(spec), faults };
}

export function listLabs(): string[] {
  if (!existsSync(labsFolder)) return [];
  return readdirSync(labsFolder).filter((name) => existsSync(file(join(labsFolder, name))));
}

/** The folder of all labs goes with the last. */
export function removeRecord({ folder }: LabPlan): void {
  rmSync(folder, { recursive: true, force: true });
  if (existsSync(labsFolder) && readdirSync(labsFolder).length === 0) rmSync(labsFolder, { recursive: true });
}
