// The error numbers of our own plugins. Assumes 0-99 and 999 are the specification's. Stable: scripts may test for them.

export const ownCodes = {
  /** host-local: no free address in a range. */
  rangeExhausted: 100,
  /** host-local: this container and interface already hold a lease. */
  alreadyLeased: 101,
  /** host-local: the address asked for is taken, or in no range. */
  addressNotAvailable: 102,
  /** CHECK: something is missing or not as prevResult has it. */
  checkFailed: 110,
  /** The interface is in the container already. */
  interfaceExists: 111,
  /** bridge: the name belongs to something that is no bridge, or the bridge has another address. */
  bridgeConflict: 112,
  /** vxlan: the VTEP's name, or its VNI and port, belong to something else. */
  vtepConflict: 113,
  /** A command on the kernel's network failed. */
  kernel: 120,
  /** portmap: another container holds this port of the machine. */
  hostPortTaken: 130,
} as const;
