// The CNI_* environment, checked whole before a plugin sees it: what each verb needs, and since which version.
// Source: CNI specification 1.1.0, section 2 (parameters of each operation). Pure but for the look at the netns.
import { statfsSync, statSync } from 'node:fs';
import { cniError } from '../../lib/cni/errors.ts';
import type { CniCommand, SpecVersion } from '../../lib/cni/types.ts';
import { specVersions } from '../../lib/cni/types.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** The call as a plugin gets it. Fields that the verb does not need may be ''. */
export interface CallEnv {
  readonly command: CniCommand;
  readonly containerId: string;
  /** Absolute path of the namespace; '' where none was given (DEL). */
  readonly netns: string;
  readonly ifname: string;
  /** CNI_ARGS, taken apart. */
  readonly args: Readonly<Record<string, string>>;
  /** Folders of plugins. */
  readonly path: readonly string[];
  /** The whole environment, for delegates: they are to get the same. */
  readonly env: Env;
}

type Variable = 'CNI_CONTAINERID' | 'CNI_NETNS' | 'CNI_IFNAME' | 'CNI_ARGS' | 'CNI_PATH';

interface Verb {
  /** Cannot do without. */
  readonly needs: readonly Variable[];
  /** Takes where they are there. All others are as if they were not set, whatever they hold. */
  readonly takes: readonly Variable[];
  /** The first version that has it. */
  readonly since: SpecVersion;
}

const attachment = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'] as const;

/** The protocol's table. */
export const verbs: Readonly<Record<CniCommand, Verb>> = {
  ADD: { needs: attachment, takes: ['CNI_ARGS', 'CNI_PATH'], since: '0.3.1' },
  DEL: {
    needs: ['CNI_CONTAINERID', 'CNI_IFNAME'],
    takes: ['CNI_NETNS', 'CNI_ARGS', 'CNI_PATH'],
    since: '0.3.1',
  },
  CHECK: { needs: attachment, takes: ['CNI_ARGS', 'CNI_PATH'], since: '0.4.0' },
  STATUS: { needs: [], takes: ['CNI_PATH'], since: '1.1.0' },
  GC: { needs: ['CNI_PATH'], takes: [], since: '1.1.0' },
  VERSION: { needs: [], takes: [], since: '0.3.1' },
};

const bad = (variable: string, value: string | undefined, expected: string) =>
  cniError(
    'CNI_INVALID_ENVIRONMENT',
    `${variable}: expected ${expected}, got ${JSON.stringify((value ?? '').slice(0, 200))}`,
  );

/** @throws CniError 4 that names the variable */
export function parseCommand(env: Env): CniCommand {
  const command = env.CNI_COMMAND ?? '';
  if (!Object.hasOwn(verbs, command)) throw bad('CNI_COMMAND', command, Object.keys(verbs).join(', '));
  return command as CniCommand;
}

/** What a variable must look like. Source: the specification, section 2, and what the kernel takes as a link's name. */
const forms: Partial<Record<Variable, { ok: (value: string) => boolean; expected: string }>> = {
  CNI_CONTAINERID: {
    ok: (value) => /^[A-Za-z0-9][\w.-]*$/.test(value),
    expected: "letters, digits, '.', '_', '-', the first a letter or digit",
  },
  CNI_IFNAME: {
    ok: (value) => /^[!-~]{1,15}$/.test(value) && !/[/:"\\]/.test(value) && value !== '.' && value !== '..',
    expected: "1 to 15 visible characters without '/' and ':'",
  },
  CNI_NETNS: { ok: (value) => /^\/[^\0\n"\\]*$/.test(value), expected: 'an absolute path' },
};

/** @throws CniError 4 that names every variable that is missing, or the one that is wrong */
export function parseEnv(env: Env, command: CniCommand): CallEnv {
  const { needs, takes } = verbs[command];
  const missing = needs.filter((name) => !env[name]);
  if (missing.length > 0)
    throw cniError('CNI_INVALID_ENVIRONMENT', `${missing.join(', ')}: needed for ${command} and not set`);
  const get = (name: Variable): string => {
    const value = needs.includes(name) || takes.includes(name) ? (env[name] ?? '') : '';
    const form = forms[name];
    if (value !== '' && form && !form.ok(value)) throw bad(name, value, form.expected);
    return value;
  };
  return {
    command,
    containerId: get('CNI_CONTAINERID'),
    netns: get('CNI_NETNS'),
    ifname: get('CNI_IFNAME'),
    args: parseArgs(get('CNI_ARGS')),
    path: get('CNI_PATH')
      .split(':')
      .filter((dir) => dir !== ''),
    env,
  };
}

/** `K=V;K=V`. Source: CNI specification 1.1.0, section 2, CNI_ARGS. @throws CniError 4 */
export function parseArgs(text: string): Record<string, string> {
  const args: Record<string, string> = {};
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (at < 1) throw bad('CNI_ARGS', text, 'KEY=VALUE pairs between semicolons');
    args[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return args;
}

/** @throws CniError 1 where the verb came later than the version that the configuration names */
export function checkVerbVersion(command: CniCommand, version: SpecVersion): void {
  const { since } = verbs[command];
  if (specVersions.indexOf(version) < specVersions.indexOf(since))
    throw cniError(
      'CNI_INCOMPATIBLE_VERSION',
      `${command} came with CNI ${since}; this configuration is ${version}`,
    );
}

const nsfsMagic = 0x6e736673; // include/uapi/linux/magic.h

/**
 * The namespace that a verb may act in. For DEL one that is gone, or that is none (any more), counts as not given: a
 * path through /proc may by now lead to the machine's own namespace, whose links are not the container's.
 * @throws CniError 8 for ADD and CHECK
 */
export function usableNetns({ command, netns, env }: CallEnv): string {
  if (netns === '') return '';
  const fault = netnsFault(netns, /^(1|true)$/i.test(env.CNI_NETNS_OVERRIDE ?? ''));
  if (fault === undefined) return netns;
  if (command === 'DEL') return '';
  throw cniError('CNI_INVALID_NETNS', `CNI_NETNS: ${netns.slice(0, 200)}: ${fault}`);
}

/** `own`: the plugin's own namespace is meant (CNI_NETNS_OVERRIDE, as the reference plugins have it). */
function netnsFault(netns: string, own: boolean): string | undefined {
  try {
    if (statfsSync(netns).type !== nsfsMagic) return 'is not a namespace';
    const [theirs, ours] = [statSync(netns), statSync('/proc/self/ns/net')];
    return !own && theirs.ino === ours.ino && theirs.dev === ours.dev
      ? "is the plugin's own namespace"
      : undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message;
  }
}
