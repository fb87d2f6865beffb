// The CNI_* environment, checked whole before a plugin sees it: what each verb needs, and since which version.
// Source: CNI specification 1.1.0, section 2 (parameters of each operation). Pure but for the look at the netns.
import { existsSync, statfsSync, statSync } from 'node:fs';
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
}

type Variable = 'CNI_CONTAINERID' | 'CNI_NETNS' | 'CNI_IFNAME' | 'CNI_PATH';

interface Verb {
  readonly needs: readonly Variable[];
  readonly since: SpecVersion;
}

/** Verb → the variables it cannot do without, and the first version that has it. */
export const verbs: Readonly<Record<CniCommand, Verb>> = {
  ADD: { needs: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], since: '0.3.1' },
  DEL: { needs: ['CNI_CONTAINERID', 'CNI_IFNAME'], since: '0.3.1' },
  CHECK: { needs: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'], since: '0.4.0' },
  STATUS: { needs: [], since: '1.1.0' },
  GC: { needs: ['CNI_PATH'], since: '1.1.0' },
  VERSION: { needs: [], since: '0.3.1' },
};

const bad = (variable: string, value: string | undefined, expected: string) =>
  cniError(
    'CNI_INVALID_ENVIRONMENT',
    `${variable}: expected ${expected}, got ${JSON.stringify(value ?? '')}`,
  );

/** @throws CniError 4 that names the variable */
export function parseCommand(env: Env): CniCommand {
  const command = env.CNI_COMMAND ?? '';
  if (!Object.hasOwn(verbs, command)) throw bad('CNI_COMMAND', command, Object.keys(verbs).join(', '));
  return command as CniCommand;
}

/** @throws CniError 4 that names every variable that is missing, or the one that is wrong */
export function parseEnv(env: Env, command: CniCommand): CallEnv {
  const missing = verbs[command].needs.filter((name) => !env[name]);
  if (missing.length > 0)
    throw cniError('CNI_INVALID_ENVIRONMENT', `${missing.join(', ')}: needed for ${command} and not set`);
  const { CNI_CONTAINERID: containerId = '', CNI_NETNS: netns = '', CNI_IFNAME: ifname = '' } = env;
  if (containerId !== '' && !/^[A-Za-z0-9][\w.-]*$/.test(containerId))
    throw bad('CNI_CONTAINERID', containerId, "letters, digits, '.', '_', '-', the first a letter or digit");
  if (
    ifname !== '' &&
    (!/^[!-~]{1,15}$/.test(ifname) || /[/:"\\]/.test(ifname) || ifname === '.' || ifname === '..')
  )
    throw bad('CNI_IFNAME', ifname, "1 to 15 visible characters without '/' and ':'");
  if (netns !== '' && !/^\/[^\0\n"\\]*$/.test(netns)) throw bad('CNI_NETNS', netns, 'an absolute path');
  const path = (env.CNI_PATH ?? '').split(':').filter((dir) => dir !== '');
  return { command, containerId, netns, ifname, args: parseArgs(env.CNI_ARGS ?? ''), path };
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

/** ADD and CHECK act in another namespace than our own. @throws CniError 8 */
export function checkNetns(netns: string): void {
  const wrong = (what: string) => cniError('CNI_INVALID_NETNS', `CNI_NETNS: ${netns}: ${what}`);
  if (!existsSync(netns)) throw wrong('no such file');
  if (statfsSync(netns).type !== nsfsMagic) throw wrong('is not a namespace');
  const [theirs, ours] = [statSync(netns), statSync('/proc/self/ns/net')];
  if (theirs.ino === ours.ino && theirs.dev === ours.dev) throw wrong("is the plugin's own namespace");
}
