// The shared face of all plugins to the CNI protocol: environment and configuration are checked whole before
// anything is touched; the answer is one JSON object on standard output; logs go to standard error only.
// Source: CNI specification 1.1.0. One call a process.
import { CniError, cniCodes, cniError } from '../../lib/cni/errors.ts';
import { Fields, isObject } from '../../lib/cni/json.ts';
import { parseResult, parseVersion, toVersion } from '../../lib/cni/result.ts';
import {
  type CniResult,
  type JsonObject,
  newestVersion,
  type SpecVersion,
  specVersions,
} from '../../lib/cni/types.ts';
import { ExecError, messageOf, PodwireError } from '../../lib/exec/errors.ts';
import type { Exec } from '../../lib/exec/exec.ts';
import { KernelError } from '../../lib/kernel/errors.ts';
import { ownCodes } from './codes.ts';
import { type CallEnv, checkVerbVersion, type Env, parseCommand, parseEnv, usableNetns } from './env.ts';
import { maxInput } from './input.ts';

/** What a plugin is given: environment and configuration, both checked as far as all plugins share them. */
export interface PluginCall extends CallEnv {
  /** The whole configuration; each plugin narrows its own keys. */
  readonly conf: Fields;
  readonly name: string;
  readonly version: SpecVersion;
  readonly prevResult: CniResult | undefined;
  /** Of GC: who is still attached. */
  readonly validAttachments: readonly ValidAttachment[];
  readonly host: Host;
}

export interface ValidAttachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** What the process lends its plugin: a way to start programs, and the plugins that live in this same executable. */
export interface Host {
  readonly exec: Exec;
  readonly plugins: Readonly<Record<string, Plugin>>;
  /** Path of this executable, to tell whether a delegate is ourselves. */
  readonly self: string;
  /** Where a delegate's standard error goes: ours. */
  readonly log?: (text: string) => void;
}

/** A plugin: a handler a verb. A verb without a handler has nothing to do and succeeds. */
export interface Plugin {
  readonly type: string;
  /** Narrows the plugin's own keys; called before every verb, so that a bad configuration touches nothing. */
  readonly add: (call: PluginCall) => Promise<CniResult>;
  readonly del: (call: PluginCall) => Promise<void>;
  readonly check?: (call: PluginCall) => Promise<void>;
  readonly status?: (call: PluginCall) => Promise<void>;
  readonly gc?: (call: PluginCall) => Promise<void>;
  /** IPAM plugins act on no namespace: they may be called for one that is not there. */
  readonly ipam?: true;
}

export interface Answer {
  readonly stdout: string;
  readonly exitCode: number;
}

export interface Request {
  /** The text, or what reads it once the environment has been found good. */
  readonly stdin: string | (() => string);
  readonly host: Host;
}

/** Serves one call; never throws. */
export async function serve(plugin: Plugin, env: Env, request: Request): Promise<Answer> {
  const { stdin } = request;
  const input = (): string => (typeof stdin === 'string' ? stdin : stdin());
  let version: string = newestVersion;
  try {
    const command = parseCommand(env);
    if (command === 'VERSION') return { stdout: versionAnswer(input), exitCode: 0 };
    const callEnv = parseEnv(env, command);
    const conf = decode(input());
    version = parseVersion(conf.object.cniVersion);
    const call = makeCall(callEnv, conf, request.host);
    checkVerbVersion(command, call.version);
    const result = await perform(plugin, plugin.ipam ? call : { ...call, netns: usableNetns(callEnv) });
    return { stdout: result ? `${JSON.stringify(toVersion(result, call.version))}\n` : '', exitCode: 0 };
  } catch (error) {
    return { stdout: `${JSON.stringify(errorObject(error, version))}\n`, exitCode: 1 };
  }
}

