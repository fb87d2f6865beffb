// What runs this node's containers: podwire's own runtime (conmon with crun or runc), or one of the machine by its CRI socket.
// Assumes a node stays with its choice while it has Pods; another choice is refused until they are gone. Wiring only.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { Cni } from '../../lib/cni/runtime.ts';
import type { ImageService, RuntimeService } from '../../lib/container/cri.ts';
import { createImageStore } from '../../lib/container/image/store.ts';
import { createContainerRuntime } from '../../lib/container/runtime.ts';
import { PodwireError } from '../../lib/exec/errors.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { networkName } from '../../lib/node-network/conflist.ts';
import { CniNetwork } from '../../lib/sandbox/cni-network.ts';
import { LocalRuntime } from '../../lib/sandbox/service.ts';
import type { Flags } from './flags.ts';
import { needProgram, pauseArgv, runtimeVersion } from './node-facts.ts';

export interface RuntimeOptions extends Flags {
  readonly paths: NodePaths;
  readonly log: Logger;
}

export interface NodeRuntime {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  /** `crun://1.8.1`, `containerd://1.6.20` */
  readonly version: string;
  /** Why no Pod can be made just now. */
  notReady(): string | undefined;
  /** The recorded network commands of a Pod's newest sandbox; undefined where nobody kept any. */
  networkTrace(podUid: string): string | undefined;
}

/** Opens it; what is missing is told before anything is touched. @throws PodwireError RUNTIME_CHANGED, PROGRAM_MISSING; CriError */
export async function openRuntime(options: RuntimeOptions): Promise<() => Promise<NodeRuntime>> {
  const { paths, log, runtimeEndpoint } = options;
  const [ownFolder, criFolder] = sandboxFolders(paths);
  if (!runtimeEndpoint) {
    refuseChange(criFolder, 'under a container runtime; start with its --runtime-endpoint');
    const programs = { ociRuntime: needProgram(options.runtime), conmon: needProgram('conmon') };
    for (const name of ['unshare', 'nsenter', 'start-stop-daemon']) needProgram(name);
    return () => localRuntime(options, programs);
  }
  refuseChange(ownFolder, "under podwire's own runtime; start without --runtime-endpoint");
  const { openCri } = await import('../../lib/cri/open.ts');
  const warn = (message: string, error: unknown): void => log.warn(error ? { err: error } : {}, message);
  const { runtime, images, version } = await openCri({ endpoint: runtimeEndpoint, paths, warn });
  const notReady = (): string | undefined => runtime.notReady();
  return async () => ({ runtime, images, version, notReady, networkTrace: () => undefined });
}

/** An entry a Pod: under our own runtime, and under a container runtime. */
export const sandboxFolders = (paths: NodePaths): [own: string, cri: string] => [
  paths.sandboxes,
  join(paths.run, 'cri'),
];

export const entriesOf = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

function refuseChange(folder: string, how: string): void {
  const pods = entriesOf(folder).length;
  if (pods === 0) return;
  throw new PodwireError(
    'RUNTIME_CHANGED',
    `${pods} Pods of this node run ${how}, or remove them first (podwire down --pods)`,
  );
}

async function localRuntime(
  options: RuntimeOptions,
  programs: { readonly ociRuntime: string; readonly conmon: string },
): Promise<NodeRuntime> {
  const { paths, log } = options;
  const images = createImageStore({ paths });
  const containers = createContainerRuntime({
    paths,
    images,
    ...programs,
    onWarning: (podUid, message) => log.warn({ podUid }, message),
  });
  const pluginDirs = options.cniBinDir ?? [ownPlugins(), '/opt/cni/bin', '/usr/lib/cni'];
  const isOwn = (name: string): boolean => name === networkName(paths.tag);
  const network = new CniNetwork(new Cni({ pluginDirs, cacheDir: paths.cni }), paths.cniConf, isOwn);
  const warn = (message: string, error: unknown) => log.warn({ err: error }, message);
  const runtime = new LocalRuntime({ paths, network, pauseArgv: pauseArgv(), warn }, containers);
  await images.recover();
  return {
    runtime,
    images,
    version: await runtimeVersion(options.runtime, programs.ociRuntime),
    notReady: () => undefined,
    networkTrace: (podUid) => runtime.networkTrace(podUid),
  };
}

/** dist/cni of this checkout, whether podwired runs as source or bundled. */
function ownPlugins(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'dist/cni')) && folder !== '/') folder = dirname(folder);
  return join(folder, 'dist/cni');
}
