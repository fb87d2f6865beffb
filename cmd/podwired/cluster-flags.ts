// The flags of the daemon that are about other machines.

export interface ClusterFlags {
  /** ADDR:PORT of the API for other machines; absent: it is not open. */
  readonly listen?: string;
  /** The address by which other machines reach this server. */
  readonly advertiseAddress?: string;
  /** Of this node's own TLS port, where servers ask for logs and exec. */
  readonly nodePort: number;
  /** Seconds that certificates live; a year unless told. */
  readonly certificateTtl?: number;
}

/** The kubelet's. */
export const defaultNodePort = 10250;
