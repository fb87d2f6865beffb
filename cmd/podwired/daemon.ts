// The daemon put together: the control plane, the node, and the API's face. Wiring only; each part decides itself.
// Assumes one daemon a root (the store's lock sees to it). Starts in the order in which the parts need each other.
import { mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { createApiServer } from '../../lib/apiserver/server.ts';
import { clusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { startControlPlane } from './control-plane.ts';
import { checkDatastoreChange, parseDatastore } from './datastore.ts';
import { type Flags, rememberedFlags, rememberFlags } from './flags.ts';
import { checkGround, prepareNode, rangeToLeave, type RunningNode } from './node.ts';
import { checkHost, nodeName } from './node-facts.ts';
import { purgeNode } from './purge.ts';
import { registerPodwireRoutes } from './routes.ts';
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
  const nodeOptions = { ...options, name, log };
  const ground = checkGround(nodeOptions);
  const ranges = clusterRanges(options);
  checkHost(options, ranges);
  rangeToLeave(paths, options.podCidr);
  const datastore = parseDatastore(options);
  checkDatastoreChange(paths, rememberedFlags(paths), datastore);
  makeFolders(paths);
  let node: RunningNode | undefined;
  const isStaticUid = (uid: string): boolean => node?.kubelet.isStaticUid(uid) ?? false;
  const controlPlane = await startControlPlane({
    paths,
    datastore,
    nodeName: name,
    ranges,
    isStaticUid,
    log,
  });
  const { registry } = controlPlane;
  const purgeScope = datastore.kind === 'etcd' ? { onlyNode: name } : {};
  const running = await prepareNode(nodeOptions, registry, ground);
  node = running;
  const { kubelet, images, streams } = running;
  let ready = false;
  const server = await createApiServer({
    registry,
    streams,
    version,
    isReady: () => ready,
    onError: (error) => log.error({ err: error }, error.message),
    register: (app) =>
      registerPodwireRoutes(app, {
        images,
        explain: async (key) => running.explain(await registry.get('pods', key)),
        networkReport: () => running.networkReport(),
        purge: () => purgeNode({ paths, client: registry, kubelet, log, ...purgeScope }),
      }),
  });
  await server.listen(paths.socket);
  await running.start();
  const { paths: _, ...flags } = options;
  rememberFlags(paths, flags);
  ready = true;
  log.info({ socket: paths.socket, node: name }, 'podwired is ready');
  await controlPlane.lead();
  return {
    close: async () => {
      await server.close();
      await running.close();
      await controlPlane.close();
    },
  };
}

function makeFolders(paths: NodePaths): void {
  for (const folder of [paths.run, paths.state, paths.pods, paths.cni, paths.exits, paths.logs])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const folder of [paths.etc, paths.cniConf, paths.manifests])
    mkdirSync(folder, { recursive: true, mode: 0o755 });
}
