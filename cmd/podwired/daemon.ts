// The daemon put together: store, API, images, runtime, kubelet, node network. Wiring only; each part decides itself.
// Assumes one daemon a root (the store's lock sees to it). Starts in the order in which the parts need each other.
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
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
import { readIfThere } from '../../lib/kernel/files.ts';
import { deleteLink } from '../../lib/kernel/link.ts';
import { parseTrace, type Trace, traceTo } from '../../lib/kernel/trace.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import { Kubelet } from '../../lib/kubelet/kubelet.ts';
import { mirrorAnnotation, runtimeUid, sourceAnnotation } from '../../lib/kubelet/layout.ts';
import { registerNode } from '../../lib/kubelet/node-status.ts';
import { NodeStreams } from '../../lib/kubelet/streams.ts';
import {
  bridgeName,
  networkName,
  parsePodCidr,
  writeDefaultConflist,
} from '../../lib/node-network/conflist.ts';
import { ensureNodeNetwork, underlayMtu } from '../../lib/node-network/node-network.ts';
import { CniNetwork } from '../../lib/sandbox/cni-network.ts';
import { LocalRuntime } from '../../lib/sandbox/service.ts';
import { openSqliteStore } from '../../lib/store/sqlite.ts';
import { setUpCgroups } from './cgroups.ts';
import { needProgram, nodeDns, nodeIp, nodeName, pauseArgv, runtimeVersion } from './node-facts.ts';
import { purgeNode } from './purge.ts';
import { registerPodwireRoutes } from './routes.ts';
import { type Flags, rememberedFlags, rememberFlags } from './flags.ts';
import { decodeStaticPod } from './static-manifest.ts';
import { version } from './version.ts';

export interface DaemonOptions extends Flags {
  readonly paths: NodePaths;
}

export interface Daemon {
  /** Stops looking; Pods go on. */
  close(): Promise<void>;
}

export async function startDaemon(options: DaemonOptions, log: Logger): Promise<Daemon> {
  const { paths } = options;
  const name = nodeName(options.nodeName);
  const ip = nodeIp(options.nodeIp);
  const ranges = parsePodCidr(options.podCidr);
  // What is missing is told before anything is touched.
  const programs = { ociRuntime: needProgram(options.runtime), conmon: needProgram('conmon') };
  for (const name of ['ip', 'nft', 'unshare', 'nsenter', 'start-stop-daemon']) needProgram(name);
  const oldRange = rangeToLeave(options);
  makeFolders(paths);
  const store = openSqliteStore({
    path: join(paths.state, 'store.db'),
    onError: (error) => log.error({ err: error }, `store: ${messageOf(error)}`),
  });
  const registry = new Registry({
    store,
    admit: [assignTo(name), refuseForeignMirrors((uid) => kubelet.isStaticUid(uid))],
    isServed: (node) => node === name,
    onError: (error) => log.error({ err: error }, 'the registry failed'),
  });
  await registry.start();
  const prepared = await setUpCgroups(paths);
  if (prepared.mounted.length > 0)
    log.info({ mounted: prepared.mounted }, 'cgroup controllers mounted as v1 for crun');
  if (oldRange) await deleteLink(bridgeName(paths.tag)); // it has that range's gateway address
  const trace = nodeTrace(paths);
  await ensureNodeNetwork({ podCidr: options.podCidr, paths, trace });
  writeDefaultConflist(paths, {
    podCidr: options.podCidr,
    bridge: bridgeName(paths.tag),
    mtu: underlayMtu(),
  });

  const { runtime, images } = makeRuntime(options, programs, log);
  await images.recover();
  const dns = nodeDns(options.clusterDns, options.clusterDomain);
  const node = { name, hostname: hostname(), ip, dns, pidsLimit: options.podPidsLimit };
  const kubelet: Kubelet = new Kubelet({
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
        explain: async (key) => explain(paths, runtime, await registry.get('pods', key)),
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
      podCidrs: ranges,
      version,
      runtimeVersion: await runtimeVersion(options.runtime, programs.ociRuntime),
      maxPods: options.maxPods,
    },
    stop.signal,
  );
  await kubelet.start();
  const { paths: _, ...flags } = options;
  rememberFlags(paths, flags);
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

/** The Pods' range of the last start where it is another one now. @throws PodwireError while Pods have addresses of it */
function rangeToLeave({ paths, podCidr }: DaemonOptions): string | undefined {
  const former = rememberedFlags(paths)?.podCidr;
  if (former === undefined || former === podCidr) return undefined;
  const pods = existsSync(paths.sandboxes) ? readdirSync(paths.sandboxes).length : 0;
  if (pods === 0) return former;
  throw new PodwireError(
    'POD_CIDR_IN_USE',
    `--pod-cidr ${podCidr}: ${pods} Pods of this node have addresses of ${former}; start without the flag, or remove them first (podwire down --pods)`,
  );
}

/** The node's own network commands, from this start on. */
function nodeTrace(paths: NodePaths): Trace {
  const file = nodeTraceFile(paths);
  rmSync(file, { force: true });
  return traceTo(file);
}

const nodeTraceFile = (paths: NodePaths): string => join(paths.run, 'network-trace.jsonl');

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

/** A mirror shows a static Pod of this node; nobody may pass a Pod of theirs off as one. */
const refuseForeignMirrors =
  (isStaticUid: (uid: string) => boolean): Admit =>
  ({ resource, object, operation }) => {
    if (resource !== 'pods' || operation !== 'CREATE') return;
    const annotations = object.metadata.annotations ?? {};
    const mirrored = annotations[mirrorAnnotation];
    if (mirrored !== undefined ? isStaticUid(mirrored) : annotations[sourceAnnotation] === undefined) return;
    const name = mirrored === undefined ? sourceAnnotation : mirrorAnnotation;
    throw new ApiError(
      'Forbidden',
      `metadata.annotations[${name}]: only the kubelet sets it, on mirrors of static Pods`,
    );
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
  const isOwn = (name: string): boolean => name === networkName(paths.tag);
  const network = new CniNetwork(new Cni({ pluginDirs, cacheDir: paths.cni }), paths.cniConf, isOwn);
  const warn = (message: string, error: unknown) => log.warn({ err: error }, message);
  return { runtime: new LocalRuntime({ paths, network, pauseArgv: pauseArgv(), warn }, containers), images };
}

/** dist/cni of this checkout, whether podwired runs as source or bundled. */
function ownPlugins(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'dist/cni')) && folder !== '/') folder = dirname(folder);
  return join(folder, 'dist/cni');
}

function explain(paths: NodePaths, runtime: LocalRuntime, pod: Pod): string {
  const trace = runtime.networkTrace(runtimeUid(pod));
  const { namespace, name } = pod.metadata;
  if (trace === undefined)
    throw new ApiError(
      'NotFound',
      `pod "${namespace}/${name}" has no network of its own on this node (${pod.status?.phase})`,
    );
  const own = parseTrace(trace);
  const node = parseTrace(readIfThere(nodeTraceFile(paths)) ?? '').map((line) => ({
    ...line,
    held: true as const,
  }));
  // Our plugins write down what they do; of others only the namespace is known.
  const silent = own.every((line) => line.lines.every((text) => /^(netns add|link set lo up)/.test(text)));
  const about = `The network of Pod ${namespace}/${name}, and of its node before it.`;
  const remark = " Its CNI plugins are not podwire's and keep no record: what they did is missing here.";
  return explainScript([...node, ...own], silent ? about + remark : about);
}
