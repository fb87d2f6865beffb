// What an agent remembers of its cluster: its certificate, the servers, its name and address; and who it is.
// Assumes one writer a root. Three small files under /var/lib/podwire/pki, each replaced in one step.
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import { type Credentials, PkiError } from './certificate.ts';
import { readKeyPair, writeKeyPair } from './files.ts';

export interface Membership<Settings> {
  readonly name: string;
  readonly address: string;
  /** As the servers told last. */
  readonly settings: Settings;
}

const files = (folder: string) => ({
  record: join(folder, 'membership.json'),
  node: join(folder, 'node.pem'),
  ca: join(folder, 'ca.crt'),
  machine: join(folder, 'machine-id'),
});

export const isMember = (folder: string): boolean => readIfThere(files(folder).record) !== undefined;

/** undefined where the machine never joined. @throws PkiError PKI_FILES */
export function readMembership<Settings>(folder: string): Membership<Settings> | undefined {
  const text = readIfThere(files(folder).record);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Membership<Settings>;
  } catch (cause) {
    throw new PkiError('PKI_FILES', `${files(folder).record} is damaged: join again with a new token`, {
      cause,
    });
  }
}

export function writeMembership(folder: string, membership: Membership<unknown>): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  replaceFile(files(folder).record, JSON.stringify(membership));
}

/**
 * Who answered stays known, and is asked first: what servers say of their addresses may be what a person mistyped
 * (--advertise-address), or where no way leads to from here. Pure.
 */
export const servingFirst = (servers: readonly string[], serving: string | undefined): readonly string[] =>
  serving === undefined ? servers : [serving, ...servers.filter((one) => one !== serving)];

/** The machine keeps its id: who joins again with the same name is the same. */
export function forgetMembership(folder: string): void {
  const { record, node, ca } = files(folder);
  for (const path of [record, node, ca]) rmSync(path, { force: true });
}

/** @throws PkiError PKI_FILES */
export function readCredentials(folder: string): Credentials {
  const { node, ca } = files(folder);
  const pair = readKeyPair(node);
  const text = readIfThere(ca);
  if (pair && text) return { ...pair, ca: text };
  throw new PkiError('PKI_FILES', `${pair ? ca : node} is missing: join again with a new token`);
}

export function writeCredentials(folder: string, { ca, ...pair }: Credentials): void {
  writeKeyPair(files(folder).node, pair);
  replaceFile(files(folder).ca, ca);
}

/** An id of this node's own: /etc/machine-id is the same on clones of one disk, and on nodes that share a machine. */
export function ensureMachineId(folder: string): string {
  const path = files(folder).machine;
  const found = readIfThere(path)?.trim();
  if (found) return found;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const made = randomUUID();
  replaceFile(path, `${made}\n`);
  return made;
}
