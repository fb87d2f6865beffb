// Backend wireguard: one link, one key a node; per peer its public key with endpoint and the ranges it may send from, and
// per peer's subnet one route. Assumes `wg` (wireguard-tools) and the kernel's wireguard. The private key stays in a file
// of mode 0600 under the node's state; the public one is published on the Node. 60 or 80 bytes a packet.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { formatCidr } from '../cni/address.ts';
import { PodwireError } from '../exec/errors.ts';
import { findProgram } from '../exec/find-program.ts';
import { runLazily } from '../exec/run-lazily.ts';
import { toKernelError } from '../kernel/errors.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { KernelOptions } from '../kernel/ip.ts';
import { kernelHas } from '../kernel/link-info.ts';
import { overhead } from '../kernel/overlay.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { applyEntries, noEntries, readEntries } from './entries.ts';
import { removeOwnLink } from './own-link.ts';
import { ensureTunnel, lacks } from './tunnel-link.ts';
import {
  annotation,
  type Backend,
  type BackendConfig,
  type Change,
  type LocalNode,
  type Peer,
  type PeerPlan,
} from './types.ts';

export const wireguardPort = 51820;

/** Curve25519 keys in base64, as `wg` prints them. */
const isKey = (text: string): boolean => /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(text);

/** Pure. */
export function planWireguard({ underlay: { family } }: LocalNode, peer: Peer, port: number): PeerPlan {
  const { name, addresses, podCidrs, publicKey } = peer;
  const to = addresses[family];
  const none = (reason: 'NoAddress' | 'NoPublicKey', message: string): PeerPlan => ({
    entries: noEntries,
    problem: { reason, message },
  });
  if (to === undefined) return none('NoAddress', `${name} has no IPv${family} InternalIP`);
  if (publicKey === undefined || !isKey(publicKey))
    return none('NoPublicKey', `${name} has not published a key (${annotation.publicKey})`);
  const nets = podCidrs.map(formatCidr);
  const endpoint = to.includes(':') ? `[${to}]:${port}` : `${to}:${port}`;
  return {
    entries: {
      ...noEntries,
      routes: new Map(nets.map((net) => [net, ''])),
      tunnels: new Map([[publicKey, `${endpoint} ${[...nets].sort().join()}`]]),
    },
  };
}

/** The argv of `wg set` that lead from one to the other; the ranges of one peer move by being given to another. Pure. */
export function wgSet(link: string, { wanted, seen }: Change): string[] {
  const [has, had] = [wanted.tunnels ?? new Map<string, string>(), seen.tunnels ?? new Map<string, string>()];
  const gone = [...had.keys()].filter((key) => !has.has(key));
  const changed = [...has].filter(([key, value]) => had.get(key) !== value);
  const words = [
    ...gone.flatMap((key) => ['peer', key, 'remove']),
    ...changed.flatMap(([key, value]) => {
      const [endpoint = '', allowed = ''] = value.split(' ');
      return ['peer', key, 'endpoint', endpoint, 'allowed-ips', allowed];
    }),
  ];
  return words.length === 0 ? [] : ['set', link, ...words];
}

/** Of `wg show LINK dump`: a line of our own, then one a peer. Source: wg(8). Pure. */
export function parseDump(text: string): { publicKey: string; port: number; tunnels: Map<string, string> } {
  const [own = '', ...peers] = text.trim().split('\n');
  const [, publicKey = '', port = '0'] = own.split('\t');
  const tunnels = peers.map((line): [string, string] => {
    const [key = '', , endpoint = '', allowed = ''] = line.split('\t');
    return [key, `${endpoint} ${allowed.split(',').sort().join()}`];
  });
  return { publicKey, port: Number(port), tunnels: new Map(tunnels) };
}

export interface WireguardOptions extends Omit<KernelOptions, 'netns'> {
  readonly link: string;
  readonly config: Extract<BackendConfig, { name: 'wireguard' }>;
  readonly paths: NodePaths;
}

