// podwire on a lab's machines: the first is the server, the others join it by a token, as a person would do by hand.
// Assumes the commands of bin/podwire. Agents start side by side once the server answers.
import { isReady } from '../api/conditions.ts';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HttpClient } from '../api/http/client.ts';
import type { Node } from '../api/types.ts';
import { allSettledOrThrow } from '../exec/errors.ts';
import { nodePaths } from '../kernel/paths.ts';
import { runInside } from './lab.ts';
import { LabError, type LabMachine, type LabPlan } from './plan.ts';

export interface ClusterOptions {
  /** The podwire program. */
  readonly podwire: string;
  /** Flags of the server, e.g. --cluster-cidr. */
  readonly serverFlags?: readonly string[];
  /** Flags of every node, e.g. --network-backend. */
  readonly nodeFlags?: readonly string[];
  readonly onProgress?: (text: string) => void;
}

const startMs = 60_000;

/** Starts the server, joins the others, and resolves when every Node is Ready. @throws LabError LAB_NOT_READY, ExecError */
export async function startCluster(plan: LabPlan, options: ClusterOptions): Promise<void> {
  const { podwire, serverFlags = [], nodeFlags = [], onProgress = () => {} } = options;
  const [server, ...agents] = plan.machines as [LabMachine, ...LabMachine[]];
  const named = ({ name, address }: LabMachine): string[] => ['--node-name', name, '--node-ip', address];
  onProgress(`${server.name}: podwire up`);
  await runInside(server, [podwire, 'up', ...named(server), ...serverFlags, ...nodeFlags], {
    timeoutMs: startMs,
  });
  if (agents.length > 0) {
    const line = (await runInside(server, [podwire, 'token', 'create'])).trim();
    const token = line.split(/\s+/).at(-1) ?? '';
    onProgress(`${agents.map(({ name }) => name).join(', ')}: podwire join`);
    await allSettledOrThrow(
      'join',
      agents.map((agent) =>
        runInside(agent, [podwire, 'join', token, '--node-name', agent.name, ...nodeFlags], {
          timeoutMs: startMs,
        }),
      ),
    );
  }
  await allReady(plan);
}

/** Starts podwire again on a machine that was booted: it knows from its disk what it is. */
export async function startAgain(machine: LabMachine, podwire: string): Promise<void> {
  await runInside(machine, [podwire, 'up'], { timeoutMs: startMs });
}

/** Resolves when the API has every machine as a Ready Node. @throws LabError LAB_NOT_READY */
export async function allReady(plan: LabPlan, timeoutMs = startMs): Promise<void> {
  const client = labClient(plan);
  try {
    for (const until = Date.now() + timeoutMs; ; await sleep(15)) {
      const { items } = await client.list('nodes');
      const ready = new Set(items.filter(isReady).map((node) => node.metadata.name));
      const missing = plan.machines.filter(({ name }) => !ready.has(name));
      if (missing.length === 0) return;
      if (Date.now() > until) throw notReady(missing, items, timeoutMs);
    }
  } finally {
    client.close();
  }
}

function notReady(missing: readonly LabMachine[], nodes: readonly Node[], timeoutMs: number): LabError {
  const told = missing.map(({ name }) => `${name} (${whyNotReady(findByName(nodes, name))})`).join(', ');
  const log = join(nodePaths(missing[0]!.root).logs, 'podwired.log');
  return new LabError('LAB_NOT_READY', `not Ready after ${timeoutMs / 1000} s: ${told}; see ${log}`);
}

const findByName = (nodes: readonly Node[], name: string): Node | undefined =>
  nodes.find(({ metadata }) => metadata.name === name);

/** What the Node itself says; the network comes first, for it is what a Node is not Ready by. Pure. */
export function whyNotReady(node: Node | undefined): string {
  if (node === undefined) return 'it has not joined';
  const find = (type: string) => node.status?.conditions?.find((condition) => condition.type === type);
  const network = find('NetworkUnavailable');
  const said = network?.status === 'True' ? network : find('Ready');
  return said?.message || 'it has not said anything yet';
}

/** A client of the lab's server, from the machine that runs the lab: its socket is a file below the server's folder. */
export function labClient({ machines }: LabPlan): HttpClient {
  return new HttpClient({ socketPath: nodePaths(machines[0]!.root).socket });
}
