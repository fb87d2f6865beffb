// Linux capabilities of a container: the default set, and what add and drop make of it. Pure.
// Assumes names without CAP_, in capitals. Source: capabilities(7); the default set is that of containerd and Docker.
// Forty-one names.

/** What a container has unless told. */
export const defaultCapabilities: readonly string[] = [
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
];

/** Every capability by its bit. Source: linux/capability.h. */
export const allCapabilities: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
];

/** The names whose bits stand in a mask such as CapBnd of /proc/PID/status (hexadecimal). */
export function capabilitiesOfMask(mask: string): string[] {
  const bits = BigInt(`0x${mask.trim()}`);
  return allCapabilities.filter((_, bit) => (bits >> BigInt(bit)) & 1n);
}

export interface CapabilityChoice {
  readonly privileged: boolean;
  readonly capabilitiesAdd: readonly string[];
  readonly capabilitiesDrop: readonly string[];
}

/** Names are CAP_…; sorted as the kernel numbers them. */
export interface ChosenCapabilities {
  readonly granted: readonly string[];
  /** Asked for, but the daemon itself has it not and so cannot give it. */
  readonly leftOut: readonly string[];
}

/**
 * The set that a container gets. ALL is understood in both lists; one named outright wins over ALL of the other list.
 * @throws RangeError naming the value that is no capability
 */
export function chooseCapabilities(choice: CapabilityChoice, givable: readonly string[]): ChosenCapabilities {
  const add = choice.capabilitiesAdd.map(bareName);
  const drop = choice.capabilitiesDrop.map(bareName);
  const wanted = new Set(choice.privileged || add.includes('ALL') ? allCapabilities : defaultCapabilities);
  if (!choice.privileged) {
    if (drop.includes('ALL')) wanted.clear();
    for (const name of add) if (name !== 'ALL') wanted.add(name);
    for (const name of drop) wanted.delete(name);
  }
  const sorted = allCapabilities.filter((name) => wanted.has(name));
  const cap = (name: string): string => `CAP_${name}`;
  return {
    granted: sorted.filter((name) => givable.includes(name)).map(cap),
    // "All" means all that there are here; only what was named is missed.
    leftOut: sorted.filter((name) => add.includes(name) && !givable.includes(name)).map(cap),
  };
}

function bareName(name: string): string {
  const bare = name.toUpperCase().replace(/^CAP_/, '');
  if (bare !== 'ALL' && !allCapabilities.includes(bare))
    throw new RangeError(`${JSON.stringify(name)} is no Linux capability (e.g. NET_ADMIN, SYS_TIME, ALL)`);
  return bare;
}
