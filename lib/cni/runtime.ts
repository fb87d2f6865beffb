// The runtime side of CNI (a libcni): ADD, DEL, CHECK, STATUS, GC and VERSION of network lists.
// Assumes CNI specification 1.1.0, sections 2-4. Plugins of a list run one after another; lists of different
// containers side by side. Invariants: one operation a container at a time; GC alone; an attachment is remembered
// before its first plugin runs, and forgotten only after a DEL that succeeded; a failed ADD is followed by DEL.
// What holds them is this object: a process makes one Cni for a cache folder.
import { messageOf } from '../exec/errors.ts';
import { undoFailed } from '../exec/undo.ts';
import { type Exec, run } from '../exec/exec.ts';
import { forgetAttachment, listAttachments, loadAttachment, saveAttachment } from './cache.ts';
import {
  capabilitiesOf,
  type NetworkList,
  type PluginConf,
  type PluginInput,
  parseList,
  pluginInput,
} from './conf.ts';
import { CniError, cniError } from './errors.ts';
import { Gate } from './gate.ts';
import { Fields } from './json.ts';
import { callPlugin, findPlugin } from './plugin-exec.ts';
import { parseResult } from './result.ts';
import {
  type AttachmentKey,
  type CniCommand,
  type CniResult,
  type JsonObject,
  newestVersion,
} from './types.ts';

export interface CniOptions {
  /** Searched in order; becomes CNI_PATH. */
  readonly pluginDirs: readonly string[];
  /** The cache is `<cacheDir>/results`. */
  readonly cacheDir: string;
  readonly exec?: Exec | undefined;
  /** Milliseconds for one plugin run; 30 000 unless told. */
  readonly timeoutMs?: number | undefined;
  /** Added to every plugin's environment. TRACEPARENT, TRACESTATE and BAGGAGE of this process are always handed on. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Gets what a plugin that succeeded wrote to its standard error. */
  readonly onStderr?: ((text: string, plugin: { type: string; command: CniCommand }) => void) | undefined;
}

/** Of what concerns a whole network. */
export interface NetworkCall {
  readonly signal?: AbortSignal | undefined;
  /** As in CniOptions, for this call: a span's own TRACEPARENT. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** What a plugin says of itself. */
export interface VersionInfo {
  readonly cniVersion: string;
  readonly supportedVersions: readonly string[];
}

export interface Attachment extends AttachmentKey {
  /** Absolute path; may be absent or gone for DEL. */
  readonly netns?: string | undefined;
  /** CNI_ARGS; values must not hold ';' or '='. */
  readonly args?: Readonly<Record<string, string>> | undefined;
  /** By capability, e.g. { portMappings: [...] }. */
  readonly capabilityArgs?: Readonly<Record<string, unknown>> | undefined;
  /** Added to the plugins' environment, e.g. PODWIRE_TRACE, or a span's own TRACEPARENT. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

const idPattern = /^[A-Za-z0-9][\w.-]{0,199}$/;

export class Cni {
  readonly #options: CniOptions;
  readonly #gate = new Gate();
  constructor(options: CniOptions) {
    this.#options = options;
  }

  /** Attaches. A failure has been undone by DEL before it is thrown. @throws CniError */
  addNetworkList(list: NetworkList, attachment: Attachment): Promise<CniResult> {
    checkAttachment(attachment);
    if (!attachment.netns)
      throw cniError('CNI_INVALID_ENVIRONMENT', 'CNI_NETNS: ADD needs the path of a namespace');
    return this.#gate.shared(attachment.containerId, () => this.#add(list, attachment));
  }

  async #add(list: NetworkList, attachment: Attachment): Promise<CniResult> {
    if (attachment.signal?.aborted) throw cniError('CNI_TRY_AGAIN', `ADD of ${list.name}: cancelled`); // nothing to undo
    // One that is missing is told before the first runs: then there is nothing to undo, which would need it too.
    for (const plugin of list.plugins) findPlugin(plugin.type, this.#options.pluginDirs);
    this.#remember(list, attachment, undefined);
    let prevResult: CniResult | undefined;
    try {
      for (const plugin of list.plugins) {
        const printed = await this.#call('ADD', { list, plugin, attachment, input: { prevResult } });
        if (printed === undefined)
          throw cniError('CNI_DECODING_FAILURE', `${plugin.type} ADD: ended well without a result`);
        prevResult = parseResult(printed, `result of ${plugin.type}`);
      }
      const result = prevResult ?? {};
      this.#remember(list, attachment, result);
      return result;
    } catch (cause) {
      await this.#undoAdd({ list, attachment, prevResult, cause });
      throw cause;
    }
  }

