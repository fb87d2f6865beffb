// A lab for one test file: some VMs whose second NICs are on one bridge, ready for commands, taken down when the test ends.
// Assumes main.ts: it gives the image, the podwire disk and a folder, in network and process namespaces of our own.
// VMs boot side by side; on two cores two take 1.5 times as long as one.
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { settleAll } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { imageIn } from './image.ts';
import { bridgeName, Machine } from './machine.ts';

export interface LabOptions {
  /** How many VMs; 1 unless told. */
  readonly machines?: number;
  /** Of each VM; 1024 unless told. */
  readonly memoryMiB?: number;
}

/** The names under which main.ts tells a test file what it prepared. */
export const labEnv = {
  image: 'PODWIRE_VM_IMAGE',
  payload: 'PODWIRE_VM_PAYLOAD',
  folder: 'PODWIRE_VM_FOLDER',
} as const;

/** Starts VMs node1, node2 … for a test. */
export async function startLab(t: Test, options: LabOptions = {}): Promise<Machine[]> {
  const { machines: count = 1, memoryMiB = 1024 } = options;
  const translationMiB = count <= 3 ? 512 : 128;
  const image = imageIn(told('image'));
  const payload = told('payload');
  const folder = mkdtempSync(join(told('folder'), 'lab-'));
  await makeBridge();
  const machines = Array.from(
    { length: count },
    (_, at) => new Machine({ image, payload, folder, memoryMiB, translationMiB, number: at + 1 }),
  );
  t.teardown(async () => {
    await settleAll(
      'stop the VMs',
      machines.map((machine) => () => machine.stop()),
    );
    await run({ argv: ['ip', 'link', 'del', bridgeName] });
  });
  const seconds = await Promise.all(
    machines.map(async (machine) => {
      await machine.create();
      return await machine.start();
    }),
  );
  t.comment(
    machines.map((machine, at) => `${machine.name} up after ${seconds[at]?.toFixed(1)} s`).join(', '),
  );
  return machines;
}

const bridgeSettings = '/proc/sys/net/bridge/bridge-nf';

async function makeBridge(): Promise<void> {
  await run({ argv: ['ip', 'link', 'set', 'lo', 'up'] });
  await run({ argv: ['ip', 'link', 'add', bridgeName, 'type', 'bridge'] });
  await run({ argv: ['ip', 'link', 'set', bridgeName, 'up'] });
  // A bridge that iptables look at puts fragments together and makes others: a switch does neither.
  for (const name of ['iptables', 'ip6tables'])
    if (existsSync(`${bridgeSettings}-call-${name}`)) writeFileSync(`${bridgeSettings}-call-${name}`, '0');
}

function told(what: keyof typeof labEnv): string {
  const value = process.env[labEnv[what]];
  if (!value)
    throw new Error('VM tests are run by `npm run test:vm [FILE]`, which prepares image and namespaces');
  return value;
}