export function wireguard({ link, config, paths, ...options }: WireguardOptions): Backend {
  const port = config.port ?? wireguardPort;
  const wg = wgIn(options);
  const keyFile = join(paths.state, 'wireguard.key');
  return {
    name: 'wireguard',
    announcement: `wireguard port=${port}`,
    link,
    carrier: `udp port ${port}`,
    overhead: overhead.wireguard,
    check: () => checkMachine(options),
    annotations: async () => ({ [annotation.publicKey]: await publicKeyOf(keyFile, wg) }),
    plan: (local, peer) => planWireguard(local, peer, port),
    ensureLink: (local) => ensureWireguard(local, { link, port, keyFile, wg, options }),
    read: async () => {
      const [entries, { stdout }] = await Promise.all([
        readEntries(link, 'own link', options),
        wg(['show', link, 'dump']),
      ]);
      return { ...entries, tunnels: parseDump(stdout).tunnels };
    },
    apply: async (_, change) => {
      for (const args of wgCalls(link, change)) await wg(args);
      return applyEntries(link, change, options);
    },
    remove: () => removeOwnLink(link, options),
  };
}

/** One call for what goes and one for what comes, cut where an argument list would get too long. Pure. */
export function wgCalls(link: string, change: Change): string[][] {
  const [, , ...words] = wgSet(link, change);
  const calls: string[][] = [];
  for (const word of words) {
    const last = calls.at(-1);
    if (!last || (word === 'peer' && last.length > longestCall)) calls.push(['set', link, word]);
    else last.push(word);
  }
  return calls;
}

const longestCall = 3000;

type Wg = (args: readonly string[], input?: string) => Promise<{ stdout: string }>;

const wgIn =
  ({ exec = runLazily }: KernelOptions): Wg =>
  async (args, input) => {
    try {
      return await exec({ argv: ['wg', ...args], ...(input === undefined ? {} : { input }) });
    } catch (error) {
      throw toKernelError(error, `wg ${args[0]} ${args[1] ?? ''}`);
    }
  };

async function checkMachine(options: KernelOptions): Promise<void> {
  if (!findProgram('wg'))
    throw new PodwireError(
      'BACKEND_NOT_AVAILABLE',
      'network backend wireguard: wg: program not found; apt-get install wireguard-tools',
    );
  if (!(await kernelHas('wireguard', options))) throw lacks('wireguard');
}

/** Made with the first call, and kept: a key that changed would cut off every peer until it heard of it. */
async function publicKeyOf(keyFile: string, wg: Wg): Promise<string> {
  const kept = readIfThere(keyFile)?.trim() ?? '';
  const key = isKey(kept) ? kept : (await wg(['genkey'])).stdout.trim();
  if (key !== kept) {
    mkdirSync(join(keyFile, '..'), { recursive: true, mode: 0o700 });
    replaceFile(keyFile, `${key}\n`, { mode: 0o600 });
  }
  return (await wg(['pubkey'], key)).stdout.trim();
}

async function ensureWireguard(
  local: LocalNode,
  own: { link: string; port: number; keyFile: string; wg: Wg; options: Omit<KernelOptions, 'netns'> },
): Promise<string[]> {
  const { link, port, keyFile, wg, options } = own;
  const mtu = (local.underlay.mtu ?? 1500) - overhead.wireguard(local.underlay.family);
  const make = { op: 'addWireguard' as const, name: link, mtu };
  const told = await ensureTunnel(
    local,
    { kind: 'wireguard', name: link, mtu, make, incompatible: () => [] },
    options,
  );
  const publicKey = await publicKeyOf(keyFile, wg);
  const seen = parseDump((await wg(['show', link, 'dump'])).stdout);
  if (seen.publicKey === publicKey && seen.port === port) return told;
  await wg(['set', link, 'listen-port', String(port), 'private-key', keyFile]);
  return told;
}
