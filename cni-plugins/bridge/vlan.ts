// VLANs of a bridge: the keys vlan and vlanTrunk, what they mean for a port, and the gateway of a VLAN, which is one end
// of a veth pair `<bridge>.<vlan>` whose other end is a port in that VLAN (as the reference has it).
// Assumes a bridge that filters VLANs. Pure; a trunk is as many changes as it has runs of ids.
import type { Fields } from '../../lib/cni/json.ts';
import type { NetOp } from '../../lib/kernel/net.ts';
import { sha256 } from '../../lib/kernel/hash.ts';

export interface Vlans {
  /** What comes untagged out of the container belongs to it; undefined: the trunk's own default, 1. */
  readonly access: number | undefined;
  /** Runs of ids that pass tagged: `5`, `7-9`. */
  readonly trunk: readonly string[];
  /** The bridge's default VLAN stays on the port, too. */
  readonly keepsDefault: boolean;
}

const ids = { min: 1, max: 4094 };

/** undefined: nothing is asked for. @throws CniError 7 that names the key */
export function parseVlans(conf: Fields): Vlans | undefined {
  const access = conf.integer('vlan', { min: 0, max: ids.max }) || undefined;
  const trunk = runs(conf.objects('vlanTrunk').flatMap(parseTrunk));
  const keepsDefault = conf.boolean('preserveDefaultVlan') ?? false;
  return access === undefined && trunk.length === 0 ? undefined : { access, trunk, keepsDefault };
}

function parseTrunk(item: Fields): number[] {
  const id = item.integer('id', ids);
  const [min, max] = [item.integer('minID', ids), item.integer('maxID', ids)];
  if ((min === undefined) !== (max === undefined))
    throw item.bad(min === undefined ? 'minID' : 'maxID', 'minID and maxID, both');
  if (min !== undefined && max !== undefined && max < min) throw item.bad('maxID', `at least minID (${min})`);
  const range = min === undefined || max === undefined ? [] : span(min, max);
  if (id === undefined && range.length === 0) throw item.bad('id', 'id, or minID and maxID');
  return id === undefined ? range : [id, ...range];
}

const span = (min: number, max: number): number[] =>
  Array.from({ length: max - min + 1 }, (_, at) => min + at);

/** Sorted ids as the fewest runs. */
function runs(all: readonly number[]): string[] {
  if (all.length === 0) return [];
  const sorted = [...new Set(all)].sort((a, b) => a - b);
  const starts = sorted.filter((id, at) => sorted[at - 1] !== id - 1);
  const ends = sorted.filter((id, at) => sorted[at + 1] !== id + 1);
  return starts.map((start, at) => (start === ends[at] ? `${start}` : `${start}-${ends[at]}`));
}

/** What makes a port a member of these VLANs and, unless it is kept, of no other. */
export function portVlanOps(name: string, vlans: Vlans): NetOp[] {
  const pvid = vlans.access ?? 1;
  return [
    // bridge refuses to take out what is not in: where the bridge's default is another one, 1 is put in first.
    ...(vlans.keepsDefault
      ? []
      : ([
          { op: 'addPortVlan', name, vid: '1' },
          { op: 'deletePortVlan', name, vid: '1' },
        ] as const)),
    ...vlans.trunk.map((vid): NetOp => ({ op: 'addPortVlan', name, vid })),
    { op: 'addPortVlan', name, vid: `${pvid}`, pvid: 'untagged' },
  ];
}

export const gatewayName = (bridge: string, vlan: number): string => `${bridge}.${vlan}`;

/** The pair that gives the machine a foot in a VLAN. `macs`: of the gateway, and of its port. */
export function gatewayPairOps(
  bridge: string,
  vlans: Vlans & { readonly access: number },
  macs: { readonly gateway: string; readonly port: string },
): NetOp[] {
  const name = gatewayName(bridge, vlans.access);
  const port = `vlan${sha256(name).slice(0, 11)}`;
  return [
    { op: 'addVeth', name, mac: macs.gateway, peer: { name: port, mac: macs.port } },
    { op: 'setLink', name: port, alias: `podwire: ${name}`, master: bridge, state: 'up' },
    ...portVlanOps(port, { ...vlans, trunk: [] }),
    { op: 'setLink', name, state: 'up' },
  ];
}

/** VLANs of a port as `bridge -j vlan show` gives them, in words that can be compared. Pure. */
export function missingVlans(rows: unknown, vlans: Vlans): string[] {
  const [first] = (Array.isArray(rows) ? rows : []) as Array<{ vlans?: SeenVlan[] }>;
  const seen = first?.vlans ?? [];
  const holds = (id: number): boolean => seen.some(({ vlan, vlanEnd = vlan }) => vlan <= id && id <= vlanEnd);
  const pvid = vlans.access ?? 1;
  const native = seen.some(({ vlan, flags = [] }) => vlan === pvid && flags.includes('PVID'));
  const missing = vlans.trunk.filter((run) => !run.split('-').every((id) => holds(Number(id))));
  return native ? missing : [`${pvid}`, ...missing];
}

interface SeenVlan {
  vlan: number;
  vlanEnd?: number;
  flags?: string[];
}
