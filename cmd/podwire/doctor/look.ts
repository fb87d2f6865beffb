// Gathers what `podwire doctor` judges: programs, kernel features tried out in namespaces of their own, addresses, limits.
// Assumes nothing; whatever cannot be found out becomes a finding. Changes nothing that outlasts the process.
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { messageOf } from '../../../lib/exec/errors.ts';
import { baseEnv, type Command, type Exec, run } from '../../../lib/exec/exec.ts';
import { loLabel } from '../../../lib/node-network/own-link.ts';
import type { Context } from '../context.ts';
import { health, repoFolder, socketOwner } from '../daemon.ts';
import { fail, type Finding, ok, warn } from './finding.ts';
import * as judge from './judge.ts';

interface Program {
  readonly name: string;
  readonly package: string;
  /** How it tells its version. */
  readonly version?: readonly string[];
  /** What is lost without it; absent: nothing works. */
  readonly without?: string;
}

const programs: readonly Program[] = [
  { name: 'conmon', package: 'conmon', version: ['--version'] },
  { name: 'ip', package: 'iproute2', version: ['-V'] },
  { name: 'nft', package: 'nftables', version: ['--version'] },
  { name: 'mount', package: 'mount', version: ['--version'] },
  { name: 'unshare', package: 'util-linux', version: ['--version'] },
  { name: 'nsenter', package: 'util-linux', version: ['--version'] },
  { name: 'start-stop-daemon', package: 'dpkg', version: ['--version'] },
  { name: 'catatonit', package: 'catatonit', version: ['--version'], without: 'pause is "sleep infinity"' },
  {
    name: 'skopeo',
    package: 'skopeo',
    version: ['--version'],
    without: 'images cannot be pulled or imported',
  },
  { name: 'umoci', package: 'umoci', version: ['--version'], without: 'images cannot be unpacked' },
  {
    name: 'conntrack',
    package: 'conntrack',
    version: ['--version'],
    without: 'old connections are not forgotten at once',
  },
  { name: 'modprobe', package: 'kmod', without: 'kernel modules must be loaded already' },
];

