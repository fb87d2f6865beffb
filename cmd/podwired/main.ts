// podwired, the node's daemon: flags, signals, exit codes. What it does is wired in daemon.ts.
// Assumes root and its own Node (bin/podwired). The only place of the daemon that exits the process.
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';
import { isQuantity, quantityValue } from '../../lib/api/quantity.ts';
import { nodePaths } from '../../lib/kernel/paths.ts';
import { rangeDefaults } from '../../lib/controllers/cluster-ranges.ts';
import { isMember } from '../../lib/pki/membership.ts';
import { startAgent } from './agent.ts';
import { defaultNodePort } from './cluster-flags.ts';
import { addControllerFlags } from './controller-flags.ts';
import { startDaemon } from './daemon.ts';
import { type Flags, rememberedByAgent, rememberedFlags } from './flags.ts';
import { createLog } from './log.ts';
import { addResourceFlags } from './resource-flags.ts';

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0)
    throw new InvalidArgumentError('expected a whole number, 0 or more');
  return value;
}

function percent(text: string): number {
  if (positive(text) > 100) throw new InvalidArgumentError('expected 0 to 100');
  return Number(text);
}

function atLeastTwo(text: string): number {
  if (positive(text) < 2) throw new InvalidArgumentError('expected 2 or more');
  return Number(text);
}

function ipAddress(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('expected an IP address');
  return text;
}

/** 0: any that is free. */
function port(text: string): number {
  if (positive(text) > 65_535) throw new InvalidArgumentError('expected a port, at most 65535');
  return Number(text);
}

function sizeQuantity(text: string): string {
  if (!isQuantity(text) || quantityValue(text) < 1)
    throw new InvalidArgumentError('expected a size such as 10Mi');
  return text;
}

/** Flags are remembered: a later start may have another working folder. */
const absolute = (path: string): string => (path === '' ? '' : resolve(path));

const program = new Command('podwired')
  .description(
    'Runs Pods on this machine: the API, the kubelet, the node network. Usually started by "podwire up".',
  )
  .option('--root <dir>', 'put every path below DIR, so that several nodes can share a machine', '/')
  .option(
    '--network-backend <name>',
    'how Pods reach those of other nodes: vxlan[,vni=1][,port=8472][,tx-offload=off], host-gw, wireguard[,port=51820], ipip',
    'vxlan',
  )
  .option(
    '--cluster-cidr <cidr>',
    'the addresses of all Pods, one range a family with a comma between; each node gets a subnet of it',
    rangeDefaults.clusterCidr,
  )
  .option(
    '--node-cidr-mask-size-ipv4 <bits>',
    "prefix length of a node's IPv4 subnet",
    positive,
    rangeDefaults.nodeCidrMaskSizeIpv4,
  )
  .option(
    '--node-cidr-mask-size-ipv6 <bits>',
    "prefix length of a node's IPv6 subnet",
    positive,
    rangeDefaults.nodeCidrMaskSizeIpv6,
  )
  .option('--service-cidr <cidr>', 'the addresses of Services', rangeDefaults.serviceCidr)
  .option('--pod-cidr <cidr>', "this node's subnet, given by hand (default: one of the cluster's)")
  .option('--node-name <name>', "the node's name (default: the host name)")
  .option(
    '--node-ip <ip>',
    "the node's address (default: that of the default route, unless NAT gives every machine the same)",
  )
  .addOption(new Option('--runtime <name>', 'OCI runtime').choices(['crun', 'runc']).default('crun'))
  .option(
    '--runtime-endpoint <socket>',
    "run Pods under a container runtime of this machine by its CRI socket, e.g. unix:///run/containerd/containerd.sock; '': under podwire's own",
  )
  .option(
    '--cni-conf-dir <dir>',
    "where conflists are (default: /etc/podwire/cni/net.d); with --runtime-endpoint: the runtime's, e.g. /etc/cni/net.d",
    absolute,
  )
  .option(
    '--cni-bin-dir <dir...>',
    "where CNI plugins are looked for (default: podwire's own, then /opt/cni/bin)",
  )
  .option('--pod-pids-limit <n>', 'processes a Pod may have; 0: no limit', positive, 0)
  .option('--max-pods <n>', 'Pods this node takes', positive, 250)
  .option(
    '--image-gc-high-threshold <percent>',
    'of the disk: above it images that nobody uses are removed; 100: never',
    percent,
    85,
  )
  .option('--image-gc-low-threshold <percent>', 'until it is down to this', percent, 80)
  .option(
    '--container-log-max-size <quantity>',
    "a container's log of that size is put aside, and a new one begun",
    sizeQuantity,
    '10Mi',
  )
  .option(
    '--container-log-max-files <n>',
    "files of a container's log that are kept, 2 or more; older ones are compressed",
    atLeastTwo,
    5,
  )
  .option(
    '--allowed-unsafe-sysctls <names>',
    'sysctls that Pods may set beside the safe ones, e.g. net.core.*,kernel.msgmax',
    (names: string) => names.split(',').filter(Boolean),
  )
  .option('--cluster-dns <ip...>', 'DNS servers for Pods with dnsPolicy ClusterFirst', [] as string[])
  .option('--cluster-domain <name>', 'DNS domain of the cluster', 'cluster.local')
  .option(
    '--datastore <address>',
    'where the API keeps its objects: sqlite, or etcd://HOST:PORT,…[/PREFIX] that several servers share (etcds:// for TLS)',
    'sqlite',
  )
  .option('--datastore-ca <file>', "PEM of the authority that signed etcd's certificates", absolute)
  .option('--datastore-cert <file>', 'PEM of the certificate by which etcd knows this server', absolute)
  .option('--datastore-key <file>', 'PEM of its key', absolute)
  .addOption(
    new Option('--log-level <level>', 'least important message logged')
      .choices(['trace', 'debug', 'info', 'warn', 'error'])
      .default('info'),
  )
  .option(
    '--listen <addr:port>',
    'open the API to other machines by TLS (default: podwire token create opens :6443)',
  )
  .option('--advertise-address <ip>', 'the address by which other machines reach this server', ipAddress)
  .option(
    '--node-port <port>',
    "this node's TLS port, where servers ask for logs and exec",
    port,
    defaultNodePort,
  )
  .addOption(
    new Option('--certificate-ttl <seconds>', 'how long certificates live').argParser(positive).hideHelp(),
  )
  .argument('[role]', 'server: the API and a node; agent: a node of the cluster joined (default: as before)');

