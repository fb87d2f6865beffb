// Former settings of a link, kept from ADD to DEL: one small file an attachment, in the form and place of the reference
// plugin, so that either can put back what the other changed. Assumes a folder that dies with the boot (/run).
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '../../lib/cni/json.ts';
import type { LinkSettings } from './conf.ts';

export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

const fileName = ({ containerId, ifname }: Attachment): string => `${containerId}_${ifname}.json`;

/** The network's name is ours: GC of one network must leave another's files alone. */
export function saveFormer(
  dataDir: string,
  owner: Attachment & { readonly name: string },
  former: LinkSettings,
): void {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, fileName(owner));
  writeFileSync(`${file}.tmp`, JSON.stringify({ ...former, network: owner.name }), { mode: 0o600 });
  renameSync(`${file}.tmp`, file);
}

/** undefined: nothing is kept, or nothing that can be read. */
export function loadFormer(dataDir: string, owner: Attachment): LinkSettings | undefined {
  return readSettings(join(dataDir, fileName(owner)))?.settings;
}

/** With what an ADD left that was killed before its rename. */
export function forgetFormer(dataDir: string, owner: Attachment): void {
  const file = join(dataDir, fileName(owner));
  for (const name of [file, `${file}.tmp`]) rmSync(name, { force: true });
}

function readSettings(file: string): { settings: LinkSettings; network: unknown } | undefined {
  try {
    const json: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isObject(json) ? { settings: narrow(json), network: json.network } : undefined;
  } catch {
    return undefined; // not there, or cut short: there is nothing to put back
  }
}

/** What is not of its kind is left out: the file may be anyone's. */
function narrow({ mac, mtu, promisc, allmulti, txQLen }: Record<string, unknown>): LinkSettings {
  const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0;
  return {
    ...(typeof mac === 'string' && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac) ? { mac } : {}),
    ...(isCount(mtu) && mtu > 0 ? { mtu } : {}),
    ...(typeof promisc === 'boolean' ? { promisc } : {}),
    ...(typeof allmulti === 'boolean' ? { allmulti } : {}),
    ...(isCount(txQLen) ? { txQLen } : {}),
  };
}

/** Removes the files of a network whose attachment is not among the valid ones. */
export function forgetStale(dataDir: string, network: string, valid: readonly Attachment[]): void {
  const stays = new Set(valid.map(fileName));
  for (const name of list(dataDir))
    if (!stays.has(name) && readSettings(join(dataDir, name))?.network === network)
      rmSync(join(dataDir, name), { force: true });
}

function list(dataDir: string): string[] {
  try {
    return readdirSync(dataDir).filter((name) => name.endsWith('.json'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
