// What a Pod's containers see as /etc/hosts, /etc/resolv.conf and /etc/hostname. Pure.
// Assumes validated host names and addresses. Source: kubelet's managed hosts file; resolv.conf(5).
import type { DnsConfig, PodSandboxConfig } from '../container/cri.ts';

/** /etc/hosts of a Pod; with the machine's network, the machine's own file comes first. */
export function hostsFile(config: PodSandboxConfig, ips: readonly string[], nodeHosts: string): string {
  const own =
    config.namespaces.network === 'node'
      ? ['# Kubernetes-managed hosts file (host network).', nodeHosts.trimEnd()]
      : [
          '# Kubernetes-managed hosts file.',
          '127.0.0.1\tlocalhost',
          '::1\tlocalhost ip6-localhost ip6-loopback',
          'fe00::0\tip6-localnet',
          'ff02::1\tip6-allnodes',
          'ff02::2\tip6-allrouters',
          ...ips.map((ip) => [ip, ...namesOf(config)].join('\t')),
        ];
  const aliases = config.hostAliases.map(({ ip, hostnames }) => `${ip}\t${hostnames.join('\t')}`);
  return [
    ...own,
    ...(aliases.length > 0 ? ['', '# Entries added by HostAliases.', ...aliases] : []),
    '',
  ].join('\n');
}

/** The full name first, as resolvers want the canonical one; hostname may be it (setHostnameAsFQDN). */
function namesOf({ hostname, fqdn }: PodSandboxConfig): string[] {
  if (fqdn === undefined) return [hostname];
  return [fqdn, hostname === fqdn ? (fqdn.split('.')[0] as string) : hostname];
}

/** /etc/resolv.conf of a Pod. */
export function resolvConf(dns: DnsConfig): string {
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(' ')}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(' ')}`] : []),
  ];
  return lines.length > 0 ? `${lines.join('\n')}\n` : '';
}

/** The parts of a resolv.conf; what is not understood is left out. */
export function parseResolvConf(text: string): DnsConfig {
  const servers: string[] = [];
  let searches: string[] = [];
  let options: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    if (keyword === 'nameserver' && words[0]) servers.push(words[0]);
    if (keyword === 'search' || keyword === 'domain') searches = words;
    if (keyword === 'options') options = [...options, ...words];
  }
  return { servers, searches, options };
}
