// Servers that share a store: a name and an address of its own for each, and the same settings for all of them.
// Assumes each says on its Node which machine it is, and what it was started with, and renews its Lease while it lives.
// Asked once, at the start of a server: O(Nodes).
import type { Client } from '../../api/client.ts';
import type { Lease, Node } from '../../api/types.ts';
import { addressOf, machineAnnotation, machineMark } from './join.ts';
import { PodwireError } from '../../exec/errors.ts';
import { nodeLeaseNamespace, nodeLeaseSeconds } from '../../kubelet/node-lease.ts';

/** What a server was started with, as JSON: taken away when it ends, so that all may be started anew with other settings. */
export const settingsAnnotation = 'podwire.dev/server-settings';

export interface OwnServer {
  readonly name: string;
  readonly address: string;
  readonly machineId: string;
  /** By flag, without the dashes; what every server must have alike. */
  readonly settings: Readonly<Record<string, string>>;
}

/** What its Node is to say. Pure. */
export const serverAnnotations = ({ machineId, settings }: OwnServer): Record<string, string> => ({
  [machineAnnotation]: machineMark(machineId),
  [settingsAnnotation]: JSON.stringify(settings),
});

/** A server that ends: the others may be started with other settings. */
export async function leaveServers(client: Client, name: string): Promise<void> {
  await client.patch('nodes', { name }, { metadata: { annotations: { [settingsAnnotation]: null } } });
}

/** @throws PodwireError SERVER_NAME_TAKEN, SERVER_ADDRESS_TAKEN, SERVER_SETTINGS_DIFFER */
export async function checkOtherServers(client: Client, own: OwnServer, now = Date.now()): Promise<void> {
  const [nodes, leases] = [
    await client.list('nodes'),
    await client.list('leases', { namespace: nodeLeaseNamespace }),
  ];
  const alive = new Set(leases.items.filter((lease) => isFresh(lease, now)).map(nameOf));
  const mark = machineMark(own.machineId);
  const others = nodes.items.filter(({ metadata: { name, annotations = {} } }) => {
    const theirs = annotations[machineAnnotation];
    return alive.has(name) && theirs !== undefined && theirs !== mark;
  });
  for (const other of others) refuseSame(other, own);
}

function refuseSame(other: Node, own: OwnServer): void {
  const name = nameOf(other);
  const address = addressOf(other);
  if (name === own.name)
    throw new PodwireError(
      'SERVER_NAME_TAKEN',
      `the name "${name}" is that of another machine of this store (at ${address ?? 'an unknown address'}), which was heard of just now: give another one with --node-name, or try again in ${nodeLeaseSeconds} s if it is this machine, installed anew`,
    );
  if (address === own.address)
    throw new PodwireError(
      'SERVER_ADDRESS_TAKEN',
      `the address ${address} is that of node "${name}", which is another machine: give this machine's own with --node-ip`,
    );
  const theirs = readSettings(other);
  const flag = theirs && Object.keys(own.settings).find((each) => own.settings[each] !== theirs[each]);
  if (flag !== undefined)
    throw new PodwireError(
      'SERVER_SETTINGS_DIFFER',
      `--${flag} ${own.settings[flag]}: the server ${name} of this store has ${theirs?.[flag] ?? 'none'}; give that, or end all servers (podwire down) and start them with the same`,
    );
}

const nameOf = ({ metadata }: Node | Lease): string => metadata.name;

/** Whether its kubelet was heard of lately; a clock that goes wrong says nothing. */
function isFresh({ spec }: Lease, now: number): boolean {
  const seconds = spec?.leaseDurationSeconds ?? nodeLeaseSeconds;
  return Math.abs(now - Date.parse(String(spec?.renewTime))) < seconds * 1000;
}

function readSettings({ metadata }: Node): Record<string, string> | undefined {
  try {
    return JSON.parse(metadata.annotations?.[settingsAnnotation] ?? '') as Record<string, string>;
  } catch {
    return undefined; // an agent, or a server that has ended
  }
}
