// The Node object: what this machine is and has, registered at start and kept Ready.
// Assumes one machine, one Node of this name; others write conditions of their own. A look every 10 s, a write when something
// changed and every five minutes: that the node lives, its Lease tells (node-lease.ts).
import { arch, hostname, release } from 'node:os';
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { timestamp } from '../api/time.ts';
import type { Node } from '../api/types.ts';
import { messageOf } from '../exec/errors.ts';
import { readIfThere } from '../kernel/files.ts';
import type { Pressure } from './eviction/thresholds.ts';
import { type NodeCapacity, shownAmounts } from './node-capacity.ts';

export interface NodeInput {
  readonly name: string;
  readonly ip: string;
  /** Its subnets, one an address family, where they are given by hand. */
  readonly podCidrs?: readonly string[];
  /** What else it says of itself. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly version: string;
  /** e.g. crun://1.8.1 */
  readonly runtimeVersion: string;
  readonly capacity: NodeCapacity;
  /** Where this node serves its Pods' logs and exec to servers; 0: nowhere. */
  readonly port?: () => number;
}

/** Kubernetes' names of architectures. */
const archNames: Record<string, string> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  riscv64: 'riscv64',
  s390x: 's390x',
};

/** How often the status is computed; kubelet's nodeStatusUpdateFrequency. */
const lookMs = 10_000;
/** How often it is written when nothing changed; kubelet's nodeStatusReportFrequency. */
const reportMs = 300_000;
/** Of a status that others write, too; kubelet's nodeStatusUpdateRetry. */
const writeAttempts = 5;

export interface NodeStatusOptions {
  readonly client: Client;
  readonly input: NodeInput;
  /** Why this node cannot run Pods just now; undefined when it can. */
  readonly notReady: () => string | undefined;
  /** What it is short of. */
  readonly pressures?: () => readonly Pressure[];
  readonly log: Logger;
  /** Ends the reports. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** The Node of this machine: registered once, then its status kept as the machine is. */
export class NodeStatusReporter {
  readonly #options: NodeStatusOptions;
  readonly #now: () => number;
  #node: Node | undefined;
  #reportedAt = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: NodeStatusOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** Makes the Node when there is none; its status is written by the first report. @throws ApiError as ensureNode */
  async register(): Promise<Node> {
    const { client, input } = this.#options;
    this.#node = await ensureNode(client, input);
    return this.#node;
  }

  /** As it was written or read last. */
  get node(): Node {
    if (!this.#node) throw new Error('the node has not been registered');
    return this.#node;
  }

  /** Writes the status at once, then whenever it changed, and every five minutes. */
  async start(): Promise<void> {
    const { signal, log } = this.#options;
    await this.report();
    const timer = setInterval(() => {
      this.report().catch((error) => log.warn({ err: error }, `node status: ${messageOf(error)}`));
    }, lookMs);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** Looks now, and writes what changed; one after the other. @throws ApiError */
  report(): Promise<void> {
    const done = this.#tail.then(() => this.#report());
    this.#tail = done.catch(() => {});
    return done;
  }

  async #report(): Promise<void> {
    if (this.#options.signal.aborted) return;
    for (let attempt = 1; ; attempt++) {
      const current = await this.register(); // somebody may have deleted it
      const status = nodeStatus(this.#options.input, current, {
        now: this.#now(),
        notReady: this.#options.notReady(),
        pressures: this.#options.pressures?.() ?? [],
      });
      const isDue = this.#now() - this.#reportedAt >= reportMs;
      if (!isDue && sameStatus(status, current.status)) return;
      try {
        // With its resourceVersion: the conditions of others were read, and must not be lost.
        this.#node = await this.#options.client.updateStatus('nodes', { ...current, status });
        this.#reportedAt = this.#now();
        return;
      } catch (error) {
        if (!isReason(error, 'Conflict') || attempt === writeAttempts) throw error;
      }
    }
  }
}

/**
 * The Node of this machine, made when there is none. `podCidrs`: its subnets where they are given by hand. What others
 * annotate it with stays.
 * @throws ApiError Conflict when another node has these
 */
export async function ensureNode(
  client: Client,
  { name, podCidrs, annotations = {} }: Pick<NodeInput, 'name' | 'podCidrs' | 'annotations'>,
): Promise<Node> {
  const spec = podCidrs && { podCIDR: podCidrs[0], podCIDRs: [...podCidrs] };
  const labels = {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': archNames[arch()] ?? arch(),
  };
  try {
    const found = await client.get('nodes', { name });
    const isAsGiven = !spec || found.spec?.podCIDRs?.join() === spec.podCIDRs.join();
    const isLabelled = has(found.metadata.labels, labels) && has(found.metadata.annotations, annotations);
    if (isAsGiven && isLabelled) return found;
    const metadata = { labels, annotations };
    return await client.patch('nodes', { name }, { metadata, ...(isAsGiven ? {} : { spec }) });
  } catch (error) {
    if (!isReason(error, 'NotFound')) throw error;
    const metadata = { name, labels, annotations };
    return client.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata, spec });
  }
}

