// Who else drops forwarded packets: base chains at the forward hook whose policy is drop. Docker and many a firewall
// script set one for iptables' FORWARD. Assumes `nft -j list chains`; iptables-legacy is asked where its tables are loaded.
import { readFileSync } from 'node:fs';
import { ExecError } from '../../lib/exec/errors.ts';
import type { KernelOptions } from '../../lib/kernel/ip.ts';
import { type NftObject, nftList } from '../../lib/kernel/nftables.ts';

/** `ip filter FORWARD` and the like. Pure. */
export function droppingChains(objects: readonly NftObject[]): string[] {
  return objects
    .flatMap((object) => (object.chain ? [object.chain] : []))
    .filter(({ hook, policy, family }) => hook === 'forward' && policy === 'drop' && family !== 'bridge')
    .map(({ family, table, name }) => `${family} ${table} ${name}`);
}

/** Names of the chains that drop what no rule of theirs accepts, whatever our own table says. */
export async function findDroppingChains(
  options: KernelOptions & { exec: NonNullable<KernelOptions['exec']> },
): Promise<string[]> {
  const found = droppingChains((await nftList(['chains'], options)) ?? []);
  return legacyTables().includes('filter') ? [...found, ...(await legacyForward(options.exec))] : found;
}

function legacyTables(): string[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').split('\n');
  } catch {
    return []; // the module is not loaded: there are none
  }
}

async function legacyForward(exec: NonNullable<KernelOptions['exec']>): Promise<string[]> {
  try {
    const { stdout } = await exec({ argv: ['iptables-legacy', '-S', 'FORWARD'] });
    return stdout.startsWith('-P FORWARD DROP') ? ['iptables-legacy FORWARD'] : [];
  } catch (error) {
    if (error instanceof ExecError) return []; // no such program here: its tables are another's business
    throw error;
  }
}

/** What a person is told. Pure. */
export const dropWarning = (chains: readonly string[]): string =>
  `firewall: ${chains.join(', ')}: policy drop. No accept of ours overrides it: containers reach nobody past this machine, ` +
  'and nobody reaches them, unless a rule of that table lets them (docs/cni/firewall.md)\n';
