// A containerd of its own, for the bench and for the tests of our plugins under it: started, configured, images loaded.
// Assumes the cell (bench/lib/cell.ts): containerd's usual paths are the cell's own there. crun under shim v2.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDetached } from '../../lib/exec/detached.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import { run } from '../../lib/exec/exec.ts';
import { findProgram } from '../../lib/exec/find-program.ts';
import { CriConnection } from '../../lib/cri/connection.ts';
import { endProcess, tailOf, until } from '../lib/wait.ts';
import type { Workload } from './peer.ts';

export interface ContainerdSetup {
  /** For configuration and log. */
  readonly folder: string;
  readonly pauseRef: string;
  /** JSON of the network that CRI Pods get. */
  readonly conflist?: string;
  /** Folder of CNI plugins. */
  readonly binDir: string;
  /** Folder of conflists that somebody else writes; absent: one of its own, with `conflist` in it. */
  readonly confDir?: string;
  readonly ociRuntime?: 'crun' | 'runc';
  /** Where all its files go; absent: its defaults, which in the cell are our own. */
  readonly root?: string;
}

export const containerdSocket = (root?: string): string =>
  root === undefined ? '/run/containerd/containerd.sock' : join(root, 'containerd.sock');

export interface ContainerdDaemon {
  readonly cri: CriConnection;
  readonly pid: number;
  readonly ended: Promise<unknown>;
}

/** Resolves when the CRI serves, network included, and knows both images. @throws PodwireError PEER_FAILED with the log's end */
export async function startContainerdDaemon(
  setup: ContainerdSetup,
  images: Pick<Workload, 'imageRef' | 'pauseRef'> & Partial<Pick<Workload, 'imageArchive' | 'pauseArchive'>>,
): Promise<ContainerdDaemon> {
  const { folder, conflist } = setup;
  const socket = containerdSocket(setup.root);
  const config = join(folder, 'config.toml');
  const netConf = setup.confDir ?? join(folder, 'net.d');
  mkdirSync(netConf, { recursive: true });
  if (conflist !== undefined) writeFileSync(join(netConf, '10-net.conflist'), conflist);
  writeFileSync(config, configToml({ ...setup, netConf }));
  const logFile = join(folder, 'containerd.log');
  const { pid, ended } = await startDetached({ argv: ['containerd', '--config', config], logFile });
  const cri = await CriConnection.open(socket);
  try {
    await until('containerd serves the CRI', 30_000, async () => {
      const { status } = await cri.call('Status', {});
      const bad = status?.conditions.find(
        (condition) => !condition.status && (conflist !== undefined || condition.type !== 'NetworkReady'),
      );
      if (bad) throw new Error(`${bad.type}: ${bad.message}`);
    });
    for (const archive of [images.imageArchive, images.pauseArchive].filter((path) => path !== undefined))
      await run({
        argv: ['ctr', '--address', socket, '--namespace', 'k8s.io', 'images', 'import', archive],
        timeoutMs: 120_000,
      });
    for (const image of [images.imageRef, images.pauseRef])
      await until(`containerd knows ${image}`, 60_000, async () => {
        const reply = await cri.call('ImageStatus', { image: { image } });
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
function configToml(setup: ContainerdSetup & { netConf: string }): string {
  const { netConf, pauseRef, binDir, root, ociRuntime = 'crun' } = setup;
  const text = JSON.stringify;
  const places =
    root === undefined
      ? ''
      : `root = ${text(join(root, 'root'))}
state = ${text(join(root, 'state'))}
[grpc]
  address = ${text(containerdSocket(root))}
`;
  return `version = 2
${places}[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseRef)}
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(binDir)}
    conf_dir = ${text(netConf)}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = ${text(ociRuntime)}
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${ociRuntime}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.${ociRuntime}.options]
        BinaryName = ${text(findProgram(ociRuntime))}
        SystemdCgroup = false
        Root = ${text(root === undefined ? '' : join(root, 'oci'))}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text(join(root ?? '/var/lib/containerd', 'opt'))}
`;
}
