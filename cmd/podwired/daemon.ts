// The daemon put together: the control plane, the node, and the API's face. Wiring only; each part decides itself.
// Assumes one daemon a root (the store's lock sees to it). Starts in the order in which the parts need each other.
import { mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { createNodeServer } from '../../lib/apiserver/node-server.ts';
import { type OpenRequest, registerClusterRoutes } from '../../lib/apiserver/routes-cluster.ts';
import {
  checkOtherServers,
  leaveServers,
  serverAnnotations,
} from '../../lib/apiserver/access/other-servers.ts';
import { createApiServer } from '../../lib/apiserver/server.ts';
import { messageOf } from '../../lib/exec/errors.ts';
import { clusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { ensureMachineId } from '../../lib/pki/membership.ts';
import { startControlPlane } from './control-plane.ts';
import { ClusterAccess } from './cluster-access.ts';
import { checkDatastoreChange, parseDatastore } from './datastore.ts';
import { type Flags, rememberedFlags, rememberFlags } from './flags.ts';
import { nodeDialer } from './node-dialer.ts';
import { checkGround, prepareNode, checkRangeChange } from './node.ts';
import { serverSettings, sharedSettings } from './settings.ts';
import { checkHost, hasAddress, nodeName } from './node-facts.ts';
import { purgeNode } from './purge.ts';
import { registerNetworkStatus } from './network-status.ts';
import { registerNetworkRoute, registerPodwireRoutes } from './routes.ts';
import { version } from './version.ts';

export interface DaemonOptions extends Flags {
  readonly paths: NodePaths;
}

export interface Daemon {
  /** Stops looking; Pods go on. */
  close(): Promise<void>;
}

/** The role server: the API, and a node. */
export async function startDaemon(options: DaemonOptions, log: Logger): Promise<Daemon> {
  const { paths } = options;
  const name = nodeName(options.nodeName);
  // Who says how others reach this machine says so of its Pods, too; unless NAT leads from there to here.
  const { advertiseAddress } = options;
  const ownIp =
    options.nodeIp ?? (advertiseAddress && hasAddress(advertiseAddress) ? advertiseAddress : undefined);
  const nodeOptions = {
    ...options,
    ...(ownIp ? { nodeIp: ownIp } : {}),
    name,
    log,
    port: () => access.nodePort(),
  };
  const ground = await checkGround(nodeOptions);
  const ranges = clusterRanges(options);
  checkHost(options, ranges);
  checkRangeChange(paths, options.podCidr);
  const datastore = parseDatastore(options);
  checkDatastoreChange(paths, rememberedFlags(paths), datastore);
  makeFolders(paths);
  const controlPlane = await startControlPlane({ paths, datastore, ranges, flags: options, log });
  const { registry } = controlPlane;
  const self = {
    ...{ name, address: ground.ip, machineId: ensureMachineId(paths.pki) },
    settings: serverSettings(options),
  };
  const shares = datastore.kind === 'etcd';
  if (shares) await checkOtherServers(registry, self);
  const { paths: _, ...flags } = options;
  let opened: OpenRequest = {};
  const access = new ClusterAccess({
    paths,
    nodeName: name,
    nodeIp: ground.ip,
    flags,
    settings: sharedSettings(options),
    registry,
    remember: (asked) => {
      opened = asked;
      rememberFlags(paths, { ...flags, ...opened });
      if (ready) running.report(); // the Node tells its port
    },
    log,
  });
  const annotations = shares ? serverAnnotations(self) : {};
  const running = await prepareNode({ ...nodeOptions, annotations }, registry, ground);
  const { kubelet, images, streams } = running;
  const dialer = nodeDialer({ client: registry, nodeName: name, credentials: () => access.credentials() });
  const onError = (error: Error): void => log.error({ err: error }, error.message);
  const own = { name, report: () => running.networkReport() };
  let ready = false;
  const isReady = (): boolean => ready;
  const server = await createApiServer({
    registry,
    streams,
    version,
    locate: dialer.locate,
    isReady,
    onError,
    register: (app) => {
      registerClusterRoutes(app, registry, access);
      registerPodwireRoutes(app, {
        identity: () => ({ node: name, role: 'server' }),
        images,
        explain: async (key) => running.explain(await registry.get('pods', key)),
        networkReport: own.report,
        purge: () =>
          purgeNode({
            paths,
            client: registry,
            kubelet,
            stopNetwork: () => running.stopNetwork(),
            nodeName: name,
            log,
          }),
      });
      registerNetworkStatus(app, { client: registry, own, dialer });
    },
  });
  const source = { find: (key: PodKey) => registry.get('pods', key), streams };
  const nodeServer = await createNodeServer({
    source,
    isReady,
    onError,
    register: (app) => registerNetworkRoute(app, own.report),
  });
  await server.listen(paths.socket);
  await access.start(server, nodeServer);
  await running.start();
  rememberFlags(paths, { ...flags, ...opened });
  ready = true;
  log.info({ socket: paths.socket, node: name }, 'podwired is ready');
  await controlPlane.lead();
  return {
    close: async () => {
      access.close();
      await nodeServer.close();
      await server.close();
      dialer.close();
      await running.close();
      if (shares)
        await leaveServers(registry, name).catch((error) => log.warn({ err: error }, messageOf(error)));
      await controlPlane.close();
    },
  };
}

type PodKey = { namespace: string; name: string };

export function makeFolders(paths: NodePaths): void {
  for (const folder of [paths.run, paths.state, paths.pki, paths.pods, paths.cni, paths.exits, paths.logs])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const folder of [paths.etc, paths.cniConf, paths.manifests])
    mkdirSync(folder, { recursive: true, mode: 0o755 });
}