const has = (
  found: Readonly<Record<string, string>> = {},
  wanted: Readonly<Record<string, string>>,
): boolean => Object.entries(wanted).every(([key, value]) => found[key] === value);

interface Seen {
  readonly notReady: string | undefined;
  readonly pressures: readonly Pressure[];
}

type NodeStatus = NonNullable<Node['status']>;
type NodeCondition = NonNullable<NodeStatus['conditions']>[number];

/** The conditions that are the kubelet's own; those of others stay as they are. Reasons and messages as kubelet's. */
function ownConditions({
  notReady,
  pressures,
}: Seen): Pick<NodeCondition, 'type' | 'status' | 'reason' | 'message'>[] {
  const fine = {
    MemoryPressure: ['KubeletHasSufficientMemory', 'kubelet has sufficient memory available'],
    DiskPressure: ['KubeletHasNoDiskPressure', 'kubelet has no disk pressure'],
    PIDPressure: ['KubeletHasSufficientPID', 'kubelet has sufficient PID available'],
  } as const;
  const short = {
    MemoryPressure: ['KubeletHasInsufficientMemory', 'kubelet has insufficient memory available'],
    DiskPressure: ['KubeletHasDiskPressure', 'kubelet has disk pressure'],
    PIDPressure: ['KubeletHasInsufficientPID', 'kubelet has insufficient PID available'],
  } as const;
  const ready =
    notReady === undefined
      ? { status: 'True', reason: 'KubeletReady', message: 'podwired is posting ready status' }
      : { status: 'False', reason: 'KubeletNotReady', message: notReady };
  return [
    ...(Object.keys(fine) as Pressure[]).map((type) => {
      const isShort = pressures.includes(type);
      const [reason, message] = (isShort ? short : fine)[type];
      return { type, status: isShort ? 'True' : 'False', reason, message };
    }),
    { type: 'Ready', ...ready },
  ];
}

/** The Node's conditions with the kubelet's own brought up to date; a time of transition changes with the status only. */
export function nodeConditions(
  known: readonly NodeCondition[],
  { now, ...seen }: Seen & { readonly now: number },
): NodeCondition[] {
  const time = timestamp(now);
  const own = ownConditions(seen).map((one) => {
    const before = known.find(({ type }) => type === one.type);
    const lastTransitionTime = before?.status === one.status ? before.lastTransitionTime : time;
    return { ...one, lastHeartbeatTime: time, lastTransitionTime };
  });
  return [...known.filter(({ type }) => !own.some((one) => one.type === type)), ...own];
}

/** Heartbeats do not count: a status that says nothing new is not written. */
function sameStatus(a: NodeStatus, b: NodeStatus | undefined): boolean {
  const shown = (status: NodeStatus | undefined) => ({
    ...status,
    conditions: (status?.conditions ?? [])
      .map(({ lastHeartbeatTime: _, ...rest }) => rest)
      .sort((one, other) => one.type.localeCompare(other.type)),
  });
  return isDeepStrictEqual(JSON.parse(JSON.stringify(shown(a))), JSON.parse(JSON.stringify(shown(b))));
}

function nodeStatus(input: NodeInput, node: Node, seen: Seen & { readonly now: number }): NodeStatus {
  const os = /^PRETTY_NAME="?(.*?)"?$/m.exec(readIfThere('/etc/os-release') ?? '')?.[1] ?? 'Linux';
  return {
    ...node.status,
    capacity: shownAmounts(input.capacity.capacity),
    allocatable: shownAmounts(input.capacity.allocatable),
    addresses: [
      { type: 'InternalIP', address: input.ip },
      { type: 'Hostname', address: hostname() },
    ],
    conditions: nodeConditions(node.status?.conditions ?? [], seen),
    nodeInfo: {
      architecture: archNames[arch()] ?? arch(),
      bootID: bootId(),
      containerRuntimeVersion: input.runtimeVersion,
      kernelVersion: release(),
      kubeProxyVersion: '',
      kubeletVersion: `v1.34.0+podwire-${input.version}`,
      machineID: (readIfThere('/etc/machine-id') ?? '').trim(),
      operatingSystem: 'linux',
      osImage: os,
      systemUUID: (readIfThere('/sys/class/dmi/id/product_uuid') ?? '').trim(),
    },
    daemonEndpoints: { kubeletEndpoint: { Port: input.port?.() ?? 0 } },
  };
}

/** The kernel's id of this boot (random(4)); state of another boot is void. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
