// The CNI protocol's words: results and configurations in their 1.1.0 shape. Types only.
// Source: CNI specification 1.1.0, sections 1 (configuration) and 5 (result types).

export const specVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type SpecVersion = (typeof specVersions)[number];
export const newestVersion: SpecVersion = '1.1.0';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK' | 'STATUS' | 'GC' | 'VERSION';

export interface CniInterface {
  name: string;
  mac?: string;
  mtu?: number;
  /** Path of the netns; absent or '' on the host. */
  sandbox?: string;
  socketPath?: string;
  pciID?: string;
}

export interface CniIp {
  /** `ip/prefix length`. */
  address: string;
  gateway?: string;
  /** Index into interfaces. */
  interface?: number;
}

export interface CniRoute {
  /** `ip/prefix length`. */
  dst: string;
  gw?: string;
  mtu?: number;
  advmss?: number;
  priority?: number;
  table?: number;
  scope?: number;
}

export interface CniDns {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

/** A result as 1.1.0 has it; lib/cni/result.ts turns it into what an older version expects. */
export interface CniResult {
  interfaces?: CniInterface[];
  ips?: CniIp[];
  routes?: CniRoute[];
  dns?: CniDns;
}

/** A JSON object whose fields a plugin narrows itself. */
export type JsonObject = { [key: string]: unknown };

/** Who is attached: one (container, interface) pair is one attachment. */
export interface AttachmentKey {
  readonly containerId: string;
  readonly ifname: string;
}