addResourceFlags(addControllerFlags(program)).parse();
type Role = 'server' | 'agent';
const [asked] = program.processedArgs as [Role | undefined];
if (asked !== undefined && asked !== 'server' && asked !== 'agent')
  program.error(`error: unknown role "${asked}": expected "server" or "agent"`);
const { root, logLevel, ...flags } = program.opts<Flags & { root: string; logLevel: string }>();
const given = Object.fromEntries(
  Object.entries(flags).filter(([name]) => program.getOptionValueSource(name) === 'cli'),
);
const log = createLog(logLevel, process.stderr);
const paths = nodePaths(root);

if (process.getuid?.() !== 0) {
  process.stderr.write('podwired: must run as root (it makes namespaces, mounts and cgroups)\n');
  process.exit(1);
}

/** A machine that joined is an agent. @throws PodwireError IS_AGENT */
function roleOf(role: Role | undefined): Role {
  if (role === 'server' && isMember(paths.pki))
    throw new PodwireError(
      'IS_AGENT',
      `this machine joined a cluster as an agent; "podwire leave" makes it a machine of its own again`,
    );
  return role ?? (isMember(paths.pki) ? 'agent' : 'server');
}

try {
  const [start, remembered] =
    roleOf(asked) === 'agent'
      ? ([startAgent, rememberedByAgent(paths)] as const)
      : ([startDaemon, rememberedFlags(paths)] as const);
  const options: Flags = { ...flags, ...remembered, ...given };
  const { cniConfDir } = options;
  const daemon = await start(
    { ...options, paths: cniConfDir ? { ...paths, cniConf: cniConfDir } : paths },
    log,
  );
  const stop = (signal: string) => {
    log.info({ signal }, 'stopping; Pods go on');
    daemon.close().then(
      () => process.exit(0),
      (error) => {
        log.fatal({ err: error }, `not stopped cleanly: ${messageOf(error)}`);
        process.exit(1);
      },
    );
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
} catch (error) {
  log.fatal({ err: error }, `podwired could not start: ${messageOf(error)}`);
  process.exit(1);
}
