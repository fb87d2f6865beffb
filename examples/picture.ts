// The network of this machine's Pods as a picture in text, made only from what the kernel says.
// Assumes podwire's marks: a veth's ifalias `podwire: NAMESPACE/POD IFNAME`. Drawing is pure; looking is a few `ip` calls.
import { readdirSync, readFileSync } from 'node:fs';
import { run } from '../lib/exec/exec.ts';

export interface PodNetwork {
  /** Name of the network namespace under /run/netns. */
  readonly netns: string;
  /** `namespace/name`, from the host end's ifalias. */
  readonly pod: string;
  /** The machine's end of the veth pair, and the Pod's. */
  readonly hostEnd: string;
  readonly podEnd: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly gateway: string | undefined;
  /** `pid program` of what runs in the namespace, by pid. */
  readonly processes: readonly string[];
}

export interface Network {
  readonly uplink: { readonly name: string; readonly addresses: readonly string[] } | undefined;
  /** Ranges whose packets leave with the machine's address. */
  readonly masquerade: readonly string[];
  readonly bridge: { readonly name: string; readonly addresses: readonly string[]; readonly mac: string };
  readonly pods: readonly PodNetwork[];
  /** net.ipv4.ip_forward */
  readonly forwarding: boolean;
}

/** Draws one bridge with its Pods below it. Pure. */
export function drawNetwork(network: Network): string {
  const { uplink, bridge, masquerade, pods } = network;
  const head = [
    uplink
      ? `${uplink.name}  ${uplink.addresses.join('  ')}   (the machine's way out)`
      : '(no default route: Pods reach only this machine)',
    ' │',
    ...masquerade.map((range) => ` │  nftables: packets from ${range} leave with the machine's address`),
    ` │  ip_forward is ${network.forwarding ? 'on: the kernel routes between the two' : 'off'}`,
    ' │',
    `${bridge.name}  ${bridge.addresses.join('  ')}   bridge, ${bridge.mac}`,
  ];
  const longest = Math.max(0, ...pods.map((pod) => pod.hostEnd.length));
  const boxes = pods.flatMap((pod, at) => podLines(pod, { longest, last: at === pods.length - 1 }));
  return `${[...head, ...boxes].join('\n')}\n`;
}

/** A box for the namespace; the veth pair runs from the bridge's trunk on the left into it. */
function podLines(pod: PodNetwork, place: { readonly longest: number; readonly last: boolean }): string[] {
  const interfaces = `${pod.podEnd}  ${pod.addresses.join('  ')}   ${pod.mac}`;
  const inside = [
    ...(pod.gateway ? [`default via ${pod.gateway}`] : []),
    `Pod ${pod.pod}`,
    ...wrap(pod.processes, 62),
  ];
  const title = `─ /run/netns/${pod.netns} `;
  const width = Math.max(title.length + 1, ...[interfaces, ...inside].map((line) => line.length + 2));
  const wire = ` ${place.last ? '└' : '├'}─ ${pod.hostEnd} ${'═'.repeat(place.longest - pod.hostEnd.length + 3)}╡`;
  const gap = ' '.repeat(wire.length - 3);
  const row = (line: string): string => `${line.padEnd(width - 1)}│`;
  const below = place.last ? '  ' : ' │';
  return [
    ` │${gap}┌${title.padEnd(width, '─')}┐`,
    `${wire} ${row(interfaces)}`,
    ...inside.map((line) => `${below}${gap}│ ${row(line)}`),
    `${below}${gap}└${'─'.repeat(width)}┘`,
    ...(place.last ? [] : [' │']),
  ];
}

/** Words in lines of at most `width` characters. */
function wrap(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && `${last} · ${word}`.length <= width)
      lines[lines.length - 1] = `${last} · ${word}`;
    else lines.push(word);
  }
  return lines;
}

interface Link {
  ifindex: number;
  ifname: string;
  address: string;
  master?: string;
  ifalias?: string;
  link_index?: number;
  addr_info: Array<{ family: string; local: string; prefixlen: number; scope: string }>;
}

