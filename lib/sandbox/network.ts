// What a sandbox asks of the Pod network: addresses for a namespace, and their release. CNI stands behind it.
// Assumes calls for one sandbox come one at a time. One attachment (eth0) a sandbox.
import type { Bandwidth, PortMapping } from '../container/cri.ts';

export interface NetworkRequest {
  /** CNI_CONTAINERID and the netns' name. */
  readonly id: string;
  readonly netnsPath: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly portMappings: readonly PortMapping[];
  readonly bandwidth?: Bandwidth | undefined;
  /** File that collects the commands run, for `podwire explain`. */
  readonly trace: string;
  /** File that keeps the configuration the sandbox was attached with. */
  readonly config: string;
}

export interface PodNetwork {
  /** Addresses without prefix length, IPv4 first. A failure has been undone. */
  setup(request: NetworkRequest): Promise<string[]>;
  /** Repeatable; must be called even when the netns is gone, for the address to be released. */
  teardown(request: NetworkRequest): Promise<void>;
  /** Frees what belongs to none of these sandboxes: addresses that a crash or a reboot left taken. */
  collectGarbage(sandboxIds: readonly string[]): Promise<void>;
}
