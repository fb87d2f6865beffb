// containerd as a kubelet uses it: CRI over its unix socket, crun under shim v2, Debian's CNI plugins in Go.
// Assumes the Debian packages containerd, containernetworking-plugins and crun, and the cell: this is a containerd of
// its own, the machine's is not touched. One call a CRI verb; calls may overlap.
import { join } from 'node:path';
import { PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import type { CriConnection } from '../../lib/cri/connection.ts';
import type {
  ContainerMessage,
  NamespaceOption,
  SandboxMessage,
  SecurityProfile,
  Sent,
} from '../../lib/cri/messages.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { peerCgroup } from '../lib/cell.ts';
import type { ProcessMemory } from '../lib/memory.ts';
import { endProcess } from '../lib/wait.ts';
import { startContainerdDaemon } from './containerd-daemon.ts';
import { graceSeconds, type Peer, type PeerContext, type Workload } from './peer.ts';

export const goPlugins = '/usr/lib/cni';

/** Debian packages it needs; undefined when all is there. */
export function missingForContainerd(): string[] {
  const needed = {
    containerd: 'containerd',
    crun: 'crun',
    ctr: 'containerd',
    [`${goPlugins}/bridge`]: 'containernetworking-plugins',
  };
  return [
    ...new Set(Object.entries(needed).flatMap(([program, name]) => (findProgram(program) ? [] : [name]))),
  ];
}

export async function startContainerd(context: PeerContext): Promise<Peer> {
  const { folder, workload } = context;
  const { pauseRef } = workload;
  const setup = { folder, pauseRef, conflist: conflist(context), binDir: goPlugins };
  const daemon = await startContainerdDaemon(setup, workload);
  return new Containerd(context, daemon.cri, { ...daemon, version: await versionOf(daemon.cri) });
}

interface Started {
  readonly config: Sent<SandboxMessage>;
  readonly sandbox: string;
  readonly container: string;
}

class Containerd implements Peer {
  readonly name = 'containerd';
  readonly version: string;
  readonly #context: PeerContext;
  readonly #cri: CriConnection;
  readonly #daemon: { pid: number; ended: Promise<unknown> };
  readonly #pods = new Map<string, Started>();

  constructor(
    context: PeerContext,
    cri: CriConnection,
    daemon: { pid: number; ended: Promise<unknown>; version: string },
  ) {
    this.#context = context;
    this.#cri = cri;
    this.#daemon = daemon;
    this.version = daemon.version;
  }

  /** Ends with StartContainer's reply: that call returns when the container runs. */
  async start(pod: string): Promise<void> {
    const config = podConfig(pod, this.#context);
    const { podSandboxId: sandbox } = await this.#cri.call('RunPodSandbox', { config });
    const { containerId: container } = await this.#cri.call('CreateContainer', {
      podSandboxId: sandbox,
      config: containerConfig(this.#context.workload),
      sandboxConfig: config,
    });
    await this.#cri.call('StartContainer', { containerId: container });
    this.#pods.set(pod, { config, sandbox, container });
  }

  async verify(pod: string): Promise<void> {
    const { sandbox, container } = this.#pods.get(pod)!;
    const { status } = await this.#cri.call('ContainerStatus', { containerId: container });
    const found = await this.#cri.call('PodSandboxStatus', { podSandboxId: sandbox });
    if (status?.state !== 'CONTAINER_RUNNING' || !found.status?.network?.ip)
      throw new PodwireError(
        'NOT_RUNNING',
        `containerd: ${pod} is ${status?.state}, address ${found.status?.network?.ip}`,
      );
  }

  /** What a kubelet does: stop the container, stop the sandbox, remove the sandbox with what is in it. */
  async remove(pod: string): Promise<void> {
    const { sandbox, container } = this.#pods.get(pod)!;
    await this.#cri.call('StopContainer', { containerId: container, timeout: graceSeconds });
    await this.#cri.call('StopPodSandbox', { podSandboxId: sandbox });
    await this.#cri.call('RemovePodSandbox', { podSandboxId: sandbox });
    this.#pods.delete(pod);
  }

  role(process: ProcessMemory): 'daemon' | 'pod' | undefined {
    if (process.pid === this.#daemon.pid) return 'daemon';
    const pause = /^\/pause -P$|sleep 2147483647$/.test(process.argv);
    return pause || process.command.startsWith('containerd-shim') ? 'pod' : undefined;
  }

  async close(): Promise<void> {
    this.#cri.close();
    await endProcess(this.#daemon, 'SIGTERM');
  }
}

// What a kubelet asks for a Pod of quality "best effort".
const runtimeDefault: SecurityProfile = { profileType: 'RuntimeDefault' };
const namespaces: NamespaceOption = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };

function podConfig(pod: string, { folder, id }: PeerContext): Sent<SandboxMessage> {
  return {
    metadata: { name: pod, uid: `${pod}-uid`, namespace: 'default', attempt: 0 },
    hostname: pod,
    logDirectory: join(folder, 'pods', pod),
    labels: { 'io.kubernetes.pod.name': pod },
    linux: {
      cgroupParent: `/${peerCgroup(id)}`,
      securityContext: { namespaceOptions: namespaces, seccomp: runtimeDefault },
    },
  };
}

// Source: a kubelet's defaults for procMount: Default.
const maskedPaths = [
  ...['/proc/asound', '/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list'],
  ...['/proc/timer_stats', '/proc/sched_debug', '/proc/scsi', '/sys/firmware'],
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

function containerConfig({ imageRef, command }: Workload): Sent<ContainerMessage> {
  return {
    metadata: { name: 'main', attempt: 0 },
    image: { image: imageRef },
    command,
    logPath: 'main.log',
    labels: { 'io.kubernetes.container.name': 'main' },
    linux: {
      resources: { cpuShares: 2 },
      securityContext: {
        namespaceOptions: namespaces,
        maskedPaths: maskedPaths,
        readonlyPaths: readonlyPaths,
        seccomp: runtimeDefault,
      },
    },
  };
}

const conflist = ({ ipMasq }: PeerContext): string =>
  JSON.stringify({
    cniVersion: '1.0.0',
    name: 'bench',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: '10.245.0.0/24' }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
    ],
  });

async function versionOf(cri: CriConnection): Promise<string> {
  const { runtimeVersion: version } = await cri.call('Version', {});
  const { stdout } = await run({ argv: ['crun', '--version'] });
  return `${version}, crun ${/version\s+(\S+)/.exec(stdout)?.[1] ?? '?'}`;
}