export function findProgram(name: string): string | undefined {
  return baseEnv()
    .PATH!.split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export async function lookAtPrograms(exec: Exec = run): Promise<Finding[]> {
  return [
    ...(await Promise.all(programs.map((program) => lookAtProgram(program, exec)))),
    ...(await lookAtRuntimes(exec)),
  ];
}

async function lookAtProgram(program: Program, exec: Exec): Promise<Finding> {
  const mend = `apt-get install ${program.package}`;
  if (!findProgram(program.name)) {
    return program.without
      ? warn(program.name, `not found: ${program.without}`, mend)
      : fail(program.name, 'not found', mend);
  }
  return ok(program.name, await version([program.name, ...(program.version ?? [])], exec));
}

async function lookAtRuntimes(exec: Exec): Promise<Finding[]> {
  const there = ['crun', 'runc'].filter(findProgram);
  if (there.length === 0)
    return [fail('crun', 'neither crun nor runc found: no container can run', 'apt-get install crun')];
  const found = await Promise.all(
    there.map(async (name) => ok(name, await version([name, '--version'], exec))),
  );
  if (!there.includes('crun'))
    found.push(warn('crun', 'not found', 'apt-get install crun   (or: podwire up --runtime runc)'));
  return found;
}

/** All looks run side by side: on a slow, busy machine (a VM without KVM) each may take seconds, and is not broken. */
const patienceMs = 30_000;

async function version(argv: readonly string[], exec: Exec): Promise<string> {
  if (argv.length === 1) return 'there';
  try {
    const { stdout, stderr } = await exec({ argv: argv as [string, ...string[]], timeoutMs: patienceMs });
    return (stdout || stderr).trim().split('\n')[0]!.slice(0, 80);
  } catch (error) {
    return `there, but ${messageOf(error).split('\n')[0]}`;
  }
}

// ── kernel features, each tried in a namespace that ends with the process ───────────────────────────────────────────

export async function lookAtKernel(exec: Exec = run): Promise<Finding[]> {
  if (process.getuid?.() !== 0)
    return [warn('kernel features', 'not tried: that needs root', 'sudo podwire doctor')];
  const inNetns = (...argv: string[]): Command => ({
    argv: ['unshare', '--net', ...argv],
    timeoutMs: patienceMs,
  });
  const ruleset =
    'table ip podwire_doctor { chain c { type nat hook postrouting priority 100; ip saddr 10.0.0.0/8 masquerade; }; }';
  return Promise.all([
    attempt(
      'veth',
      inNetns('ip', 'link', 'add', 'pwdoc0', 'type', 'veth', 'peer', 'name', 'pwdoc1'),
      'modprobe veth',
      exec,
    ),
    attempt('bridge', inNetns('ip', 'link', 'add', 'pwdoc0', 'type', 'bridge'), 'modprobe bridge', exec),
    attempt(
      'nftables nat',
      { ...inNetns('nft', '-f', '-'), input: ruleset },
      'modprobe nf_tables && modprobe nft_chain_nat && modprobe nft_masq',
      exec,
    ),
    lookAtOverlay(exec),
  ]);
}

async function attempt(name: string, command: Command, mend: string, exec: Exec): Promise<Finding> {
  try {
    await exec(command);
    return ok(name, 'works');
  } catch (error) {
    return fail(name, messageOf(error).split('\n')[0]!, mend);
  }
}

async function lookAtOverlay(exec: Exec): Promise<Finding> {
  const folder = mkdtempSync(join(tmpdir(), 'podwire-doctor-'));
  try {
    for (const name of ['upper', 'work', 'root']) mkdirSync(join(folder, name));
    const options = `lowerdir=/,upperdir=${folder}/upper,workdir=${folder}/work`;
    const argv: Command['argv'] = [
      'unshare',
      '--mount',
      'mount',
      '-t',
      'overlay',
      'overlay',
      '-o',
      options,
      join(folder, 'root'),
    ];
    return await attempt('overlayfs', { argv, timeoutMs: patienceMs }, 'modprobe overlay', exec);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// ── the machine ─────────────────────────────────────────────────────────────────────────────────────────────────────

export function lookAtCgroups(): Finding[] {
  const mounts = judge.parseCgroupMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
  const v2 = mounts.find((mount) => mount.type === 'cgroup2');
  const controllers = v2
    ? read(join(v2.path, 'cgroup.controllers'))?.trim().split(' ').filter(Boolean)
    : undefined;
  return judge.judgeCgroups(mounts, controllers, {
    crun: findProgram('crun') !== undefined,
    runc: findProgram('runc') !== undefined,
  });
}

export async function lookAtNetwork(podCidr: string, exec: Exec = run): Promise<Finding[]> {
  return [
    judge.judgeForwarding(read('/proc/sys/net/ipv4/ip_forward') ?? '0'),
    await guarded('pod addresses', async () => judge.judgeRange(podCidr, await usedRanges(exec))),
    await guarded('forward policy', async () => judge.judgeForwardPolicy(await baseChains(exec), podCidr)),
  ];
}

async function guarded(name: string, look: () => Promise<Finding>): Promise<Finding> {
  try {
    return await look();
  } catch (error) {
    return warn(name, `could not be found out: ${messageOf(error).split('\n')[0]}`);
  }
}

async function usedRanges(exec: Exec): Promise<judge.Range[]> {
  type Held = { local: string; prefixlen: number; label?: string };
  const addresses = parse<Array<{ ifname: string; addr_info: Held[] }>>(
    (await exec({ argv: ['ip', '-j', '-4', 'address', 'show'] })).stdout,
  );
  const routes = parse<Array<{ dst: string; dev?: string }>>(
    (await exec({ argv: ['ip', '-j', '-4', 'route', 'show'] })).stdout,
  );
  return [
    ...addresses.flatMap(({ ifname, addr_info }) =>
      addr_info.filter(isForeign).map((each) => ({
        cidr: `${each.local}/${each.prefixlen}`,
        what: `address of ${ifname}`,
        device: ifname,
      })),
    ),
    ...routes.map(({ dst, dev = '' }) => ({ cidr: dst, what: `route over ${dev}`, device: dev })),
  ];
}

/** The backend host-gw has the first address of the node's own range on lo. */
const isForeign = ({ label }: { readonly label?: string }): boolean => label !== loLabel;

async function baseChains(exec: Exec): Promise<judge.BaseChain[]> {
  const { nftables } = parse<{ nftables: Array<{ chain?: judge.BaseChain }> }>(
    (await exec({ argv: ['nft', '-j', 'list', 'chains'] })).stdout,
  );
  return nftables.flatMap(({ chain }) => (chain?.hook ? [chain] : []));
}

const parse = <T>(text: string): T => JSON.parse(text || '[]') as T;

export function lookAtLimits(context: Context): Finding[] {
  let folder = context.paths.state;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize, ffree, files } = statfsSync(folder);
  const number = (path: string): number => Number(read(path) ?? 0);
  return [
    judge.judgeDisk(folder, { freeBytes: bavail * bsize, freeInodes: ffree, inodes: files }),
    judge.judgeInotify({
      instances: number('/proc/sys/fs/inotify/max_user_instances'),
      watches: number('/proc/sys/fs/inotify/max_user_watches'),
    }),
  ];
}

export function lookAtPlugins(): Finding {
  const folder = join(repoFolder(), 'dist/cni');
  const missing = ['bridge', 'host-local', 'loopback'].filter((name) => !existsSync(join(folder, name)));
  if (missing.length === 0) return ok('CNI plugins', `bridge, host-local and loopback in ${folder}`);
  return fail('CNI plugins', `not built: ${missing.join(', ')}`, `cd ${repoFolder()} && npm run setup`);
}

export async function lookAtDaemon(context: Context): Promise<Finding> {
  const found = await health(context);
  if (found === 'absent') return warn('podwired', `not running on ${context.socket}`, 'podwire up');
  const pid = process.getuid?.() === 0 ? socketOwner(context.socket)?.pid : undefined;
  if (found === 'ready') return ok('podwired', `ready on ${context.socket}${pid ? ` (pid ${pid})` : ''}`);
  return warn(
    'podwired',
    `there but not ready on ${context.socket}`,
    `look into ${join(context.paths.logs, 'podwired.log')}`,
  );
}

export function lookAtRoot(): Finding {
  if (process.getuid?.() === 0) return ok('root', 'yes');
  return fail('root', 'no: podwired makes namespaces, mounts and links', 'sudo -i');
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
