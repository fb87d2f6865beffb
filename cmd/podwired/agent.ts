// The role agent: a node whose API is that of the cluster's servers, reached by mutual TLS with the node's certificate.
// Assumes the machine has joined (podwire join). Pods go on whether a server answers or not; what comes from a server
// waits until one does.
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isReason } from '../../lib/api/errors.ts';
import { HttpClient } from '../../lib/api/http/client.ts';
import type { Pod } from '../../lib/api/types.ts';
import { createNodeServer } from '../../lib/apiserver/node-server.ts';
import { clusterRanges } from '../../lib/controllers/cluster-ranges.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import {
  checkClocks,
  checkValidity,
  type Credentials,
  newKey,
  validityOf,
} from '../../lib/pki/certificate.ts';
import { createRequest } from '../../lib/pki/issue.ts';
import { serverClock } from '../../lib/pki/join-client.ts';
import {
  type Membership,
  readCredentials,
  readMembership,
  servingFirst,
  writeCredentials,
  writeMembership,
} from '../../lib/pki/membership.ts';
import { listenAnywhere } from './cluster-access.ts';
import { type Daemon, type DaemonOptions, makeFolders } from './daemon.ts';
import { rememberFlags } from './flags.ts';
import { forwardToServer } from './forward.ts';
import { checkGround, prepareNode } from './node.ts';
import { checkHost, nodeIp } from './node-facts.ts';
import { purgeNode } from './purge.ts';
import { keepRenewed } from './renewal.ts';
import { registerPodwireRoutes } from './routes.ts';
import type { Settings } from './settings.ts';

const retryMs = 1000;
const settingsMs = 60_000;
/** How long a start waits for the cluster's settings before it goes by those it knows. */
const soonMs = 2000;

export async function startAgent(given: DaemonOptions, log: Logger): Promise<Daemon> {
  const { paths } = given;
  const stop = new AbortController();
  const { signal } = stop;
  const cluster = await openMembership(given);
  const { name, address } = cluster.membership;
  const target = {
    servers: () => cluster.membership.settings.servers,
    credentials: () => cluster.credentials,
  };
  const client = new HttpClient(target);
  // The node is made of what the cluster is now; where no server answers at once, of what it was.
  const refreshed = refreshSettings(client, cluster).catch(() => {});
  await Promise.race([refreshed, setTimeout(soonMs, undefined, { ref: false })]);
  const options = { ...given, ...cluster.membership.settings, nodeName: name, nodeIp: address };
  let nodePort = 0;
  const nodeOptions = { ...options, name, log, port: () => nodePort };
  const ground = await checkGround(nodeOptions);
  checkHost({}, clusterRanges(options));
  makeFolders(paths);
  const running = await prepareNode(nodeOptions, client, ground);
  const { kubelet, images, streams } = running;
  const find = async (key: { namespace: string; name: string }) =>
    kubelet.pods().find(isNamed(key)) ?? (await client.get('pods', key));
  let ready = false;
  let waiting: string | undefined;
  const forward = forwardToServer(target, { nodeName: name, pods: () => kubelet.pods() });
  const server = await createNodeServer({
    source: { find, streams },
    isReady: () => ready,
    forward: forward.relay,
    onError: (error) => log.error({ err: error }, error.message),
    register: (app) =>
      registerPodwireRoutes(app, {
        identity: () => ({ node: name, role: 'agent', waiting }),
        images,
        explain: async (key) => running.explain(await find(key)),
        networkReport: () => running.networkReport(),
        purge: () =>
          purgeNode({
            paths,
            client,
            kubelet,
            stopNetwork: () => running.stopNetwork(),
            nodeName: name,
            log,
          }),
      }),
  });
  await server.listen(paths.socket);
  const at = { host: '', port: given.nodePort };
  const listener = await listenAnywhere(server, at, cluster.credentials).catch(portTaken);
  nodePort = listener.port;
  const { paths: _, ...flags } = given;
  rememberFlags(paths, flags);
  await running.recover();
  await untilServerAnswers(client, cluster, (why) => {
    waiting = why;
    log.warn(`waiting for a server: ${why}`);
  });
  waiting = undefined;
  await refreshSettings(client, cluster).catch(() => {}); // those of the last time do
  keepRenewed({
    what: "the node's certificate",
    current: () => cluster.credentials.cert,
    renew: async () => {
      await renew(client, cluster);
      listener.renew(cluster.credentials);
    },
    log,
    signal,
  });
  const settingsTimer = setInterval(() => {
    refreshSettings(client, cluster).catch(() => {}); // the next one tells
  }, settingsMs).unref();
  await running.start(cluster.membership.settings);
  ready = true;
  log.info({ socket: paths.socket, node: name, servers: target.servers() }, 'podwired is ready');
  return {
    close: async () => {
      stop.abort();
      clearInterval(settingsTimer);
      await server.close();
      forward.close();
      await running.close();
      client.close();
    },
  };
}

