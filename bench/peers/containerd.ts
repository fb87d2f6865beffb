// containerd as a kubelet uses it: CRI over its unix socket, crun under shim v2, Debian's CNI plugins in Go.
// Assumes the Debian packages containerd, containernetworking-plugins and crun, and the cell: this is a containerd of
// its own, the machine's is not touched. One call a CRI verb; calls may overlap.
import { join } from 'node:path';
import { PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { peerCgroup } from '../lib/cell.ts';
import type { ProcessMemory } from '../lib/memory.ts';
import { endProcess } from '../lib/wait.ts';
import { startContainerdDaemon } from './containerd-daemon.ts';
import type { CriClient } from './cri.ts';
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
  readonly config: object;
  readonly sandbox: string;
  readonly container: string;
}

class Containerd implements Peer {
  readonly name = 'containerd';
  readonly version: string;
  readonly #context: PeerContext;
  readonly #cri: CriClient;
  readonly #daemon: { pid: number; ended: Promise<unknown> };
  readonly #pods = new Map<string, Started>();

  constructor(
    context: PeerContext,
    cri: CriClient,
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
    const { pod_sandbox_id: sandbox } = await this.#cri.runtime('RunPodSandbox', { config });
    const { container_id: container } = await this.#cri.runtime('CreateContainer', {
      pod_sandbox_id: sandbox,
      config: containerConfig(this.#context.workload),
      sandbox_config: config,
    });
    await this.#cri.runtime('StartContainer', { container_id: container });
    this.#pods.set(pod, { config, sandbox: sandbox!, container: container! });
  }

  async verify(pod: string): Promise<void> {
    const { sandbox, container } = this.#pods.get(pod)!;
    const { status } = await this.#cri.runtime('ContainerStatus', { container_id: container });
    const found = await this.#cri.runtime('PodSandboxStatus', { pod_sandbox_id: sandbox });
    if (status?.state !== 'CONTAINER_RUNNING' || !found.status?.network?.ip)
      throw new PodwireError(
        'NOT_RUNNING',
        `containerd: ${pod} is ${status?.state}, address ${found.status?.network?.ip}`,
      );
  }

  /** What a kubelet does: stop the container, stop the sandbox, remove the sandbox with what is in it. */
  async remove(pod: string): Promise<void> {
    const { sandbox, container } = this.#pods.get(pod)!;
    await this.#cri.runtime('StopContainer', { container_id: container, timeout: graceSeconds });
    await this.#cri.runtime('StopPodSandbox', { pod_sandbox_id: sandbox });
    await this.#cri.runtime('RemovePodSandbox', { pod_sandbox_id: sandbox });
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
const runtimeDefault = { profile_type: 'RuntimeDefault' };
const namespaces = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };

function podConfig(pod: string, { folder, id }: PeerContext): object {
  return {
    metadata: { name: pod, uid: `${pod}-uid`, namespace: 'default', attempt: 0 },
    hostname: pod,
    log_directory: join(folder, 'pods', pod),
    labels: { 'io.kubernetes.pod.name': pod },
    linux: {
      cgroup_parent: `/${peerCgroup(id)}`,
      security_context: { namespace_options: namespaces, seccomp: runtimeDefault },
    },
  };
}

// Source: a kubelet's defaults for procMount: Default.
const maskedPaths = [
  ...['/proc/asound', '/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list'],
  ...['/proc/timer_stats', '/proc/sched_debug', '/proc/scsi', '/sys/firmware'],
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

function containerConfig({ imageRef, command }: Workload): object {
  return {
    metadata: { name: 'main', attempt: 0 },
    image: { image: imageRef },
    command,
    log_path: 'main.log',
    labels: { 'io.kubernetes.container.name': 'main' },
    linux: {
      resources: { cpu_shares: 2 },
      security_context: {
        namespace_options: namespaces,
        masked_paths: maskedPaths,
        readonly_paths: readonlyPaths,
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

async function versionOf(cri: CriClient): Promise<string> {
  const { runtime_version: version } = await cri.runtime('Version', {});
  const { stdout } = await run({ argv: ['crun', '--version'] });
  return `${version}, crun ${/version\s+(\S+)/.exec(stdout)?.[1] ?? '?'}`;
}
