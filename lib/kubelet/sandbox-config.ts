// One Pod as a sandbox: host name, DNS, namespaces, ports, cgroup limits. Pure.
// Assumes a defaulted, validated Pod. O(containers).
// Source: kubelet's generatePodSandboxConfig, GeneratePodHostNameAndDomain, dns.GetPodDNS.
import { lastingContainers } from '../api/pod-containers.ts';
import { bandwidthOf } from '../api/bandwidth.ts';
import { PodwireError } from '../exec/errors.ts';
import type { Pod } from '../api/types.ts';
import type { DnsConfig, NamespaceMode, PodSandboxConfig, PortMapping } from '../container/cri.ts';
import { type NodeLimits, podResources } from './resources.ts';

export interface NodeDns {
  /** What the node itself uses (/etc/resolv.conf). */
  readonly node: DnsConfig;
  /** The cluster's DNS servers; without any, ClusterFirst falls back to the node's. */
  readonly cluster: readonly string[];
  readonly clusterDomain: string;
}

/** At most 63 characters, not ending in - or . (truncatePodHostnameIfNeeded). */
export function podHostname(pod: Pod): string {
  const name = pod.spec.hostname || pod.metadata.name;
  return name.slice(0, 63).replace(/[-.]+$/, '');
}

/** hostname.subdomain.namespace.svc.domain; undefined without a subdomain. */
function podFqdn(pod: Pod, clusterDomain: string): string | undefined {
  const { subdomain } = pod.spec;
  return subdomain
    ? `${podHostname(pod)}.${subdomain}.${pod.metadata.namespace}.svc.${clusterDomain}`
    : undefined;
}

/** @throws PodwireError HOSTNAME_TOO_LONG: the kernel takes 64 characters (sethostname(2)) */
function hostnameOf(pod: Pod, fqdn: string | undefined): string {
  if (!pod.spec.setHostnameAsFQDN || fqdn === undefined) return podHostname(pod);
  if (fqdn.length <= 64) return fqdn;
  throw new PodwireError(
    'HOSTNAME_TOO_LONG',
    `setHostnameAsFQDN: ${fqdn} has ${fqdn.length} characters; a host name may have 64`,
  );
}

export function podDns(pod: Pod, dns: NodeDns): DnsConfig {
  const { spec } = pod;
  const inCluster =
    spec.dnsPolicy === 'ClusterFirstWithHostNet' || (spec.dnsPolicy === 'ClusterFirst' && !spec.hostNetwork);
  let base: DnsConfig = dns.node;
  if (spec.dnsPolicy === 'None') base = { servers: [], searches: [], options: [] };
  else if (inCluster && dns.cluster.length > 0)
    base = {
      servers: dns.cluster,
      searches: [
        `${pod.metadata.namespace}.svc.${dns.clusterDomain}`,
        `svc.${dns.clusterDomain}`,
        dns.clusterDomain,
        ...dns.node.searches,
      ],
      options: ['ndots:5'],
    };
  const own = spec.dnsConfig;
  const ownOptions = (own?.options ?? []).map((o) => (o.value ? `${o.name}:${o.value}` : (o.name ?? '')));
  const named = new Set(ownOptions.map((option) => option.split(':')[0]));
  return {
    servers: [...new Set([...base.servers, ...(own?.nameservers ?? [])])],
    searches: [...new Set([...base.searches, ...(own?.searches ?? [])])],
    options: [...base.options.filter((option) => !named.has(option.split(':')[0])), ...ownOptions],
  };
}

function portMappings(pod: Pod): PortMapping[] {
  return lastingContainers(pod.spec).flatMap((container) =>
    (container.ports ?? []).flatMap((port) =>
      port.hostPort && !pod.spec.hostNetwork
        ? [
            {
              hostPort: port.hostPort,
              containerPort: port.containerPort,
              protocol: (port.protocol ?? 'TCP').toLowerCase() as PortMapping['protocol'],
              ...(port.hostIP ? { hostIP: port.hostIP } : {}),
            },
          ]
        : [],
    ),
  );
}

export interface SandboxConfigInput {
  readonly pod: Pod;
  readonly attempt: number;
  readonly dns: NodeDns;
  readonly nodeHostname: string;
  readonly limits: NodeLimits;
}

export function sandboxConfig({
  pod,
  attempt,
  dns,
  nodeHostname,
  limits,
}: SandboxConfigInput): PodSandboxConfig {
  const { spec, metadata } = pod;
  const fqdn = spec.hostNetwork ? undefined : podFqdn(pod, dns.clusterDomain);
  const bandwidth = bandwidthOf(metadata.annotations ?? {});
  let pid: NamespaceMode = 'container';
  if (spec.hostPID) pid = 'node';
  else if (spec.shareProcessNamespace) pid = 'pod';
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    attempt,
    hostname: spec.hostNetwork ? nodeHostname : hostnameOf(pod, fqdn),
    ...(fqdn === undefined ? {} : { fqdn }),
    dns: podDns(pod, dns),
    hostAliases: (spec.hostAliases ?? []).map(({ ip, hostnames }) => ({ ip, hostnames: hostnames ?? [] })),
    portMappings: portMappings(pod),
    ...(bandwidth && !spec.hostNetwork ? { bandwidth } : {}),
    annotations: metadata.annotations ?? {},
    namespaces: {
      network: spec.hostNetwork ? 'node' : 'pod',
      ipc: spec.hostIPC ? 'node' : 'pod',
      pid,
      ...(spec.hostUsers === false ? { user: 'pod' as const } : {}),
    },
    sysctls: Object.fromEntries(
      (spec.securityContext?.sysctls ?? []).map(({ name, value }) => [name, value]),
    ),
    resources: podResources(pod, limits),
  };
}
