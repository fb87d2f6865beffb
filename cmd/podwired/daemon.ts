// The daemon put together: store, API, images, runtime, kubelet, node network. Wiring only; each part decides itself.
// Assumes one daemon a root (the store's lock sees to it). Starts in the order in which the parts need each other.
import { existsSync, mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { ApiError } from '../../lib/api/errors.ts';
import type { ApiObject, Pod } from '../../lib/api/types.ts';
import { type Admit, Registry } from '../../lib/apiserver/registry.ts';
import { createApiServer } from '../../lib/apiserver/server.ts';
import { explainScript } from '../../lib/cni/explain.ts';
import { Cni } from '../../lib/cni/runtime.ts';
import { createImageStore } from '../../lib/container/image-store.ts';
import { createContainerRuntime } from '../../lib/container/runtime.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { parseTrace } from '../../lib/kernel/trace.ts';
import { Kubelet } from '../../lib/kubelet/kubelet.ts';
import { runtimeUid } from '../../lib/kubelet/layout.ts';
import { registerNode } from '../../lib/kubelet/node-status.ts';
import { NodeStreams } from '../../lib/kubelet/streams.ts';
import { bridgeName, writeDefaultConflist } from '../../lib/node-network/conflist.ts';
import { ensureNodeNetwork, underlayMtu } from '../../lib/node-network/node-network.ts';
import { CniNetwork } from '../../lib/sandbox/cni-network.ts';
import { LocalRuntime } from '../../lib/sandbox/service.ts';
import { openSqliteStore } from '../../lib/store/sqlite.ts';
import { setUpCgroups } from './cgroups.ts';
import { needProgram, nodeDns, nodeIp, nodeName, pauseArgv, runtimeVersion } from './node-facts.ts';
import { purgeNode } from './purge.ts';
import { registerPodwireRoutes } from './routes.ts';
import { decodeStaticPod } from './static-manifest.ts';
import { version } from './version.ts';

export interface DaemonOptions {
  readonly paths: NodePaths;
  readonly podCidr: string;
  readonly nodeName?: string;
  readonly nodeIp?: string;
  readonly runtime: 'crun' | 'runc';
  readonly cniBinDir?: readonly string[];
  /** 0: no limit. */
  readonly podPidsLimit: number;
  readonly maxPods: number;
  readonly clusterDns: readonly string[];
  readonly clusterDomain: string;
}

export interface Daemon {
  /** Stops looking; Pods go on. */
  close(): Promise<void>;
}

export async function startDaemon(options: DaemonOptions, log: Logger): Promise<Daemon> {
  const { paths } = options;
  const name = nodeName(options.nodeName);
  const ip = options.nodeIp ?? nodeIp();
  // What is missing is told before anything is touched.
  const programs = { ociRuntime: needProgram(options.runtime), conmon: needProgram('conmon') };
  for (const name of ['ip', 'nft', 'unshare', 'nsenter', 'start-stop-daemon']) needProgram(name);
  makeFolders(paths);
  const store = openSqliteStore({ path: join(paths.state, 'store.db') });
  const registry = new Registry({
    store,
    admit: [assignTo(name)],
    onError: (error) => log.error({ err: error }, 'the registry failed'),
  });
  await registry.start();
  const prepared = await setUpCgroups(paths);
  if (prepared.mounted.length > 0)
    log.info({ mounted: prepared.mounted }, 'cgroup controllers mounted as v1 for crun');
  await ensureNodeNetwork({ podCidr: options.podCidr, paths });
  writeDefaultConflist(paths, {
    podCidr: options.podCidr,
    bridge: bridgeName(paths.tag),
    mtu: underlayMtu(),
  });

  const { runtime, images } = makeRuntime(options, programs, log);
  await images.recover();
  const dns = nodeDns(options.clusterDns, options.clusterDomain);
  const node = { name, hostname: hostname(), ip, dns, pidsLimit: options.podPidsLimit };
  const kubelet = new Kubelet({
    client: registry,
    runtime,
    images,
    paths,
    node,
    log,
    decodePod: decodeStaticPod,
  });
  let ready = false;
  const server = await createApiServer({
    registry,
    streams: new NodeStreams(runtime, paths),
    version,
    isReady: () => ready,
    onError: (error) => log.error({ err: error }, error.message),
    register: (app) =>
      registerPodwireRoutes(app, {
        images,
        explain: async (key) => explain(runtime, await registry.get('pods', key)),
        purge: () => purgeNode({ paths, client: registry, kubelet, log }),
      }),
  });
  await server.listen(paths.socket);
  const stop = new AbortController();
  await registerNode(
    registry,
    {
      name,
      ip,
      podCidr: options.podCidr,
      version,
      runtimeVersion: await runtimeVersion(options.runtime, programs.ociRuntime),
      maxPods: options.maxPods,
    },
    stop.signal,
  );
  await kubelet.start();
  ready = true;
  log.info({ socket: paths.socket, node: name, podCidr: options.podCidr }, 'podwired is ready');
  return {
    close: async () => {
      stop.abort();
      await server.close();
      await kubelet.close();
      await registry.close();
      await store.close();
    },
  };
}

function makeFolders(paths: NodePaths): void {
  for (const folder of [paths.run, paths.state, paths.pods, paths.cni, paths.exits, paths.logs])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const folder of [paths.etc, paths.cniConf, paths.manifests])
    mkdirSync(folder, { recursive: true, mode: 0o755 });
}

/** There is one node: a Pod that names none runs here. */
const assignTo =
  (node: string): Admit =>
  ({ resource, object, operation }) => {
    if (resource !== 'pods' || operation !== 'CREATE') return;
    const pod = object as ApiObject & Pick<Pod, 'spec'>;
    if (!pod.spec.nodeName) pod.spec.nodeName = node;
  };

function makeRuntime(
  options: DaemonOptions,
  programs: { readonly ociRuntime: string; readonly conmon: string },
  log: Logger,
) {
  const { paths } = options;
  const images = createImageStore({ paths });
  const containers = createContainerRuntime({
    paths,
    images,
    ...programs,
    onWarning: (podUid, message) => log.warn({ podUid }, message),
  });
  const pluginDirs = options.cniBinDir ?? [ownPlugins(), '/opt/cni/bin', '/usr/lib/cni'];
  const network = new CniNetwork(new Cni({ pluginDirs, cacheDir: paths.cni }), paths.cniConf);
  const warn = (message: string, error: unknown) => log.warn({ err: error }, message);
  return { runtime: new LocalRuntime({ paths, network, pauseArgv: pauseArgv(), warn }, containers), images };
}

/** dist/cni of this checkout, whether podwired runs as source or bundled. */
function ownPlugins(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'dist/cni')) && folder !== '/') folder = dirname(folder);
  return join(folder, 'dist/cni');
}

function explain(runtime: LocalRuntime, pod: Pod): string {
  const trace = runtime.networkTrace(runtimeUid(pod));
  const { namespace, name } = pod.metadata;
  if (trace === undefined)
    throw new ApiError(
      'NotFound',
      `pod "${namespace}/${name}" has no network of its own on this node (${pod.status?.phase})`,
    );
  return explainScript(parseTrace(trace), `${namespace}/${name}`);
}
