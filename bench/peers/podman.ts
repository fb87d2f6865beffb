// podman kube play: one process run a start and one a removal, as a person or a systemd unit uses it.
// Assumes the Debian package podman, and the cell; all its state is in the cell, its settings in files of ours.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import type { ProcessMemory } from '../lib/memory.ts';
import { graceSeconds, type Peer, type PeerContext, type Workload } from './peer.ts';

export const missingForPodman = (): string[] => (findProgram('podman') ? [] : ['podman']);

export async function startPodman(context: PeerContext): Promise<Peer> {
  const { folder, workload } = context;
  mkdirSync(join(folder, 'networks'), { recursive: true });
  const containersConf = join(folder, 'containers.conf');
  writeFileSync(containersConf, containersConfText(folder, readFileSync('/proc/self/limits', 'utf8')));
  const storageConf = join(folder, 'storage.conf');
  writeFileSync(storageConf, storageConfText());
  const podman = new Podman(workload, folder, {
    CONTAINERS_CONF: containersConf,
    CONTAINERS_STORAGE_CONF: storageConf,
    HOME: folder,
    TMPDIR: folder,
  });
  await podman.prepare();
  return podman;
}

class Podman implements Peer {
  readonly name = 'podman';
  version = '';
  readonly #workload: Workload;
  readonly #folder: string;
  readonly #env: Record<string, string>;

  constructor(workload: Workload, folder: string, env: Record<string, string>) {
    this.#workload = workload;
    this.#folder = folder;
    this.#env = env;
  }

  async prepare(): Promise<void> {
    await this.#podman('load', '--quiet', '--input', this.#workload.imageArchive);
    this.version = /version\s+(\S+)/.exec(await this.#podman('--version'))?.[1] ?? '?';
  }

  async start(pod: string): Promise<void> {
    const file = join(this.#folder, `${pod}.yaml`);
    writeFileSync(file, JSON.stringify(manifest(pod, this.#workload))); // JSON is YAML
    await this.#podman('kube', 'play', '--quiet', file);
  }

  async verify(pod: string): Promise<void> {
    const format = '{{.State}} {{.Containers}}';
    const said = await this.#podman('pod', 'inspect', '--format', format, pod);
    if (!said.startsWith('Running'))
      throw new PodwireError('NOT_RUNNING', `podman: ${pod} is ${said.trim()}`);
  }

  /** In two commands: `kube down` and `pod rm --force` of podman 4.3 idle for 3 s, which would flatter the others. */
  async remove(pod: string): Promise<void> {
    await this.#podman('pod', 'stop', '--time', String(graceSeconds), pod);
    await this.#podman('pod', 'rm', pod);
  }

  role(process: ProcessMemory): 'daemon' | 'pod' | undefined {
    return /^(conmon|catatonit)$/.test(process.command) && process.pid !== 1 ? 'pod' : undefined;
  }

  async close(): Promise<void> {}
  async #podman(...args: string[]): Promise<string> {
    const { stdout } = await run({ argv: ['podman', ...args], env: this.#env, timeoutMs: 120_000 });
    return stdout;
  }
}

function manifest(pod: string, { imageRef, command }: Workload): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: pod },
    spec: {
      terminationGracePeriodSeconds: graceSeconds,
      containers: [{ name: 'main', image: imageRef, command, imagePullPolicy: 'Never' }],
    },
  };
}

/** Limits above our own hard ones cannot be set without CAP_SYS_RESOURCE, and podman would ask for them. */
function containersConfText(folder: string, limits: string): string {
  const atMost = (name: string, wanted: number): number =>
    Math.min(wanted, Number(new RegExp(`^${name}\\s+\\S+\\s+(\\d+)`, 'm').exec(limits)?.[1] ?? wanted));
  const ulimits = Object.entries({
    nofile: atMost('Max open files', 20_000),
    nproc: atMost('Max processes', 1000),
  }).map(([name, value]) => JSON.stringify(`${name}=${value}:${value}`));
  return `[containers]
default_ulimits = [${ulimits.join(', ')}]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_config_dir = ${JSON.stringify(join(folder, 'networks'))}
`;
}

const storageConfText = (): string => `[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
`;
