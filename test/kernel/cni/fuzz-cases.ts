// Calls of plugins for the fuzz run: whole configurations and environments, then bent out of shape. Pure: a seed gives
// the same cases for ever. And the judge: is an answer one that the specification allows?
import { parseResult } from '../../../lib/cni/result.ts';
import { specVersions } from '../../../lib/cni/types.ts';

export type Random = () => number;

/** mulberry32: small, fast, and the same everywhere. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface FuzzCase {
  readonly type: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Buffer;
}

/** What the cases may name: namespaces and folders that are there. */
export interface Surroundings {
  readonly types: readonly string[];
  readonly netns: string;
  readonly pluginDir: string;
  readonly dataDir: string;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const pick = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
const chance = (random: Random, part: number): boolean => random() < part;

const strings = [
  ...[
    '',
    ' ',
    'x',
    '..',
    '../..',
    '/',
    '/etc/passwd',
    '\u0000',
    'a\nb',
    '"',
    '\\',
    '%s%n',
    '{}',
    '💥',
    '\ud800',
  ],
  ...[
    'eth0',
    'lo',
    'br0',
    'a'.repeat(16),
    'a'.repeat(5000),
    '-rf',
    '--',
    ';reboot',
    '$(id)',
    '`id`',
    "';drop",
  ],
  ...[
    '10.0.0.1',
    '10.0.0.1/24',
    '10.0.0.0/33',
    '256.1.1.1/8',
    '::',
    '::/0',
    'fd00::1/64',
    '::ffff:1.2.3.4',
    '0.0.0.0/0',
  ],
  ...[
    '1.2.3',
    '01.2.3.4/8',
    '10.1.0.0/16',
    'fd00::/129',
    ':::',
    '1::2::3',
    '02:00:00:00:00:01',
    'ff:ff:ff:ff:ff:ff',
    '00:00',
  ],
  ...[
    'tcp',
    'udp',
    'sctp',
    'TCP',
    'true',
    'false',
    'null',
    '1',
    '-1',
    '1e9',
    'NaN',
    '__proto__',
    'constructor',
    'toString',
  ],
  ...[
    'bridge',
    'host-local',
    'static',
    'portmap',
    'nftables',
    'iptables',
    'isolated',
    'same-bridge',
    'private',
    'vepa',
  ],
];
const numbers = [
  0,
  1,
  -1,
  2,
  68,
  255,
  1500,
  4094,
  4095,
  65535,
  65536,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1.5,
  1e308,
  -0,
];

function anything(random: Random, depth = 0): Json {
  const kind = Math.floor(random() * (depth > 3 ? 4 : 6));
  switch (kind) {
    case 0:
      return pick(random, [null, true, false]);
    case 1:
      return pick(random, numbers);
    case 2:
    case 3:
      return pick(random, strings);
    case 4:
      return Array.from({ length: Math.floor(random() * 4) }, () => anything(random, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: Math.floor(random() * 4) }, () => [
          pick(random, [...strings, ...keys]),
          anything(random, depth + 1),
        ]),
      );
  }
}

// The keys of all plugins: bending one plugin's configuration with another's finds what is read without being checked.
const keys = [
  ...[
    'cniVersion',
    'name',
    'type',
    'ipam',
    'dns',
    'args',
    'capabilities',
    'runtimeConfig',
    'prevResult',
    'cni.dev/valid-attachments',
  ],
  ...[
    'bridge',
    'isGateway',
    'isDefaultGateway',
    'forceAddress',
    'ipMasq',
    'ipMasqBackend',
    'mtu',
    'hairpinMode',
    'promiscMode',
  ],
  ...[
    'vlan',
    'vlanTrunk',
    'preserveDefaultVlan',
    'macspoofchk',
    'enabledad',
    'disableContainerInterface',
    'portIsolation',
    'mac',
  ],
  ...[
    'ranges',
    'subnet',
    'rangeStart',
    'rangeEnd',
    'gateway',
    'routes',
    'dst',
    'gw',
    'dataDir',
    'resolvConf',
    'ips',
    'addresses',
  ],
  ...[
    'address',
    'snat',
    'masqAll',
    'markMasqBit',
    'conditionsV4',
    'conditionsV6',
    'portMappings',
    'hostPort',
    'containerPort',
  ],
  ...[
    'hostIP',
    'protocol',
    'ingressRate',
    'ingressBurst',
    'egressRate',
    'egressBurst',
    'bandwidth',
    'sysctl',
    'promisc',
  ],
  ...[
    'allmulti',
    'txQLen',
    'backend',
    'ingressPolicy',
    'master',
    'mode',
    'linkInContainer',
    'vlanId',
    'id',
    'port',
    'vtep',
  ],
  ...[
    'node',
    'local',
    'device',
    'peers',
    'peersFile',
    'interfaces',
    'sandbox',
    'nameservers',
    'search',
    'options',
    'domain',
  ],
];

