// containerd as a kubelet uses it: CRI over its unix socket, crun under shim v2, Debian's CNI plugins in Go.
// Assumes the Debian packages containerd, containernetworking-plugins and crun, and the cell: this is a containerd of
// its own, the machine's is not touched. One call a CRI verb; calls may overlap.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { startDetached } from '../../lib/exec/detached.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { peerCgroup } from '../lib/cell.ts';
import type { ProcessMemory } from '../lib/memory.ts';
import { endProcess, tailOf, until } from '../lib/wait.ts';
import { type CriClient, connectCri } from './cri.ts';
import { graceSeconds, type Peer, type PeerContext, type Workload } from './peer.ts';

export const goPlugins = '/usr/lib/cni';
// The paths are its defaults; in the cell they are the bench's own.
const socket = '/run/containerd/containerd.sock';

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
  const config = join(folder, 'config.toml');
  const netConf = join(folder, 'net.d');
  mkdirSync(netConf, { recursive: true });
  writeFileSync(join(netConf, '10-bench.conflist'), conflist(context));
  writeFileSync(config, configToml({ netConf, pauseRef: workload.pauseRef, folder }));
  const logFile = join(folder, 'containerd.log');
  const daemon = await startDetached({ argv: ['containerd', '--config', config], logFile });
  const cri = connectCri(socket);
  try {
    await until('containerd serves the CRI', 30_000, async () => {
      const { status } = await cri.runtime('Status', {});
      const bad = status?.conditions?.find((condition) => !condition.status);
      if (bad) throw new Error(`${bad.type}: ${bad.message}`);
    });
    for (const archive of [workload.imageArchive, workload.pauseArchive])
      await run({ argv: ['ctr', '--namespace', 'k8s.io', 'images', 'import', archive], timeoutMs: 120_000 });
    for (const image of [workload.imageRef, workload.pauseRef])
      await until(`containerd knows ${image}`, 10_000, async () => {
        const reply = await cri.image('ImageStatus', { image: { image } });
        if (!reply.image) throw new Error('not there');
      });
  } catch (error) {
    await endProcess(daemon, 'SIGKILL');
    throw new PodwireError('PEER_FAILED', `${messageOf(error)}\n${tailOf(logFile)}`, { cause: error });
  }
  return new Containerd(context, cri, {
    pid: daemon.pid,
    ended: daemon.ended,
    version: await versionOf(cri),
  });
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

// restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing no score can be lowered. Quoted as JSON, which TOML shares.
function configToml({ netConf, pauseRef }: { netConf: string; pauseRef: string; folder: string }): string {
  const text = JSON.stringify;
  return `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseRef)}
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(goPlugins)}
    conf_dir = ${text(netConf)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = ${text(findProgram('crun'))}
        SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
`;
}

async function versionOf(cri: CriClient): Promise<string> {
  const { runtime_version: version } = await cri.runtime('Version', {});
  const { stdout } = await run({ argv: ['crun', '--version'] });
  return `${version}, crun ${/version\s+(\S+)/.exec(stdout)?.[1] ?? '?'}`;
}
