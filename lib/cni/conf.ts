// Network configurations: conflists read from a folder, checked, and made into what one plugin gets on standard input.
// Assumes CNI specification 1.1.0, section 1. Fields that are not the protocol's own pass through untouched.
// One file read a list; a folder holds a handful.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CniError, cniCodes, cniError } from './errors.ts';
import { badValue, Fields, isObject } from './json.ts';
import { toVersion } from './result.ts';
import { type CniResult, type JsonObject, type SpecVersion, specVersions } from './types.ts';

/** One plugin of a list: its type, and its JSON as it was written. */
export interface PluginConf {
  readonly type: string;
  readonly capabilities: Readonly<Record<string, boolean>>;
  readonly json: JsonObject;
}

export interface NetworkList {
  readonly name: string;
  /** The newest version that the list names and this library speaks. */
  readonly cniVersion: SpecVersion;
  readonly disableCheck: boolean;
  readonly disableGC: boolean;
  readonly plugins: readonly PluginConf[];
  /** Where it was read; '' for one made in memory. */
  readonly file: string;
}

const namePattern = /^[A-Za-z0-9][\w.-]{0,127}$/;
// A type becomes a file name in a plugin folder: it must not lead elsewhere.
const typePattern = /^[A-Za-z0-9][\w.-]{0,127}$/;

/** @throws CniError 7 (naming the field), 1 (no version that this library speaks) */
export function parseList(value: unknown, file = ''): NetworkList {
  const fields = new Fields(value, '');
  const name = fields.string('name');
  if (name === undefined || !namePattern.test(name))
    throw fields.bad('name', "letters, digits, '.', '_', '-'");
  const inlined = fields.objects('plugins').map(parsePlugin);
  const plugins = [...inlined, ...foldersPlugins(fields, { file, name })];
  if (plugins.length === 0) throw fields.bad('plugins', 'at least one plugin');
  return {
    name,
    cniVersion: chooseVersion(fields),
    disableCheck: flag(fields, 'disableCheck'),
    disableGC: flag(fields, 'disableGC'),
    plugins,
    file,
  };
}

/** A configuration of one plugin (*.conf) is a list of one. */
export function parseSingle(value: unknown, file = ''): NetworkList {
  const fields = new Fields(value, '');
  return parseList({ ...fields.object, plugins: [fields.object], loadOnlyInlinedPlugins: true }, file);
}

function parsePlugin(fields: Fields): PluginConf {
  const type = fields.string('type');
  if (type === undefined || !typePattern.test(type)) throw fields.bad('type', 'the name of a plugin');
  const wanted = fields.fields('capabilities');
  const names = Object.keys(wanted.object);
  const capabilities = Object.fromEntries(names.map((key) => [key, wanted.boolean(key) ?? false]));
  return { type, capabilities, json: fields.object };
}

/** The specification once wrote these booleans as strings, and lists of that time exist. */
function flag(fields: Fields, key: string): boolean {
  const value = fields.object[key];
  if (value === 'true' || value === 'false') return value === 'true';
  return fields.boolean(key) ?? false;
}

function chooseVersion(fields: Fields): SpecVersion {
  const several = fields.strings('cniVersions');
  const one = fields.string('cniVersion');
  const named = [...several, ...(one === undefined ? [] : [one])];
  const chosen = specVersions.filter((version) => named.includes(version)).at(-1);
  if (chosen) return chosen;
  throw cniError('CNI_INCOMPATIBLE_VERSION', `cniVersion: none of [${named.join(', ')}] is supported`, {
    details: `supported: ${specVersions.join(', ')}`,
  });
}

/** Plugins beside the list, in a folder with the network's name, unless the list says that it is whole. */
function foldersPlugins(fields: Fields, list: { file: string; name: string }): PluginConf[] {
  if (list.file === '' || flag(fields, 'loadOnlyInlinedPlugins')) return [];
  const folder = join(dirname(list.file), list.name);
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.conf'))
    .sort();
  return files.map((name) => parsePlugin(new Fields(readJson(join(folder, name)), join(folder, name))));
}

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw cniError('CNI_IO_FAILURE', `${file}: ${(cause as Error).message}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw cniError('CNI_DECODING_FAILURE', `${file}: not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** Reads one .conflist, .conf or .json file. @throws CniError 5, 6, 7, 1; the message starts with the file */
export function loadFile(file: string): NetworkList {
  const json = readJson(file);
  try {
    return isObject(json) && json.plugins !== undefined ? parseList(json, file) : parseSingle(json, file);
  } catch (cause) {
    if (!(cause instanceof CniError) || cause.message.startsWith(file)) throw cause;
    throw new CniError(cause.cniCode, `${file}: ${cause.message}`, { details: cause.details, cause });
  }
}

/** The lists of a folder in the order of their file names; an absent folder has none. */
export function loadFolder(folder: string): NetworkList[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter(
    (name) => /\.(conflist|conf|json)$/.test(name) && !name.startsWith('.'),
  );
  return files.sort().map((name) => loadFile(join(folder, name)));
}

/** The first list of a folder: the network that Pods get. @throws CniError 7 where there is none */
export function loadDefault(folder: string): NetworkList {
  const files = existsSync(folder) ? readdirSync(folder) : [];
  const first = files
    .filter((name) => /\.(conflist|conf|json)$/.test(name) && !name.startsWith('.'))
    .sort()[0];
  if (first === undefined)
    throw new CniError(cniCodes.CNI_INVALID_CONFIG, `${folder}: no CNI configuration (*.conflist) there`);
  return loadFile(join(folder, first));
}

/** What one plugin is to get beside its own JSON. */
export interface PluginInput {
  readonly prevResult?: CniResult | undefined;
  /** By capability; only those that the plugin declares reach it. */
  readonly capabilityArgs?: Readonly<Record<string, unknown>> | undefined;
  /** For GC. */
  readonly validAttachments?: ReadonlyArray<{ containerID: string; ifname: string }> | undefined;
}

/** The JSON for a plugin's standard input: name and version of the list, runtimeConfig, prevResult. Pure. */
export function pluginInput(list: NetworkList, plugin: PluginConf, input: PluginInput): JsonObject {
  const { prevResult, capabilityArgs = {}, validAttachments } = input;
  const declared = Object.entries(capabilityArgs).filter(([key]) => plugin.capabilities[key] === true);
  const own = plugin.json.runtimeConfig;
  if (own !== undefined && !isObject(own)) throw badValue('runtimeConfig', own, 'a JSON object');
  const runtimeConfig = { ...own, ...Object.fromEntries(declared) };
  return {
    ...plugin.json,
    name: list.name,
    cniVersion: list.cniVersion,
    ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
    ...(prevResult ? { prevResult: toVersion(prevResult, list.cniVersion) } : {}),
    ...(validAttachments
      ? { 'cni.dev/valid-attachments': validAttachments, 'cni.dev/attachments': validAttachments }
      : {}),
  };
}
