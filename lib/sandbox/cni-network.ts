// The Pod network as CNI gives it: the node's conflist, executed by lib/cni. See network.ts for the interface.
// Assumes the first conflist of the folder is the node's network; it is read for each Pod, so it may be replaced at any
// time: what a Pod was attached with is kept beside the sandbox, and is what detaches it. One plugin run a plugin.
import { hasDefault, loadDefault, type NetworkList, parseList } from '../cni/conf.ts';
import type { Attachment, Cni } from '../cni/runtime.ts';
import { rmSync } from 'node:fs';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { NetworkRequest, PodNetwork } from './network.ts';

const ifname = 'eth0';

export class CniNetwork implements PodNetwork {
  readonly #cni: Cni;
  readonly #confDir: string;
  readonly #isOwn: (network: string) => boolean;
  /** `isOwn`: whether a network of that name is this node's alone (not, say, shared with containerd). */
  constructor(cni: Cni, confDir: string, isOwn: (network: string) => boolean) {
    this.#cni = cni;
    this.#confDir = confDir;
    this.#isOwn = isOwn;
  }

  async setup(request: NetworkRequest): Promise<string[]> {
    const list = withoutIdle(loadDefault(this.#confDir), request);
    replaceFile(request.config, JSON.stringify(toJson(list)), { durable: false });
    const result = await this.#cni.addNetworkList(list, attachment(request)).catch((error: unknown) => {
      // A failure has been undone, unless it says otherwise: then there is nothing that teardown could take away.
      if (!(error instanceof AggregateError)) rmSync(request.config, { force: true });
      throw error;
    });
    const ips = (result.ips ?? []).map(({ address }) => address.split('/')[0] as string);
    return ips.sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')));
  }

  async teardown(request: NetworkRequest): Promise<void> {
    const kept = readIfThere(request.config);
    if (kept === undefined) return; // nothing was ever attached
    await this.#cni.delNetworkList(parseList(JSON.parse(kept), request.config), attachment(request));
  }

  async collectGarbage(sandboxIds: readonly string[]): Promise<void> {
    if (!hasDefault(this.#confDir)) return; // a node that has no subnet yet never gave an address
    const list = loadDefault(this.#confDir);
    const valid = sandboxIds.map((containerId) => ({ containerId, ifname }));
    // GC takes away all that it is not told of: right only on a network that nobody but this node uses.
    if (this.#isOwn(list.name)) await this.#cni.gcNetworkList(list, valid);
    else await this.#cni.forgetStale(list, valid);
  }
}

/**
 * Without plugins that only serve a capability which this Pod does not ask for: they would do nothing, at the price of a
 * process an ADD and a DEL. What is left out is left out of the Pod's record too, so that its DEL takes away what its ADD
 * made.
 */
function withoutIdle(list: NetworkList, request: NetworkRequest): NetworkList {
  const asked = capabilitiesOf(request);
  const idle = (type: string): boolean =>
    (type === 'portmap' && !asked.portMappings) || (type === 'bandwidth' && !asked.bandwidth);
  return { ...list, plugins: list.plugins.filter(({ type, json }) => !idle(type) || hasOwnRates(json)) };
}

/** A bandwidth plugin with rates of its own shapes every Pod. */
const hasOwnRates = (json: Readonly<Record<string, unknown>>): boolean =>
  json.ingressRate !== undefined || json.egressRate !== undefined;

/** As containerd and CRI-O hand it over: no burst is asked for, so the largest that the reference plugin takes is given. */
const largestBurst = 2 ** 31 - 1;

function capabilitiesOf({ portMappings, bandwidth }: NetworkRequest) {
  const { ingress, egress } = bandwidth ?? {};
  return {
    ...(portMappings.length > 0 ? { portMappings } : {}),
    ...(bandwidth
      ? {
          bandwidth: {
            ...(ingress === undefined ? {} : { ingressRate: ingress, ingressBurst: largestBurst }),
            ...(egress === undefined ? {} : { egressRate: egress, egressBurst: largestBurst }),
          },
        }
      : {}),
  };
}

const toJson = ({ name, cniVersion, disableCheck, disableGC, plugins }: NetworkList) => ({
  cniVersion,
  name,
  disableCheck,
  disableGC,
  plugins: plugins.map((plugin) => plugin.json),
});

function attachment(request: NetworkRequest): Attachment {
  return {
    containerId: request.id,
    ifname,
    netns: request.netnsPath,
    // The names that plugins of the Kubernetes world know; IgnoreUnknown lets the others pass over them.
    args: {
      IgnoreUnknown: '1',
      K8S_POD_NAMESPACE: request.namespace,
      K8S_POD_NAME: request.name,
      K8S_POD_INFRA_CONTAINER_ID: request.id,
      K8S_POD_UID: request.uid,
    },
    capabilityArgs: capabilitiesOf(request),
    env: { PODWIRE_TRACE: request.trace },
  };
}
