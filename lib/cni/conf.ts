// Network configurations: conflists read from a folder, checked, and made into what one plugin gets on standard input.
// Assumes CNI specification 1.1.0, section 1. Fields that are not the protocol's own pass through untouched.
// One file read a list; a folder holds a handful.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CniError, cniCodes, cniError } from './errors.ts';
import { badValue, Fields, isObject } from './json.ts';
import { isPluginType } from './plugin-exec.ts';
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

/** @throws CniError 7 (naming the field), 1 (no version that this library speaks) */
export function parseList(value: unknown, file = ''): NetworkList {
  const fields = new Fields(value, '');
  const name = fields.string('name');
  if (name === undefined || !namePattern.test(name))
    throw fields.bad('name', "letters, digits, '.', '_', '-'");
  if (fields.object.plugins === undefined && flag(fields, 'loadOnlyInlinedPlugins'))
    throw fields.bad('plugins', 'a list, because loadOnlyInlinedPlugins is true');
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
  if (type === undefined || !isPluginType(type)) throw fields.bad('type', 'the name of a plugin');
  const wanted = fields.fields('capabilities');
  const names = Object.keys(wanted.object);
  const capabilities = Object.fromEntries(names.map((key) => [key, wanted.boolean(key) ?? false]));
  return { type, capabilities, json: fields.object };
}

/** The specification once wrote these booleans as strings, and lists of that time exist. */
function flag(fields: Fields, key: string): boolean {
  const value = fields.object[key];
  if (typeof value === 'string' && /^(true|false)$/i.test(value)) return value.toLowerCase() === 'true';
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
    const single = isObject(json) && json.plugins === undefined && json.type !== undefined;
    return single ? parseSingle(json, file) : parseList(json, file);
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
  const first = firstConf(folder);
  if (first === undefined)
    throw new CniError(cniCodes.CNI_INVALID_CONFIG, `${folder}: no CNI configuration (*.conflist) there`);
  return loadFile(join(folder, first));
}

/** Whether a folder tells of any network. */
export const hasDefault = (folder: string): boolean => firstConf(folder) !== undefined;

function firstConf(folder: string): string | undefined {
  const files = existsSync(folder) ? readdirSync(folder) : [];
  return files.filter((name) => /\.(conflist|conf|json)$/.test(name) && !name.startsWith('.')).sort()[0];
}

const isConf = (name: string): boolean => /\.(conf|json)$/.test(name);

/**
 * The network of that name: first among the folder's *.conflist by file name, then among *.conf and *.json. A file that
 * cannot be read hides only itself. @throws CniError 7 where no file has it; what was wrong with the first bad file
 */
export function loadNetwork(folder: string, name: string): NetworkList {
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];
  const lists = files.filter((file) => file.endsWith('.conflist'));
  let fault: unknown;
  for (const file of [...lists, ...files.filter(isConf)]) {
    try {
      const list = loadFile(join(folder, file));
      if (list.name === name) return list;
    } catch (error) {
      fault ??= error;
    }
  }
  throw (
    fault ??
    new CniError(
      cniCodes.CNI_INVALID_CONFIG,
      `no net configuration with name ${JSON.stringify(name)} in ${folder}`,
    )
  );
}

/** What one plugin is to get beside its own JSON. */
export interface PluginInput {
  readonly prevResult?: CniResult | undefined;
  /** By capability; only those that the plugin declares are handed on. */
  readonly capabilityArgs?: Readonly<Record<string, unknown>> | undefined;
  /** Of GC. */
  readonly validAttachments?: ReadonlyArray<{ containerID: string; ifname: string }> | undefined;
}

/**
 * The JSON for a plugin's standard input: name and version of the list, runtimeConfig, prevResult. Pure.
 * What the protocol reserves is ours to set: `capabilities`, `prevResult` and `cni.dev/*` of the file are left out.
 * Source: CNI specification 1.1.0, section 3, "Deriving request configuration".
 */
export function pluginInput(list: NetworkList, plugin: PluginConf, input: PluginInput): JsonObject {
  const { prevResult, capabilityArgs = {}, validAttachments } = input;
  const declared = Object.entries(capabilityArgs).filter(([key]) => plugin.capabilities[key] === true);
  const { runtimeConfig: own, capabilities: _, prevResult: __, ...rest } = plugin.json;
  if (own !== undefined && !isObject(own)) throw badValue('runtimeConfig', own, 'a JSON object');
  const runtimeConfig = { ...own, ...Object.fromEntries(declared) };
  return {
    ...Object.fromEntries(Object.entries(rest).filter(([key]) => !key.startsWith('cni.dev/'))),
    name: list.name,
    cniVersion: list.cniVersion,
    ...(Object.keys(runtimeConfig).length > 0 ? { runtimeConfig } : {}),
    ...(prevResult ? { prevResult: toVersion(prevResult, list.cniVersion) } : {}),
    // The second name is one that the specification once had by mistake.
    ...(validAttachments
      ? { 'cni.dev/valid-attachments': validAttachments, 'cni.dev/attachments': validAttachments }
      : {}),
  };
}

/** What may be asked of a list: the union of what its plugins declare. Pure. */
export const capabilitiesOf = (list: NetworkList): string[] => [
  ...new Set(
    list.plugins.flatMap(({ capabilities }) => Object.keys(capabilities).filter((key) => capabilities[key])),
  ),
];