/** Asks the kernel; undefined when no Pod has a network here. */
export async function lookAtNetwork(): Promise<Network | undefined> {
  const links = (await json<Link[]>(['ip', '-j', 'address', 'show'])).map((link) => ({
    ...link,
    ifalias: alias(link.ifname),
  }));
  const hostEnds = links.filter((link) => link.ifalias?.startsWith('podwire: ') && link.master);
  const bridge = links.find((link) => link.ifname === hostEnds[0]?.master);
  if (!bridge) return undefined;
  const routes = await json<Array<{ dst: string; dev: string }>>(['ip', '-j', 'route', 'show', 'default']);
  const uplink = links.find((link) => link.ifname === routes[0]?.dev);
  const pods = await Promise.all(readdirSync('/run/netns').map((netns) => lookIntoNetns(netns, hostEnds)));
  return {
    uplink: uplink && { name: uplink.ifname, addresses: globals(uplink) },
    masquerade: await masqueraded(),
    forwarding: readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8').trim() === '1',
    bridge: { name: bridge.ifname, addresses: globals(bridge), mac: bridge.address },
    pods: pods.filter((pod) => pod !== undefined).sort((a, b) => (a.pod < b.pod ? -1 : 1)),
  };
}

/** `ip -j address` leaves the alias out. */
function alias(ifname: string): string {
  try {
    return readFileSync(`/sys/class/net/${ifname}/ifalias`, 'utf8').trim();
  } catch {
    return ''; // The link has gone since.
  }
}

async function lookIntoNetns(netns: string, hostEnds: readonly Link[]): Promise<PodNetwork | undefined> {
  const inside = await json<Link[]>(['ip', '-n', netns, '-j', 'address', 'show']);
  const routes = await json<Array<{ gateway?: string }>>([
    'ip',
    '-n',
    netns,
    '-j',
    'route',
    'show',
    'default',
  ]);
  for (const link of inside) {
    const hostEnd = hostEnds.find(
      (each) => each.ifindex === link.link_index && each.link_index === link.ifindex,
    );
    const [, pod, podEnd] = /^podwire: (\S+) (\S+)/.exec(hostEnd?.ifalias ?? '') ?? [];
    if (!hostEnd || pod === undefined || podEnd !== link.ifname) continue;
    const { address: mac } = link;
    const processes = await processesIn(netns);
    return {
      netns,
      pod,
      hostEnd: hostEnd.ifname,
      podEnd,
      mac,
      addresses: globals(link),
      gateway: routes[0]?.gateway,
      processes,
    };
  }
  return undefined;
}

const globals = (link: Link): string[] =>
  link.addr_info.filter((each) => each.scope === 'global').map((each) => `${each.local}/${each.prefixlen}`);

async function processesIn(netns: string): Promise<string[]> {
  const { stdout } = await run({ argv: ['ip', 'netns', 'pids', netns] });
  const pids = stdout.split('\n').filter(Boolean).map(Number);
  return pids
    .sort((a, b) => a - b)
    .flatMap((pid) => {
      try {
        return [`${pid} ${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()}`];
      } catch {
        return []; // It has ended since.
      }
    });
}

/** Source ranges of masquerade rules in podwire's own tables. */
async function masqueraded(): Promise<string[]> {
  const { stdout } = await run({ argv: ['nft', 'list', 'ruleset'] });
  const ranges = new Set<string>();
  let table = '';
  for (const line of stdout.split('\n')) {
    table = /^table \S+ (\S+)/.exec(line)?.[1] ?? table;
    const range = /ip6? saddr (\S+)/.exec(line)?.[1];
    if (table.startsWith('podwire') && line.includes('masquerade') && range) ranges.add(range);
  }
  return [...ranges];
}

async function json<T>(argv: [string, ...string[]]): Promise<T> {
  const { stdout } = await run({ argv });
  return JSON.parse(stdout || '[]') as T;
}