/** One verb of one plugin; the delegate way in, too. */
export async function perform(plugin: Plugin, call: PluginCall): Promise<CniResult | undefined> {
  switch (call.command) {
    case 'ADD':
      return plugin.add(call);
    case 'DEL':
      await plugin.del(call);
      return undefined;
    case 'CHECK':
      await plugin.check?.(call);
      return undefined;
    case 'STATUS':
      await plugin.status?.(call);
      return undefined;
    case 'GC':
      await plugin.gc?.(call);
      return undefined;
    case 'VERSION':
      return undefined;
  }
}

/** @throws CniError 6 for what is no JSON object */
function decode(text: string): Fields {
  const wrong = (what: string, cause?: unknown) =>
    cniError('CNI_DECODING_FAILURE', `standard input: ${what}`, { cause });
  if (text.length > maxInput) throw wrong(`more than ${maxInput} characters`);
  if (text.trim() === '') throw wrong('empty, expected a network configuration');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw wrong(`not JSON: ${messageOf(cause)}`, cause);
  }
  if (!isObject(value)) throw wrong('expected a JSON object');
  return new Fields(value, '');
}

/** @throws CniError 7, 1 */
function makeCall(env: CallEnv, conf: Fields, host: Host): PluginCall {
  const version = parseVersion(conf.object.cniVersion);
  const name = conf.string('name') ?? '';
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name))
    throw conf.bad('name', "a network name: letters, digits, '.', '_', '-'");
  const prev = conf.object.prevResult;
  const prevResult = prev === undefined || prev === null ? undefined : parsePrevious(prev, env.command);
  if (env.command === 'CHECK' && !prevResult) throw conf.bad('prevResult', 'the result of ADD');
  return { ...env, conf, name, version, prevResult, validAttachments: attachments(conf, env.command), host };
}

/** A prevResult that makes no sense stops an ADD or CHECK, which build on it, and nothing else. */
function parsePrevious(value: unknown, command: string): CniResult | undefined {
  try {
    return parseResult(value, 'prevResult');
  } catch (error) {
    if (command === 'ADD' || command === 'CHECK') throw error;
    return undefined;
  }
}

/** Without the key nobody is attached: so the original cnitool asks for it. */
function attachments(conf: Fields, command: string): ValidAttachment[] {
  if (command !== 'GC') return [];
  const key =
    conf.object['cni.dev/valid-attachments'] === undefined
      ? 'cni.dev/attachments'
      : 'cni.dev/valid-attachments';
  return conf.objects(key).map((one) => ({
    containerId: one.string('containerID') ?? '',
    ifname: one.string('ifname') ?? '',
  }));
}

function versionAnswer(input: () => string): string {
  let asked: unknown;
  try {
    asked = (JSON.parse(input()) as JsonObject).cniVersion;
  } catch {
    // VERSION is asked before anything is known of the other side: an empty or foreign input is no error.
  }
  const cniVersion =
    typeof asked === 'string' && /^\d{1,4}(\.\d{1,4}){2}$/.test(asked) ? asked : newestVersion;
  return `${JSON.stringify({ cniVersion, supportedVersions: specVersions })}\n`;
}

const longest = 4096;

/** The error object of the specification, for anything thrown. Of several failures, the first one's code. */
export function errorObject(error: unknown, cniVersion: string): JsonObject {
  const first = firstOf(error);
  const code = first instanceof CniError ? first.cniCode : codeOf(first);
  const details = first instanceof CniError ? first.details : first instanceof PodwireError ? first.code : '';
  const msg = messageOf(error).slice(0, longest);
  return { cniVersion, code, msg, ...(details === '' ? {} : { details: details.slice(0, longest) }) };
}

/** What a plugin did not put into the protocol's words itself. */
const codeOf = (error: unknown): number =>
  error instanceof KernelError || error instanceof ExecError ? ownCodes.kernel : cniCodes.CNI_INTERNAL;

const firstOf = (error: unknown): unknown =>
  error instanceof AggregateError ? firstOf(error.cause ?? error.errors[0]) : error;