  /** DEL of all plugins of the list, those too that never ran: that is what the specification asks for. */
  async #undoAdd(failed: {
    list: NetworkList;
    attachment: Attachment;
    prevResult: CniResult | undefined;
    cause: unknown;
  }): Promise<void> {
    const { list, attachment, prevResult, cause } = failed;
    try {
      await this.#delPlugins(list, { ...attachment, signal: undefined }, prevResult);
      forgetAttachment(this.#options.cacheDir, list.name, attachment);
    } catch (undone) {
      throw undoFailed(cause, undone);
    }
  }

  /** Detaches. Repeatable; works without netns and without cache. Tries every plugin. @throws CniError */
  delNetworkList(list: NetworkList, attachment: Attachment): Promise<void> {
    checkAttachment(attachment);
    return this.#gate.shared(attachment.containerId, async () => {
      const cached = loadAttachment(this.#options.cacheDir, list.name, attachment);
      // The configuration of the time of ADD made what is to be unmade; the file may have changed since.
      const then = cached?.config ? (attempt(() => parseList(cached.config, '')) ?? list) : list;
      await this.#delPlugins(then, withCached(attachment, cached), cached?.result);
      forgetAttachment(this.#options.cacheDir, list.name, attachment);
    });
  }

  async #delPlugins(
    list: NetworkList,
    attachment: Attachment,
    prevResult: CniResult | undefined,
  ): Promise<void> {
    const input = list.cniVersion === '0.3.1' ? {} : { prevResult }; // since 0.4.0
    await everyPlugin([...list.plugins].reverse(), `DEL of ${list.name}`, (plugin) =>
      this.#call('DEL', { list, plugin, attachment, input }),
    );
  }

  /** @throws CniError of the first plugin that finds something wrong */
  checkNetworkList(list: NetworkList, attachment: Attachment): Promise<void> {
    checkAttachment(attachment);
    return this.#gate.shared(attachment.containerId, async () => {
      if (list.disableCheck || list.cniVersion === '0.3.1') return;
      const cached = loadAttachment(this.#options.cacheDir, list.name, attachment);
      if (!cached?.result)
        throw cniError(
          'CNI_UNKNOWN_CONTAINER',
          `CHECK of ${attachment.containerId} ${attachment.ifname}: no result of its ADD is kept`,
        );
      for (const plugin of list.plugins) {
        const input = { prevResult: cached.result };
        await this.#call('CHECK', { list, plugin, attachment: withCached(attachment, cached), input });
      }
    });
  }

  /** Whether an ADD could be served. @throws CniError 50 or 51, or what a plugin said */
  async getStatus(list: NetworkList, call: NetworkCall = {}): Promise<void> {
    if (list.cniVersion !== '1.1.0') return;
    for (const plugin of list.plugins) await this.#call('STATUS', { list, plugin, ...call, input: {} });
  }

  /** What a plugin speaks. @throws CniError 7 (no such plugin), 6 (an answer that makes no sense) */
  async getVersionInfo(type: string, call: NetworkCall = {}): Promise<VersionInfo> {
    const answer = await this.#run('VERSION', { type, input: { cniVersion: newestVersion }, ...call });
    const fields = new Fields(answer ?? {}, `VERSION of ${type}`);
    return {
      cniVersion: fields.string('cniVersion') ?? '',
      supportedVersions: fields.strings('supportedVersions'),
    };
  }

  /**
   * Whether each plugin is there and speaks the list's version, before anything is attached.
   * @returns the capabilities that may be asked for @throws CniError 7, 1
   */
  async validateNetworkList(list: NetworkList, call: NetworkCall = {}): Promise<string[]> {
    await everyPlugin(list.plugins, `validation of ${list.name}`, async ({ type }) => {
      const { supportedVersions } = await this.getVersionInfo(type, call);
      if (!supportedVersions.includes(list.cniVersion))
        throw cniError(
          'CNI_INCOMPATIBLE_VERSION',
          `plugin ${type} does not speak ${list.cniVersion}: it speaks ${supportedVersions.join(', ')}`,
        );
    });
    return capabilitiesOf(list);
  }

  /** Frees what belongs to no attachment in `valid`: remembered ones by DEL, the rest by the plugins' GC. */
  gcNetworkList(list: NetworkList, valid: readonly AttachmentKey[], call: NetworkCall = {}): Promise<void> {
    return this.#gate.alone(async () => {
      if (list.disableGC) return;
      const validAttachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
      const collect = list.plugins.map((plugin) => async () => {
        if (list.cniVersion === '1.1.0')
          await this.#call('GC', { list, plugin, ...call, input: { validAttachments } });
      });
      const steps = [...this.#forgetSteps(list, valid, call), ...collect];
      await everyPlugin(steps, `GC of ${list.name}`, (step) => step());
    });
  }

  /**
   * The part of a GC that touches nothing of others: DEL of each attachment that this runtime remembers and that is not
   * in `valid`. For a network that is shared with other runtimes, whose attachments nobody could list.
   */
  forgetStale(list: NetworkList, valid: readonly AttachmentKey[], call: NetworkCall = {}): Promise<void> {
    return this.#gate.alone(() =>
      everyPlugin(this.#forgetSteps(list, valid, call), `clean-up of ${list.name}`, (step) => step()),
    );
  }

  #forgetSteps(
    list: NetworkList,
    valid: readonly AttachmentKey[],
    call: NetworkCall,
  ): Array<() => Promise<void>> {
    const keep = new Set(valid.map(({ containerId, ifname }) => `${containerId} ${ifname}`));
    const stale = listAttachments(this.#options.cacheDir, list.name).filter(
      ({ containerId, ifname }) => !keep.has(`${containerId} ${ifname}`),
    );
    return stale.map((cached) => async () => {
      const then = cached.config ? (attempt(() => parseList(cached.config, '')) ?? list) : list;
      const { containerId, ifname } = cached;
      await this.#delPlugins(then, withCached({ containerId, ifname, ...call }, cached), cached.result);
      forgetAttachment(this.#options.cacheDir, list.name, cached);
    });
  }

  #remember(list: NetworkList, attachment: Attachment, result: CniResult | undefined): void {
    const { containerId, ifname, netns, args = {}, capabilityArgs = {} } = attachment;
    const { name, cniVersion, disableCheck, disableGC } = list;
    const plugins = list.plugins.map((plugin) => plugin.json);
    const config: JsonObject = { cniVersion, name, disableCheck, disableGC, plugins };
    const entry = {
      containerId,
      ifname,
      network: name,
      config,
      result,
      netns,
      args: Object.entries(args),
      capabilityArgs,
    };
    saveAttachment(this.#options.cacheDir, entry, cniVersion);
  }

  #call(
    command: CniCommand,
    call: NetworkCall & {
      readonly list: NetworkList;
      readonly plugin: PluginConf;
      readonly input: PluginInput;
      readonly attachment?: Attachment;
    },
  ): Promise<unknown> {
    const { list, plugin, attachment } = call;
    const input = { ...call.input, capabilityArgs: attachment?.capabilityArgs };
    return this.#run(command, {
      type: plugin.type,
      input: pluginInput(list, plugin, input),
      env: attachment ? environment(attachment) : call.env,
      signal: call.signal ?? attachment?.signal,
    });
  }

  #run(
    command: CniCommand,
    call: NetworkCall & { readonly type: string; readonly input: JsonObject },
  ): Promise<unknown> {
    const { pluginDirs, exec = run, timeoutMs = 30_000, env, onStderr } = this.#options;
    const { type, input, signal } = call;
    return callPlugin({
      command,
      type,
      pluginDirs,
      env: { ...tracing(), ...env, ...call.env },
      input,
      exec,
      timeoutMs,
      signal,
      onStderr: onStderr && ((text) => onStderr(text, { type, command })),
    });
  }
}

