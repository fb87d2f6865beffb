// A machine loses its power at random moments, also while Pods start and go, and boots again: a lab of one node, whose disk
// stays as it was while /run is emptied and the boot has a new id. PODWIRE_CHAOS_SEED repeats a run.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stringify } from 'yaml';
import type { Pod } from '../../lib/api/types.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { runtimeUid } from '../../lib/kubelet/layout.ts';
import { findMachine } from '../../lib/lab/plan.ts';
import { Chance, faultsAtRest, isOver, isReady, netnsOf, statusesOf } from '../e2e/chaos.ts';
import { type ChaosPod, chaosPods, staticChaosPod } from '../e2e/chaos-pods.ts';
import { sleep } from '../e2e/harness.ts';
import type { KernelFacts } from '../e2e/kernel-facts.ts';
import { startLab, type TestLab } from './lab.ts';

const rounds = 5;
const prefix = 'rb';
const factsProgram = join(import.meta.dirname, '../e2e/kernel-facts.ts');

interface Rest {
  readonly pods: readonly Pod[];
  readonly facts: KernelFacts;
}

/** Makes what is missing; what is over is deleted, and made by a later call. */
async function createMissing({ client }: TestLab, wanted: readonly ChaosPod[]): Promise<void> {
  const { items } = await client.list('pods', { namespace: 'default' });
  for (const pod of wanted) {
    const { name } = pod.metadata;
    const found = items.find(({ metadata }) => metadata.name === name);
    if (!found) await client.create('pods', pod, { namespace: 'default' });
    else if (isOver(found) && !found.metadata.deletionTimestamp)
      await client.delete('pods', { namespace: 'default', name });
  }
}

/** Waits until every Pod is ready and the machine has what they need, and nothing else. */
async function untilAtRest(
  lab: TestLab,
  wanted: readonly ChaosPod[],
  names: readonly string[],
): Promise<Rest> {
  const { root } = findMachine(lab.plan, 'node1');
  let faults: string[] = [];
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(40)) {
    await createMissing(lab, wanted);
    const { items: pods } = await lab.client.list('pods', { namespace: 'default' });
    const named = (name: string): Pod | undefined => pods.find(({ metadata }) => metadata.name === name);
    const late = names.filter((name) => !isReady(named(name)) || named(name)?.metadata.deletionTimestamp);
    faults = late.map((name) => `${name}: ${JSON.stringify(named(name)?.status)}`);
    if (faults.length > 0) continue;
    const { stdout, stderr } = await lab.inside('node1', [process.execPath, factsProgram, root]);
    if (stdout === '') throw new Error(stderr);
    const facts = JSON.parse(stdout) as KernelFacts;
    faults = faultsAtRest(pods, facts, () => true);
    if (faults.length === 0) return { pods, facts };
  }
  const { stdout } = await lab.podwire('node1', ['get', 'events']);
  throw new Error(
    `not at rest after a minute:\n${faults.join('\n')}\n${stdout.split('\n').slice(-40).join('\n')}`,
  );
}

const restartsOf = ({ pods }: Rest): Map<string, number> =>
  new Map(
    pods.flatMap((pod) =>
      statusesOf(pod).map(
        ({ name, restartCount = 0 }) => [`${runtimeUid(pod)}.${name}`, restartCount] as const,
      ),
    ),
  );

t.test('a power cut at any moment: Pods come back in new sandboxes, no lease is leaked', async (t) => {
  const chance = Chance.given();
  t.comment(`seed ${chance.seed} (PODWIRE_CHAOS_SEED=${chance.seed} repeats it), ${rounds} power cuts`);
  const lab = await startLab(t, {
    name: 't-reboot',
    nodes: 1,
    underlay: '172.30.238.0/24',
    serverFlags: ['--pod-cidr', '10.218.0.0/24'],
  });
  const { root } = findMachine(lab.plan, 'node1');
  const folder = join(root, 'starts');
  mkdirSync(folder);
  const wanted = chaosPods({ prefix, folder, hostPort: 30_182 });
  writeFileSync(join(nodePaths(root).manifests, 'static.yaml'), stringify(staticChaosPod(prefix, folder)));
  const names = [...wanted.map(({ metadata }) => metadata.name), `${prefix}-static-node1`];
  const bootId = (): string => readFileSync(join(root, 'boot-id'), 'utf8');
  const moments = {
    'at rest': async () => {},
    'while Pods go': async () => {
      for (const { metadata } of wanted.slice(0, 4))
        await lab.client.delete('pods', { namespace: 'default', name: metadata.name });
    },
    'while Pods start': async () => {
      for (const { metadata } of wanted.slice(4))
        await lab.client.delete(
          'pods',
          { namespace: 'default', name: metadata.name },
          { gracePeriodSeconds: 0 },
        );
      await createMissing(lab, wanted);
    },
  };

  let before = await untilAtRest(lab, wanted, names);
  for (let round = 0; round < rounds; round += 1) {
    const moment =
      round === 0 ? 'at rest' : chance.choose({ 'at rest': 1, 'while Pods go': 2, 'while Pods start': 3 });
    await moments[moment]();
    const after = chance.below(200);
    await sleep(after);
    const boot = bootId();
    await lab.powerOff('node1');
    const began = Date.now();
    await lab.reboot('node1');
    const now = await untilAtRest(lab, wanted, names);
    const what = `round ${round}: ${moment}, after ${after} ms`;
    t.pass(`${what}: all is back ${Date.now() - began} ms after power came`);
    t.not(bootId(), boot, 'another boot');
    for (const name of names)
      t.not(netnsOf(now.facts, name)[0], netnsOf(before.facts, name)[0], `${name}: a new sandbox`);
    for (const [container, count] of restartsOf(before)) {
      const told = restartsOf(now).get(container) ?? count; // another Pod of that name by now
      t.ok(told >= count && told <= count + 2, `${what}: ${container}: ${count} restarts, then ${told}`);
    }
    const ofStatic = ({ pods }: Rest): number[] =>
      pods
        .filter(({ metadata }) => metadata.name === names.at(-1))
        .flatMap(statusesOf)
        .map(({ restartCount = 0 }) => restartCount);
    t.ok(
      Math.min(...ofStatic(now)) > Math.max(...ofStatic(before)),
      'the static Pod counts its restarts, too',
    );
    before = now;
  }
});
