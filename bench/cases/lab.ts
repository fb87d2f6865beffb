// How long until a whole cluster is there: `podwire lab up` from nothing to all nodes Ready, and on to a Pod on each node
// reaching each other. Assumes the cell; every machine of the lab is a podwired of its own on the cores of this one.
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Pod } from '../../lib/api/types.ts';
import { labClient, startCluster } from '../../lib/lab/cluster.ts';
import { makeLab, removeLab, runInside } from '../../lib/lab/lab.ts';
import type { LabPlan } from '../../lib/lab/plan.ts';
import { summarize } from '../lib/stats.ts';
import type { Measurement } from '../report.ts';
import type { Case, CaseContext } from './case.ts';

const repo = fileURLToPath(new URL('../..', import.meta.url));
const init = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(repo, 'dist/lab-init.mjs'),
] as const;
/** Goals in milliseconds, of all nodes Ready and a Pod on each reaching each other. */
const sizes = [
  { nodes: 3, goalValue: 2000, rounds: 5 },
  { nodes: 10, goalValue: 10_000, rounds: 3 },
];

export const labCase: Case = async (context) => {
  const measurements: Measurement[] = [];
  for (const { nodes, goalValue, rounds } of sizes) {
    const samples = { ready: [] as number[], reached: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      context.progress.phase(`lab: ${nodes} nodes, round ${round + 1} of ${rounds}`);
      const { ready, reached } = await measureLab(context, nodes);
      samples.ready.push(ready);
      samples.reached.push(reached);
    }
    const one = (title: string, values: readonly number[], more: Partial<Measurement> = {}): Measurement => ({
      ...{
        title: `lab of ${nodes} nodes: ${title}`,
        unit: 'ms',
        base: '',
        peers: { podwire: summarize(values) },
      },
      ...more,
    });
    measurements.push(one('all Ready', samples.ready));
    measurements.push(one('and a Pod on each reaches each other', samples.reached, { goalValue }));
  }
  return { measurements, steps: [] };
};

async function measureLab(
  { options }: CaseContext,
  nodes: number,
): Promise<{ ready: number; reached: number }> {
  const began = performance.now();
  const plan = await makeLab({ name: 'bench', nodes, underlay: '172.30.228.0/24', mtu: 1500 }, init);
  try {
    await startCluster(plan, { podwire: join(repo, 'bin/podwire') });
    const ready = performance.now() - began;
    const addresses = await startPods(plan);
    await Promise.all(plan.machines.map(({ name }) => reachAll(plan, name, addresses)));
    return { ready, reached: performance.now() - began };
  } finally {
    await removeLab(plan);
    await sleep(options.settle);
  }
}

/** A Pod on each node; gives their addresses when all run. */
async function startPods(plan: LabPlan): Promise<string[]> {
  const client = labClient(plan);
  try {
    for (const { name } of plan.machines) await client.create('pods', podOn(name));
    for (;;) {
      const { items } = await client.list('pods');
      const running = items.filter(({ status }) => status?.phase === 'Running' && status.podIP);
      if (running.length === plan.machines.length) return running.map(addressOf);
      await sleep(10);
    }
  } finally {
    client.close();
  }
}

const addressOf = ({ status }: Pod): string => status?.podIP as string;

const podOn = (node: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `on-${node}`, namespace: 'default' },
  spec: {
    nodeName: node,
    terminationGracePeriodSeconds: 0,
    containers: [{ name: 'main', image: 'localhost/host', command: ['sleep', 'infinity'] }],
  },
});

/** From inside a Pod's namespace: a port that nobody listens on answers with a reset, which only the Pod itself can send. */
const knock = `
import socket, sys, threading
bad = []
def one(ip):
  for _ in range(20):
    s = socket.socket(); s.settimeout(0.5)
    try: s.connect((ip, 9)); return
    except ConnectionRefusedError: return
    except OSError: pass
  bad.append(ip)
threads = [threading.Thread(target=one, args=(ip,)) for ip in sys.argv[1].split(",")]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(1 if bad else 0)
`;

async function reachAll(plan: LabPlan, node: string, addresses: readonly string[]): Promise<void> {
  const machine = plan.machines.find(({ name }) => name === node) as LabPlan['machines'][number];
  const names = (await runInside(machine, ['ls', '/run/netns'])).trim().split('\n');
  const netns = names.find((name) => name.startsWith('on-')) as string;
  await runInside(machine, [
    'nsenter',
    `--net=/run/netns/${netns}`,
    'python3',
    '-c',
    knock,
    addresses.join(),
  ]);
}