const prevResult = (netns: string): Json => ({
  cniVersion: '1.0.0',
  interfaces: [
    { name: 'br0', mac: '02:00:00:00:00:01' },
    { name: 'veth0', mac: '02:00:00:00:00:02' },
    { name: 'eth0', mac: '02:00:00:00:00:03', sandbox: netns },
  ],
  ips: [
    { address: '10.9.0.2/24', gateway: '10.9.0.1', interface: 2 },
    { address: 'fd00:9::2/64', gateway: 'fd00:9::1', interface: 2 },
  ],
  routes: [{ dst: '0.0.0.0/0' }],
  dns: {},
});

/** A configuration of each plugin with all of its keys, as a person might write it. */
function whole(type: string, { dataDir }: Surroundings): { [key: string]: Json } {
  const ranges: Json = [
    [{ subnet: '10.9.0.0/24', rangeStart: '10.9.0.10', rangeEnd: '10.9.0.200', gateway: '10.9.0.1' }],
  ];
  const ipam: Json = { type: 'host-local', dataDir, ranges, routes: [{ dst: '0.0.0.0/0', gw: '10.9.0.1' }] };
  const own: { [type: string]: { [key: string]: Json } } = {
    bridge: {
      bridge: 'fz0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      mtu: 1400,
      ipam,
      macspoofchk: true,
    },
    ptp: { ipMasq: true, mtu: 1400, ipam, dns: { nameservers: ['10.9.0.1'], search: ['x'] } },
    'host-local': { ipam },
    static: {
      ipam: {
        type: 'static',
        addresses: [{ address: '10.9.0.9/24', gateway: '10.9.0.1' }],
        routes: [{ dst: '0.0.0.0/0' }],
        dns: { nameservers: ['10.9.0.1'] },
      },
    },
    portmap: {
      snat: true,
      masqAll: false,
      markMasqBit: 13,
      conditionsV4: ['ip', 'daddr', '10.0.0.0/8'],
      runtimeConfig: {
        portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '10.9.0.1' }],
      },
    },
    bandwidth: {
      ingressRate: 1_000_000,
      ingressBurst: 1_000_000,
      egressRate: 1_000_000,
      egressBurst: 1_000_000,
    },
    firewall: { backend: 'nftables', ingressPolicy: 'same-bridge' },
    tuning: {
      sysctl: { 'net.core.somaxconn': '500' },
      mac: '02:00:00:00:00:09',
      mtu: 1400,
      promisc: true,
      dataDir,
    },
    macvlan: { master: 'fzm', mode: 'bridge', mtu: 1400, ipam },
    vlan: { master: 'fzm', vlanId: 5, mtu: 1400, ipam },
    vxlan: {
      id: 7,
      port: 4789,
      node: 'a',
      local: '10.9.1.1',
      bridge: 'fzv',
      peers: [{ node: 'b', address: '10.9.1.2' }],
      ipam,
    },
  };
  return { type, ...own[type] };
}

/** One change somewhere in a value: replaced, removed, added, or moved about. */
function bend(random: Random, value: Json): Json {
  const deeper = typeof value === 'object' && value !== null && chance(random, 0.75);
  if (!deeper) return anything(random);
  if (Array.isArray(value)) {
    const copy = [...value];
    const at = Math.floor(random() * (copy.length + 1));
    if (at === copy.length || chance(random, 0.2)) copy.splice(at, 0, anything(random));
    else copy[at] = bend(random, copy[at] as Json);
    return copy;
  }
  const copy = { ...value };
  const key = chance(random, 0.75) ? pick(random, [...Object.keys(copy), 'x']) : pick(random, keys);
  if (chance(random, 0.15)) delete copy[key];
  else copy[key] = key in copy ? bend(random, copy[key] as Json) : anything(random);
  return copy;
}

function junk(random: Random): Buffer {
  switch (Math.floor(random() * 8)) {
    case 0:
      return Buffer.alloc(0);
    case 1:
      return Buffer.from(
        Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256)),
      );
    case 2:
      return Buffer.from('['.repeat(1 + Math.floor(random() * 20_000)));
    case 3:
      return Buffer.from(['{"a":'.repeat(5000), '1', '}'.repeat(5000)].join(''));
    case 4:
      return Buffer.from(`\ufeff{"cniVersion":"1.0.0","name":"n"}`);
    case 5:
      return Buffer.from(JSON.stringify(pick<Json>(random, [null, 1, 'x', [], true, [{}]])));
    case 6:
      return Buffer.from(
        `{"name":"n","cniVersion":"1.0.0","x":"${'y'.repeat(Math.floor(random() * 100_000))}"}`,
      );
    default:
      return Buffer.from('{"cniVersion":"1.0.0","name":"n","name":["twice"]}');
  }
}

