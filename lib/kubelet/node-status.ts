// The Node object: what this machine is and has, registered at start and kept Ready.
// Assumes one machine, one Node of this name. One small write a minute.
import { arch, cpus, hostname, release, totalmem } from 'node:os';
import { readFileSync } from 'node:fs';
import type { Client } from '../api/client.ts';
import { isReason } from '../api/errors.ts';
import { timestamp } from '../api/time.ts';
import type { Node } from '../api/types.ts';
import { readIfThere } from '../kernel/files.ts';

export interface NodeInput {
  readonly name: string;
  readonly ip: string;
  /** Its subnets, one an address family, where they are given by hand. */
  readonly podCidrs?: readonly string[];
  readonly version: string;
  /** e.g. crun://1.8.1 */
  readonly runtimeVersion: string;
  readonly maxPods: number;
}

const heartbeatMs = 60_000;
/** Kubernetes' names of architectures. */
const archNames: Record<string, string> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  riscv64: 'riscv64',
  s390x: 's390x',
};

/** Registers the node and keeps its heartbeat until the signal aborts. */
export async function registerNode(client: Client, input: NodeInput, signal: AbortSignal): Promise<Node> {
  const beat = async (): Promise<Node> => {
    const current = await ensureNode(client, input.name, input.podCidrs); // somebody may have deleted it
    const { resourceVersion: _, ...metadata } = current.metadata;
    return client.updateStatus('nodes', {
      ...current,
      metadata: metadata as Node['metadata'],
      status: nodeStatus(input, current),
    });
  };
  const node = await beat();
  const timer = setInterval(() => beat().catch(() => {}), heartbeatMs); // the next beat tries again
  signal.addEventListener('abort', () => clearInterval(timer));
  return node;
}

/**
 * The Node of this machine, made when there is none. `podCidrs`: its subnets where they are given by hand.
 * @throws ApiError Conflict when another node has these
 */
export async function ensureNode(client: Client, name: string, podCidrs?: readonly string[]): Promise<Node> {
  const spec = podCidrs && { podCIDR: podCidrs[0], podCIDRs: [...podCidrs] };
  const labels = {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': archNames[arch()] ?? arch(),
  };
  try {
    const found = await client.get('nodes', { name });
    if (!spec || found.spec?.podCIDRs?.join() === spec.podCIDRs.join()) return found;
    return await client.patch('nodes', { name }, { metadata: { labels }, spec });
  } catch (error) {
    if (!isReason(error, 'NotFound')) throw error;
    return client.create('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, spec });
  }
}

function nodeStatus(input: NodeInput, node: Node): Node['status'] {
  const now = timestamp(Date.now());
  const known = node.status?.conditions?.find((c) => c.type === 'Ready');
  const capacity = {
    cpu: String(cpus().length),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: String(input.maxPods),
  };
  const os = /^PRETTY_NAME="?(.*?)"?$/m.exec(readIfThere('/etc/os-release') ?? '')?.[1] ?? 'Linux';
  return {
    capacity,
    allocatable: capacity,
    addresses: [
      { type: 'InternalIP', address: input.ip },
      { type: 'Hostname', address: hostname() },
    ],
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'KubeletReady',
        message: 'podwired is posting ready status',
        lastHeartbeatTime: now,
        lastTransitionTime: known?.status === 'True' ? known.lastTransitionTime : now,
      },
    ],
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
    daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
  };
}

/** The kernel's id of this boot (random(4)); state of another boot is void. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