function portTaken(cause: unknown): never {
  if (!(cause instanceof PodwireError) || cause.code !== 'PORT_IN_USE') throw cause;
  throw new PodwireError(cause.code, `${cause.message}: give another one with --node-port`);
}

const isNamed =
  (key: { namespace: string; name: string }) =>
  ({ metadata }: Pod): boolean =>
    metadata.name === key.name && metadata.namespace === key.namespace;

interface Cluster {
  readonly folder: string;
  membership: Membership<Settings>;
  credentials: Credentials;
}

/** @throws PodwireError NOT_JOINED, NAME_CHANGED, BAD_NODE_IP, CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID, PKI_FILES */
async function openMembership({ paths: { pki }, nodeName, nodeIp: given }: DaemonOptions): Promise<Cluster> {
  const membership = readMembership<Settings>(pki);
  if (!membership)
    throw new PodwireError(
      'NOT_JOINED',
      'this machine has not joined a cluster: run the line that "podwire token create" prints on a server',
    );
  const { name } = membership;
  if (nodeName !== undefined && nodeName !== name)
    throw new PodwireError(
      'NAME_CHANGED',
      `--node-name ${nodeName}: this machine joined as "${name}"; to change it, join again with a new token`,
    );
  const cluster = { folder: pki, membership, credentials: readCredentials(pki) };
  if (given !== undefined) remember(cluster, { ...membership, address: nodeIp(given) });
  await checkOwnCertificate(cluster);
  return cluster;
}

/** @throws PkiError CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID with the clocks of both sides */
async function checkOwnCertificate({ membership: { name, settings }, credentials }: Cluster): Promise<void> {
  const validity = validityOf(credentials.cert);
  const what = `the certificate of node "${name}"`;
  try {
    checkValidity(validity, { what, now: Date.now() });
  } catch {
    const clocks = await Promise.all(settings.servers.map(serverClock));
    const serverNow = clocks.find((clock) => clock !== undefined);
    checkValidity(validity, { what, now: Date.now(), serverNow });
  }
}

/**
 * A server that is starting, or not reachable yet, is waited for: Pods go on meanwhile.
 * @throws ApiError Unauthorized when a server knows this node no more; PkiError CLOCKS_DIFFER
 */
async function untilServerAnswers(
  client: HttpClient,
  cluster: Cluster,
  onWait: (why: string) => void,
): Promise<void> {
  let told: string | undefined;
  for (;;) {
    try {
      await client.request('GET', '/api');
      return;
    } catch (error) {
      for (const server of cluster.membership.settings.servers) {
        const clock = isClockFault(error) ? await serverClock(server) : undefined;
        if (clock !== undefined) checkClocks(Date.now(), clock);
      }
      if (isReason(error, 'Unauthorized')) throw error;
      if (told !== messageOf(error)) onWait(messageOf(error));
      told = messageOf(error);
      await setTimeout(retryMs);
    }
  }
}

/** A certificate of the far side that is not valid by this clock, or ours by theirs. */
function isClockFault(error: unknown): boolean {
  const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
  return code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED' || isReason(error, 'Unauthorized');
}

async function refreshSettings(client: HttpClient, cluster: Cluster): Promise<void> {
  const told = await client.request<Settings>('GET', '/podwire/v1/cluster');
  const settings = { ...told, servers: servingFirst(told.servers, client.server) };
  if (JSON.stringify(settings) === JSON.stringify(cluster.membership.settings)) return;
  remember(cluster, { ...cluster.membership, settings });
}

function remember(cluster: Cluster, membership: Membership<Settings>): void {
  cluster.membership = membership;
  writeMembership(cluster.folder, membership);
}

async function renew(client: HttpClient, cluster: Cluster): Promise<void> {
  const key = newKey();
  const request = await createRequest(key);
  const { certificate } = await client.request<{ certificate: string }>('POST', '/podwire/v1/renew', {
    request,
  });
  const { ca } = cluster.credentials;
  cluster.credentials = { ca, cert: certificate, key };
  writeCredentials(cluster.folder, cluster.credentials);
}
