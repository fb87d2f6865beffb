// cnitool: attaches a namespace to a network by hand, with the usage and environment of the original of that name.
// Assumes root and a namespace that is there. State is the original's too (/var/lib/cni), so each can go on where the
// other stopped. Source: the behaviour of github.com/containernetworking/cni/cnitool.
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { Cni, CniError, loadNetwork } from '../../lib/cni/index.ts';
import { isObject } from '../../lib/cni/json.ts';
import { toVersion } from '../../lib/cni/result.ts';
import { messageOf, PodwireError } from '../../lib/exec/errors.ts';

const usage = `cnitool: add, check, remove, gc or get the status of a network interface in a network namespace

Usage:
  cnitool [--ifname NAME] add|check|del|gc|status <net> <netns>

  add     attach <netns> to the network; prints the result
  check   is all as the result of add says
  del     detach; may be repeated
  gc      free what belongs to any attachment of the network: none is taken as still valid
  status  could an add be served

Flags:
  -i, --ifname NAME   interface in the namespace (CNI_IFNAME, or eth0)
  -h, --help

Environment:
  NETCONFPATH   folder of configurations, /etc/cni/net.d
  CNI_PATH      folders of plugins, between colons
  CAP_ARGS      capability arguments as JSON, such as {"portMappings":[{"hostPort":8080,"containerPort":80}]}
  CNI_ARGS      KEY=VALUE pairs between semicolons
  CNI_IFNAME    interface name
`;

type Environment = Readonly<Record<string, string | undefined>>;
const verbs = ['add', 'check', 'del', 'gc', 'status'] as const;
type Verb = (typeof verbs)[number];

interface Call {
  readonly verb: Verb;
  readonly network: string;
  readonly netns: string;
  readonly ifname: string;
}

const wrong = (message: string): PodwireError => new PodwireError('CNITOOL_USAGE', message);

/** undefined where help is asked for. @throws PodwireError CNITOOL_USAGE */
export function parseArgv(argv: readonly string[], env: Environment): Call | undefined {
  const words: string[] = [];
  let ifname = env.CNI_IFNAME || 'eth0';
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!;
    const [, inline] = /^(?:--ifname|-i)=(.*)$/.exec(word) ?? [];
    if (word === '-h' || word === '--help') return undefined;
    if (inline !== undefined) ifname = inline;
    else if (word === '-i' || word === '--ifname') ifname = argv[++at] ?? '';
    else if (word.startsWith('-')) throw wrong(`unknown flag: ${word}`);
    else words.push(word);
  }
  const [verb, network, netns] = words;
  if (verb === undefined || verb === 'help') return undefined;
  if (!verbs.includes(verb as Verb)) throw wrong(`unknown command ${JSON.stringify(verb)} for "cnitool"`);
  if (network === undefined || netns === undefined)
    throw wrong(`requires at least 2 arg(s), only received ${words.length - 1}`);
  if (ifname === '') throw wrong('--ifname needs a name');
  return { verb: verb as Verb, network, netns: resolve(netns), ifname };
}

/** CNI_ARGS: every pair whole. @throws PodwireError CNITOOL_USAGE */
export function parsePairs(text: string): Record<string, string> {
  if (text === '') return {};
  const pairs = text.split(';').map((pair) => {
    const [key, value, ...more] = pair.split('=');
    if (!key || !value || more.length > 0) throw wrong(`invalid CNI_ARGS pair ${JSON.stringify(pair)}`);
    return [key, value] as const;
  });
  return Object.fromEntries(pairs);
}

/** CAP_ARGS. @throws PodwireError CNITOOL_USAGE */
export function parseCapabilities(text: string): Record<string, unknown> {
  if (text === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw wrong(`CAP_ARGS: not JSON: ${messageOf(error)}`);
  }
  if (!isObject(value)) throw wrong('CAP_ARGS: expected a JSON object');
  return value;
}

/** The container's id, which the original makes of the namespace's path. */
export const containerIdOf = (netns: string): string =>
  `cnitool-${createHash('sha512').update(netns).digest('hex').slice(0, 20)}`;

/** What plugins get beside the protocol's own variables: all the rest, as the original hands it on. */
const others = (env: Environment): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).filter(
      (pair): pair is [string, string] =>
        pair[1] !== undefined && !/^CNI_(COMMAND|CONTAINERID|NETNS|IFNAME|ARGS|PATH)$/.test(pair[0]),
    ),
  );

/** @returns what is to be printed */
async function perform({ verb, network, netns, ifname }: Call, env: Environment): Promise<string> {
  const list = loadNetwork(env.NETCONFPATH || '/etc/cni/net.d', network);
  const attachment = {
    containerId: containerIdOf(netns),
    netns,
    ifname,
    args: parsePairs(env.CNI_ARGS ?? ''),
    capabilityArgs: parseCapabilities(env.CAP_ARGS ?? ''),
  };
  const cni = new Cni({
    pluginDirs: (env.CNI_PATH ?? '').split(':').filter(Boolean),
    cacheDir: '/var/lib/cni',
    timeoutMs: 120_000,
    env: others(env),
    onStderr: (text) => process.stderr.write(text),
  });
  switch (verb) {
    case 'add':
      return JSON.stringify(toVersion(await cni.addNetworkList(list, attachment), list.cniVersion), null, 4);
    case 'del':
      await cni.delNetworkList(list, attachment);
      return '';
    case 'check':
      if (list.cniVersion === '0.3.1') throw wrong('configuration version "0.3.1" does not support CHECK');
      await cni.checkNetworkList(list, attachment);
      return '';
    case 'gc':
      await cni.gcNetworkList(list, []);
      return '';
    case 'status':
      await cni.getStatus(list);
      return '';
  }
}

async function main(): Promise<void> {
  const call = parseArgv(process.argv.slice(2), process.env);
  if (!call) {
    process.stdout.write(usage);
    return;
  }
  const text = await perform(call, process.env);
  // As the original: no line end, but where a person looks on.
  if (text !== '') process.stdout.write(process.stdout.isTTY ? `${text}\n` : text);
}

if (import.meta.main)
  await main().catch((error) => {
    const details = error instanceof CniError && error.details !== '' ? `; ${error.details}` : '';
    process.stderr.write(`${messageOf(error)}${details}\n`);
    if (error instanceof PodwireError && error.code === 'CNITOOL_USAGE') process.stderr.write(`\n${usage}`);
    process.exitCode = 1;
  });
