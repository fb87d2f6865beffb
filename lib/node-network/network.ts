// The node's network as others see it: what it is started with, what it tells, what it can be asked for. Types only.
import type { Client } from '../api/client.ts';
import type { Exec } from '../exec/exec.ts';
import type { NodePaths } from '../kernel/paths.ts';
import type { Trace } from '../kernel/trace.ts';
import type { Surroundings } from './health/surroundings.ts';
import type { BackendConfig, BackendName, NodeNetworkLog, PeerProblem, Underlay } from './types.ts';

export interface NodeNetworkOptions {
  readonly client: Client;
  readonly nodeName: string;
  /** The node's address or addresses, one a family, the tunnels' first; its Node's InternalIPs unless told. */
  readonly address?: string | readonly string[] | undefined;
  readonly backend: BackendConfig;
  readonly paths: NodePaths;
  /** Ranges of all nodes' Pods: between them there is no masquerade. */
  readonly clusterCidrs: readonly string[];
  readonly log?: NodeNetworkLog | undefined;
  /** Of what Pods' network stands on (forwarding, masquerade); peers come and go and are not in it. */
  readonly trace?: Trace | undefined;
  readonly exec?: Exec | undefined;
}

export interface NodeNetworkStatus {
  readonly backend: BackendName;
  readonly state: 'WaitingForSubnet' | 'Ready' | 'Failed';
  readonly podCidrs: readonly string[];
  /** Of Pods' interfaces. */
  readonly mtu: number | undefined;
  readonly underlay: Underlay | undefined;
  /** The backend's own link. */
  readonly link: string | undefined;
  /** Peers that are programmed. */
  readonly peers: readonly string[];
  /** Nodes that are none, or not with all their subnets, by name. */
  readonly problems: Readonly<Record<string, PeerProblem>>;
  readonly lastError: string | undefined;
}

export interface RunningNodeNetwork {
  /** Resolves once Pods may come: subnet known, conflist written, peers known by then programmed. Never rejects. */
  readonly ready: Promise<void>;
  /** Why no Pod may come yet; undefined when one may. */
  notReady(): string | undefined;
  status(): NodeNetworkStatus;
  /** What its health is judged by; undefined until Pods may come. */
  surroundings(): Surroundings | undefined;
  /** Looks at everything now, and puts right what differs. */
  resync(): Promise<void>;
  /** Stops looking; the network stays. */
  close(): Promise<void>;
}
