// The node's part of the daemon, on a server and on an agent alike: cgroups, network, runtime, images, kubelet.
// Assumes a Client (in process or over HTTP) and one daemon a root. Wiring only; each part decides itself.
import { rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { Client } from '../../lib/api/client.ts';
import { ApiError } from '../../lib/api/errors.ts';
import { quantityValue } from '../../lib/api/quantity.ts';
import type { Node, Pod } from '../../lib/api/types.ts';
import { explainScript } from '../../lib/cni/explain.ts';
import type { ImageService, RuntimeService } from '../../lib/container/cri.ts';
import { PodwireError } from '../../lib/exec/errors.ts';
import { readIfThere } from '../../lib/kernel/files.ts';
import { deleteLink } from '../../lib/kernel/link.ts';
import type { NodePaths } from '../../lib/kernel/paths.ts';
import { parseTrace, type Trace, traceTo } from '../../lib/kernel/trace.ts';
import { checkAllowedSysctls } from '../../lib/kubelet/admission.ts';
import { removeOrphanedSandboxes } from '../../lib/kubelet/housekeeping.ts';
import { Kubelet } from '../../lib/kubelet/kubelet.ts';
import { runtimeUid } from '../../lib/kubelet/layout.ts';
import { keepNodeLease, nodeLeaseSeconds } from '../../lib/kubelet/node-lease.ts';
import { NodeStatusReporter } from '../../lib/kubelet/node-status.ts';
import { NodeStreams } from '../../lib/kubelet/streams.ts';
import { parseBackend } from '../../lib/node-network/backend-config.ts';
import { bridgeName, generatedRanges, parsePodCidr } from '../../lib/node-network/conflist.ts';
import {
  type NetworkHealth,
  type NetworkReport,
  startNetworkHealth,
} from '../../lib/node-network/health/health.ts';
import type { NodeNetworkLog } from '../../lib/node-network/types.ts';
import { type RunningNodeNetwork, startNodeNetwork } from '../../lib/node-network/loop.ts';
import { setUpCgroups } from './cgroups.ts';
import type { Flags } from './flags.ts';
import { leastOomScore, machineFigures, needProgram, nodeAmounts, nodeDns, nodeIp } from './node-facts.ts';
import { entriesOf, type NodeRuntime, openRuntime, sandboxFolders } from './node-runtime.ts';
import { capacityOf, evictionOf } from './resource-flags.ts';
import { decodeStaticPod } from './static-manifest.ts';
import { version } from './version.ts';

export interface NodeOptions extends Flags {
  readonly paths: NodePaths;
  readonly name: string;
  readonly log: Logger;
  /** Of this node's TLS face; 0 while it has none. */
  readonly port: () => number;
  /** What its Node says beside what is known of every node. */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What is made before the API is there to be asked. */
export interface NodeGround {
  readonly ip: string;
  /** Takes up what runs this node's containers. */
  readonly runtime: () => Promise<NodeRuntime>;
}

export interface RunningNode {
  readonly kubelet: Kubelet;
  readonly images: ImageService;
  readonly streams: NodeStreams;
  /** The network of a Pod of this node, as commands. @throws ApiError NotFound */
  explain(pod: Pod): string;
  /** This node's network and how it reaches the others. @throws ApiError ServiceUnavailable before it was started */
  networkReport(): NetworkReport;
  /** Writes the Node's status now rather than at the next look; a failure is left to that. */
  report(): void;
  /** Adopts what runs here; repeatable. */
  recover(): Promise<void>;
  /** Registers the node and takes up its Pods; `settings`: the cluster's, where they are known better than when it was prepared. */
  start(settings?: Partial<Flags>): Promise<void>;
  /** Ends what repairs the network between nodes, for whoever takes it away. */
  stopNetwork(): Promise<void>;
  /** Stops looking; Pods go on. */
  close(): Promise<void>;
}

/** What is missing is told before anything is touched. @throws PodwireError */
export async function checkGround(options: NodeOptions): Promise<NodeGround> {
  if (options.podCidr !== undefined) parsePodCidr(options.podCidr);
  parseBackend(options.networkBackend ?? 'vxlan');
  if (options.imageGcLowThreshold >= options.imageGcHighThreshold)
    throw new PodwireError(
      'BAD_FLAG',
      `--image-gc-low-threshold ${options.imageGcLowThreshold}: must be less than --image-gc-high-threshold ${options.imageGcHighThreshold}`,
    );
  const ip = nodeIp(options.nodeIp);
  for (const name of ['ip', 'nft']) needProgram(name);
  return { ip, runtime: await openRuntime(options) };
}

export async function prepareNode(
  options: NodeOptions,
  client: Client,
  ground: NodeGround,
): Promise<RunningNode> {
  const { paths, log, name } = options;
  await prepareKernel(options);
  let network: RunningNodeNetwork | undefined;
  let health: NetworkHealth | undefined;
  const nodeRuntime = await ground.runtime();
  const { runtime, images } = nodeRuntime;
  const dns = nodeDns(options.clusterDns, options.clusterDomain);
  const machine = machineFigures(paths.state, options.maxPods);
  const capacity = capacityOf(machine, options);
  const node = {
    name,
    hostname: hostname(),
    ip: ground.ip,
    dns,
    limits: {
      pidsLimit: options.podPidsLimit,
      memory: machine.memory,
      leastOomScore: leastOomScore(),
      hugePages: Object.keys(machine.hugePages).filter((size) => machine.hugePages[size]),
    },
    allocatable: capacity.allocatable,
    allowedUnsafeSysctls: checkAllowedSysctls(options.allowedUnsafeSysctls ?? []),
    amounts: nodeAmounts(capacity),
  };
  let report = async (): Promise<void> => {};
  const kubelet = new Kubelet({
    client,
    runtime,
    images,
    paths,
    node,
    log,
    decodePod: decodeStaticPod,
    eviction: evictionOf(options),
    onPressure: () => void report().catch(() => {}), // the next report tells
    imageGc: { high: options.imageGcHighThreshold, low: options.imageGcLowThreshold },
    logLimits: {
      maxBytes: quantityValue(options.containerLogMaxSize),
      maxFiles: options.containerLogMaxFiles,
    },
    networkNotReady: () => (network ? network.notReady() : 'the network has not been started'),
  });
  const stop = new AbortController();
  let reporter: NodeStatusReporter | undefined;
  const start = async (settings: Partial<Flags> = {}): Promise<void> => {
    const current = { ...options, ...settings };
    const input = {
      name,
      ip: ground.ip,
      ...(options.podCidr === undefined ? {} : { podCidrs: parsePodCidr(options.podCidr) }),
      ...(options.annotations ? { annotations: options.annotations } : {}),
      version,
      runtimeVersion: nodeRuntime.version,
      capacity,
      port: options.port,
    };
    const { signal } = stop;
    const notReady = (): string | undefined => nodeRuntime.notReady() ?? network?.notReady();
    const pressures = () => kubelet.pressures();
    const status = new NodeStatusReporter({ client, input, notReady, pressures, log, signal });
    report = () => status.report();
    reporter = status;
    await leaveOldRange(await status.register(), { paths, runtime, log });
    keepNodeLease({
      client,
      node: () => status.node,
      seconds: Math.min(nodeLeaseSeconds, current.nodeMonitorGracePeriod ?? nodeLeaseSeconds),
      log,
      signal,
    });
    network = await startNetwork(current, client, ground);
    health = startNetworkHealth({ client, nodeName: name, network, log: plainLog(log) });
    await status.start();
    void network.ready.then(() => status.report()).catch(() => {}); // the next report tries again
    await kubelet.start();
    void network.ready.then(() => kubelet.wakeAll());
  };
  const stopNetwork = async (): Promise<void> => {
    health?.close();
    await network?.close();
    health = undefined;
    network = undefined;
  };
  const close = async (): Promise<void> => {
    stop.abort();
    health?.close();
    await kubelet.close();
    await stopNetwork();
  };
  const streams = new NodeStreams(runtime, paths);
  const networkReport = (): NetworkReport => {
    if (health) return health.report();
    throw new ApiError('ServiceUnavailable', `the network of node ${name} has not been started`);
  };
  return {
    kubelet,
    images,
    streams,
    networkReport,
    explain: (pod) => explain(options, nodeRuntime.networkTrace(runtimeUid(pod)), pod),
    report: () => void reporter?.report().catch(() => {}),
    recover: () => kubelet.recover(),
    start,
    stopNetwork,
    close,
  };
}

/** cgroups. */
async function prepareKernel({ paths, log }: NodeOptions): Promise<void> {
  const prepared = await setUpCgroups(paths);
  if (prepared.mounted.length > 0)
    log.info({ mounted: prepared.mounted }, 'cgroup controllers mounted as v1 for crun');
}

/**
 * A node that joined anew may have other subnets than until now, and the former be another node's: Pods with addresses of
 * those go (the kubelet makes anew what the API still has), and so does the bridge, for it has their gateway's.
 */
async function leaveOldRange(
  { spec }: Node,
  { paths, runtime, log }: { paths: NodePaths; runtime: RuntimeService; log: Logger },
): Promise<void> {
  const former = formerRange(paths, spec?.podCIDRs?.join());
  if (!former) return;
  log.warn(`this node's Pods were in ${former}, which is not its subnet any more: what is left of them goes`);
  await removeOrphanedSandboxes({ runtime, log, isKnown: () => false });
  await deleteLink(bridgeName(paths.tag));
}

/** The network that all Pods of this node share, and the way to those of the others. */
function startNetwork(options: NodeOptions, client: Client, ground: NodeGround): Promise<RunningNodeNetwork> {
  const { paths, name, log } = options;
  return startNodeNetwork({
    client,
    nodeName: name,
    address: ground.ip,
    backend: parseBackend(options.networkBackend ?? 'vxlan'),
    paths,
    clusterCidrs: options.clusterCidr.split(','),
    trace: nodeTrace(paths),
    log: plainLog(log),
  });
}

const plainLog = (log: Logger): NodeNetworkLog => ({
  info: (message) => log.info(message),
  warn: (message) => log.warn(message),
});

/** The Pods' range of the last start where it is another one now. */
function formerRange(paths: NodePaths, podCidr: string | undefined): string | undefined {
  const former = generatedRanges(paths);
  return podCidr && former !== parsePodCidr(podCidr).join() ? former : undefined;
}

/** A person who changes --pod-cidr is to remove the Pods first. @throws PodwireError POD_CIDR_IN_USE */
export function checkRangeChange(paths: NodePaths, podCidr: string | undefined): void {
  const former = formerRange(paths, podCidr);
  const pods = former ? sandboxFolders(paths).reduce((sum, folder) => sum + entriesOf(folder).length, 0) : 0;
  if (pods === 0) return;
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

function explain({ paths, runtimeEndpoint }: NodeOptions, trace: string | undefined, pod: Pod): string {
  const { namespace, name } = pod.metadata;
  if (trace === undefined && runtimeEndpoint && !pod.spec.hostNetwork)
    throw new ApiError(
      'NotFound',
      `pod "${namespace}/${name}": the container runtime ran the CNI plugins, and kept no record of it`,
    );
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
