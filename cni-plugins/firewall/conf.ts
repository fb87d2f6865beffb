// The configuration of firewall, narrowed. Assumes the keys and defaults of the reference plugin of that name; its keys
// for iptables and firewalld are refused by name where they ask for something. Pure.
import { cniError } from '../../lib/cni/errors.ts';
import type { Fields } from '../../lib/cni/json.ts';

const policies = ['open', 'same-bridge', 'isolated'] as const;

/**
 * open: whoever reaches the container may · same-bridge: not from other bridges under such a policy ·
 * isolated: nor from the same bridge.
 */
export type IngressPolicy = (typeof policies)[number];

export interface FirewallConf {
  readonly ingressPolicy: IngressPolicy;
}

/** @throws CniError 7 (a wrong value), 2 (a key not served); both name the key */
export function parseConf(conf: Fields): FirewallConf {
  const backend = conf.string('backend') ?? '';
  if (backend !== '' && backend !== 'nftables')
    throw cniError('CNI_UNSUPPORTED_FIELD', `backend: ${JSON.stringify(backend)}: only nftables is served`);
  for (const key of ['iptablesAdminChainName', 'firewalldZone'])
    if ((conf.string(key) ?? '') !== '')
      throw cniError(
        'CNI_UNSUPPORTED_FIELD',
        `${key}: only nftables is served; see chain admin in docs/cni/firewall.md`,
      );
  const text = conf.string('ingressPolicy') || 'open';
  const ingressPolicy = policies.find((policy) => policy === text);
  if (!ingressPolicy) throw conf.bad('ingressPolicy', policies.join(', '));
  return { ingressPolicy };
}
