// A containerd of its own, for the bench and for the tests of our plugins under it: started, configured, images loaded.
// Assumes the cell (bench/lib/cell.ts): containerd's usual paths are the cell's own there. crun under shim v2.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDetached } from '../../lib/exec/detached.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { endProcess, tailOf, until } from '../lib/wait.ts';
import { type CriClient, connectCri } from './cri.ts';
import type { Workload } from './peer.ts';

// The paths are its defaults; in the cell they are our own.
const socket = '/run/containerd/containerd.sock';

export interface ContainerdSetup {
  /** For configuration and log. */
  readonly folder: string;
  readonly pauseRef: string;
  /** JSON of the network that CRI Pods get. */
  readonly conflist: string;
  /** Folder of CNI plugins. */
  readonly binDir: string;
}

export interface ContainerdDaemon {
  readonly cri: CriClient;
  readonly pid: number;
  readonly ended: Promise<unknown>;
}

/** Resolves when the CRI serves, network included, and knows both images. @throws PodwireError PEER_FAILED with the log's end */
export async function startContainerdDaemon(
  setup: ContainerdSetup,
  images: Workload,
): Promise<ContainerdDaemon> {
  const { folder, conflist } = setup;
  const config = join(folder, 'config.toml');
  const netConf = join(folder, 'net.d');
  mkdirSync(netConf, { recursive: true });
  writeFileSync(join(netConf, '10-net.conflist'), conflist);
  writeFileSync(config, configToml({ ...setup, netConf }));
  const logFile = join(folder, 'containerd.log');
  const { pid, ended } = await startDetached({ argv: ['containerd', '--config', config], logFile });
  const cri = connectCri(socket);
  try {
    await until('containerd serves the CRI', 30_000, async () => {
      const { status } = await cri.runtime('Status', {});
      const bad = status?.conditions?.find((condition) => !condition.status);
      if (bad) throw new Error(`${bad.type}: ${bad.message}`);
    });
    for (const archive of [images.imageArchive, images.pauseArchive])
      await run({ argv: ['ctr', '--namespace', 'k8s.io', 'images', 'import', archive], timeoutMs: 120_000 });
    for (const image of [images.imageRef, images.pauseRef])
      await until(`containerd knows ${image}`, 10_000, async () => {
        const reply = await cri.image('ImageStatus', { image: { image } });
        if (!reply.image) throw new Error('not there');
      });
    return { cri, pid, ended };
  } catch (error) {
    cri.close();
    await endProcess({ pid, ended }, 'SIGKILL');
    throw new PodwireError('PEER_FAILED', `${messageOf(error)}\n${tailOf(logFile)}`, { cause: error });
  }
}

// restrict_oom_score_adj: where CAP_SYS_RESOURCE is missing no score can be lowered. Quoted as JSON, which TOML shares.
function configToml({ netConf, pauseRef, binDir }: ContainerdSetup & { netConf: string }): string {
  const text = JSON.stringify;
  return `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseRef)}
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(binDir)}
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