/** The caller's trace goes on in the plugins. Source: W3C Trace Context, and OpenTelemetry's names for the environment. */
function tracing(): Record<string, string> {
  const names = ['TRACEPARENT', 'TRACESTATE', 'BAGGAGE'];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] ? [[name, process.env[name]] as const] : [])),
  );
}

/** Every step is tried; one failure is thrown as it is, several as one CniError. */
async function everyPlugin<T>(
  steps: readonly T[],
  what: string,
  act: (step: T) => Promise<unknown>,
): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps) {
    try {
      await act(step);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length === 0) return;
  const details = errors.map(messageOf).join('; ');
  const code = errors[0] instanceof CniError ? errors[0].cniCode : 999;
  throw new CniError(code, `${what}: ${errors.length} failures: ${details}`, {
    cause: new AggregateError(errors, details),
  });
}

function withCached(attachment: Attachment, cached: ReturnType<typeof loadAttachment>): Attachment {
  if (!cached) return attachment;
  return {
    ...attachment,
    netns: attachment.netns ?? cached.netns,
    args: attachment.args ?? Object.fromEntries(cached.args),
    capabilityArgs: attachment.capabilityArgs ?? cached.capabilityArgs,
  };
}

function environment(attachment: Attachment): Record<string, string> {
  const { containerId, ifname, netns, args = {}, env = {} } = attachment;
  const pairs = Object.entries(args).map(([key, value]) => `${key}=${value}`);
  return {
    ...env,
    CNI_CONTAINERID: containerId,
    CNI_IFNAME: ifname,
    ...(netns ? { CNI_NETNS: netns } : {}),
    ...(pairs.length > 0 ? { CNI_ARGS: pairs.join(';') } : {}),
  };
}

function checkAttachment({ containerId, ifname, args = {} }: Attachment): void {
  if (!idPattern.test(containerId))
    throw cniError(
      'CNI_INVALID_ENVIRONMENT',
      `CNI_CONTAINERID: ${JSON.stringify(containerId)}: expected letters, digits, '.', '_', '-'`,
    );
  if (!/^[^\s/:]{1,15}$/.test(ifname) || ifname === '.' || ifname === '..')
    throw cniError(
      'CNI_INVALID_ENVIRONMENT',
      `CNI_IFNAME: ${JSON.stringify(ifname)}: expected 1-15 characters, no '/', ':' or blank`,
    );
  for (const [key, value] of Object.entries(args))
    if (/[;=]/.test(key) || /;/.test(value))
      throw cniError(
        'CNI_INVALID_ENVIRONMENT',
        `CNI_ARGS: ${key}=${JSON.stringify(value)} cannot be told from its neighbours`,
      );
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
