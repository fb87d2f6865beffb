// What is remembered of each attachment between ADD and DEL: configuration, arguments, result.
// Assumes nothing of a file's health: one that is missing, cut short, foreign or another attachment's is as good as
// none, and never blocks a DEL. One small file an attachment, in the form that libcni writes (kind cniCacheV1), so that
// each can go on with what the other wrote.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../kernel/files.ts';
import { cniError } from './errors.ts';
import { isObject } from './json.ts';
import { parseResult, toVersion } from './result.ts';
import type { AttachmentKey, CniResult, JsonObject, SpecVersion } from './types.ts';

const kind = 'cniCacheV1';

/** One remembered attachment. */
export interface CachedAttachment extends AttachmentKey {
  readonly network: string;
  /** The plugins' JSON at the time of ADD; undefined where it cannot be read any more. */
  readonly config: JsonObject | undefined;
  readonly result: CniResult | undefined;
  readonly netns: string | undefined;
  readonly args: ReadonlyArray<readonly [string, string]>;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

const folder = (cacheDir: string): string => join(cacheDir, 'results');
const fileOf = (cacheDir: string, network: string, key: AttachmentKey): string =>
  join(folder(cacheDir), `${network}-${key.containerId}-${key.ifname}`);

/** Written before the first plugin runs (without a result) and again with the result. @throws CniError 5 */
export function saveAttachment(cacheDir: string, entry: CachedAttachment, version: SpecVersion): void {
  const file = fileOf(cacheDir, entry.network, entry);
  const json = {
    kind,
    containerId: entry.containerId,
    config: Buffer.from(JSON.stringify(entry.config ?? {})).toString('base64'),
    ifName: entry.ifname,
    networkName: entry.network,
    netns: entry.netns,
    ...(entry.args.length > 0 ? { cniArgs: entry.args } : {}),
    ...(Object.keys(entry.capabilityArgs).length > 0 ? { capabilityArgs: entry.capabilityArgs } : {}),
    ...(entry.result ? { result: toVersion(entry.result, version) } : {}),
  };
  try {
    mkdirSync(folder(cacheDir), { recursive: true, mode: 0o700 });
    replaceFile(file, JSON.stringify(json), { durable: false });
  } catch (cause) {
    throw cniError('CNI_IO_FAILURE', `what is attached cannot be noted: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** undefined where nothing usable is remembered. */
export function loadAttachment(
  cacheDir: string,
  network: string,
  key: AttachmentKey,
): CachedAttachment | undefined {
  const entry = readEntry(fileOf(cacheDir, network, key));
  // Two attachments may share a file's name: "a-b" + "c" and "a" + "b-c".
  const { containerId, ifname } = key;
  const same = entry?.network === network && entry.containerId === containerId && entry.ifname === ifname;
  return same ? entry : undefined;
}

function readEntry(file: string): CachedAttachment | undefined {
  const json = attempt(() => JSON.parse(readFileSync(file, 'utf8')) as unknown);
  if (!isObject(json) || json.kind !== kind) return undefined;
  const text = (key: string): string | undefined => (typeof json[key] === 'string' ? json[key] : undefined);
  const [containerId, ifname, network] = [text('containerId'), text('ifName'), text('networkName')];
  if (containerId === undefined || ifname === undefined || network === undefined) return undefined;
  if ([containerId, ifname, network].some((word) => word === '' || word.includes('/'))) return undefined;
  const config = attempt(() => JSON.parse(Buffer.from(text('config') ?? '', 'base64').toString()) as unknown);
  const pairs = Array.isArray(json.cniArgs) ? json.cniArgs : [];
  return {
    containerId,
    ifname,
    network,
    config: isObject(config) ? config : undefined,
    result: attempt(() => (json.result === undefined ? undefined : parseResult(json.result, 'result'))),
    netns: text('netns'),
    args: pairs.filter(
      (pair): pair is [string, string] =>
        Array.isArray(pair) && pair.length === 2 && pair.every((word) => typeof word === 'string'),
    ),
    capabilityArgs: isObject(json.capabilityArgs) ? json.capabilityArgs : {},
  };
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** A note that cannot be removed does no harm: GC asks for another DEL, which may be repeated. */
export function forgetAttachment(cacheDir: string, network: string, key: AttachmentKey): void {
  attempt(() => rmSync(fileOf(cacheDir, network, key), { force: true, recursive: true }));
}

/** All that is remembered of a network (or of all networks); what cannot be read is passed over. */
export function listAttachments(cacheDir: string, network?: string): CachedAttachment[] {
  const names = attempt(() => readdirSync(folder(cacheDir))) ?? [];
  const entries = names
    .filter((name) => !name.endsWith('.tmp'))
    .map((name) => readEntry(join(folder(cacheDir), name)));
  return entries.filter(
    (entry) => entry !== undefined && (network === undefined || entry.network === network),
  ) as never;
}