function standardInput(
  random: Random,
  call: { type: string; command: string },
  around: Surroundings,
): Buffer {
  if (chance(random, 0.04)) return junk(random);
  let conf: Json = {
    cniVersion: chance(random, 0.6) ? '1.1.0' : pick(random, specVersions),
    name: 'fuzz',
    ...whole(call.type, around),
  };
  if (chance(random, call.command === 'CHECK' ? 0.95 : 0.6)) conf.prevResult = prevResult(around.netns);
  if (call.command === 'GC' || chance(random, 0.05))
    conf['cni.dev/valid-attachments'] = [{ containerID: 'c1', ifname: 'eth0' }];
  for (let left = Math.floor(random() * 4); left > 0; left--) conf = bend(random, conf) as never;
  const text = Buffer.from(JSON.stringify(conf) ?? '');
  return chance(random, 0.02) ? text.subarray(0, Math.floor(random() * text.length)) : text;
}

const commands = ['ADD', 'DEL', 'CHECK', 'STATUS', 'GC', 'VERSION'];

function environment(random: Random, around: Surroundings): Record<string, string> {
  const env: Record<string, string> = {
    CNI_COMMAND: chance(random, 0.95) ? pick(random, commands) : pick(random, strings),
    CNI_CONTAINERID: pick(random, ['c1', 'c2', `c${Math.floor(random() * 1e6)}`]),
    CNI_NETNS: around.netns,
    CNI_IFNAME: pick(random, ['eth0', 'eth0', 'net1']),
    CNI_PATH: around.pluginDir,
    CNI_ARGS: pick(random, ['', 'IgnoreUnknown=1;K8S_POD_NAME=web', 'IP=10.9.0.77', 'MAC=02:00:00:00:00:05']),
  };
  const names = Object.keys(env);
  while (chance(random, 0.2)) {
    const name = pick(random, names);
    if (chance(random, 0.4)) delete env[name];
    else
      env[name] =
        `${pick(random, ['', '/', '/run/netns/', '/proc/self/ns/', 'IP='])}${pick(random, [...strings, 'net', 'mnt'])}`;
  }
  // No environment can hold a zero byte, nor half a character.
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [name, value.replaceAll('\u0000', '').replace('\ud800', '')]),
  );
}

export function fuzzCase(random: Random, around: Surroundings): FuzzCase {
  const type = pick(random, around.types);
  const env = environment(random, around);
  return { type, env, stdin: standardInput(random, { type, command: env.CNI_COMMAND ?? '' }, around) };
}

// Said by the language, not by us: something was used without having been checked.
const accident =
  /is not a function|is not iterable|Cannot read prop|undefined is not|is not an object|is not defined|Maximum call stack|\n\s+at |Invalid array length|Cannot convert|Cannot mix BigInt|ERR_INVALID_ARG|must be of type|\[object /;

/** What is wrong with an answer; undefined for one that the specification allows. */
export function faultOf(
  { env, stdin }: FuzzCase,
  { stdout, exitCode }: { stdout: string; exitCode: number | null },
): string | undefined {
  if (exitCode !== 0) return errorFault(stdout);
  if (env.CNI_COMMAND === 'VERSION') {
    const { cniVersion, supportedVersions } = parse(stdout) ?? {};
    const good =
      typeof cniVersion === 'string' && JSON.stringify(supportedVersions) === JSON.stringify(specVersions);
    return good ? undefined : `VERSION answered ${stdout.slice(0, 200)}`;
  }
  if (env.CNI_COMMAND !== 'ADD')
    return stdout === '' ? undefined : `${env.CNI_COMMAND} printed ${stdout.slice(0, 200)}`;
  const result = parse(stdout);
  if (!result) return `ADD succeeded with ${JSON.stringify(stdout.slice(0, 200))}`;
  const asked = parse(stdin.toString());
  if (result.cniVersion !== asked?.cniVersion)
    return `a result of ${result.cniVersion} for ${asked?.cniVersion}`;
  try {
    parseResult(result, 'result');
    return undefined;
  } catch (error) {
    return `not a result: ${(error as Error).message}`;
  }
}

function errorFault(stdout: string): string | undefined {
  const error = parse(stdout);
  if (!error) return `failed with no error object: ${JSON.stringify(stdout.slice(0, 200))}`;
  const { cniVersion, code, msg, details = '' } = error;
  if (typeof cniVersion !== 'string' || !/^\d+\.\d+\.\d+$/.test(cniVersion))
    return `cniVersion ${cniVersion}`;
  if (typeof code !== 'number' || !Number.isInteger(code) || code < 1) return `code ${code}`;
  if (code < 100 && ![1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51].includes(code)) return `code ${code} is nobody's`;
  if (typeof msg !== 'string' || msg.trim() === '') return `msg ${JSON.stringify(msg)}`;
  if (typeof details !== 'string') return `details ${JSON.stringify(details)}`;
  if (accident.test(`${msg} ${details}`)) return `an accident: ${msg.slice(0, 300)}`;
  return undefined;
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
