// The judgements of `podwire doctor`: facts in, findings out. Everything here is pure; doctor/look.ts gathers the facts.
import { fail, type Finding, ok, warn } from './finding.ts';

/** A cgroup mount of /proc/self/mountinfo. */
export interface CgroupMount {
  readonly path: string;
  readonly type: 'cgroup' | 'cgroup2';
  /** v1: the controllers of this hierarchy, from its super options. */
  readonly controllers: readonly string[];
}

/** The cgroup mounts of a mountinfo text. Source: proc(5), /proc/[pid]/mountinfo. */
export function parseCgroupMounts(mountinfo: string): CgroupMount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [left, right] = line.split(' - ');
    const [type, , options = ''] = right?.split(' ') ?? [];
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    const flags = options.split(',').filter((each) => !['rw', 'ro', 'xattr', 'nsdelegate'].includes(each));
    return [{ path: left!.split(' ')[4]!, type, controllers: type === 'cgroup' ? flags : [] }];
  });
}

const needed = ['cpu', 'memory', 'pids'];

/** `v2Controllers`: what cgroup.controllers of the v2 mount says; undefined without one. */
export function judgeCgroups(
  mounts: readonly CgroupMount[],
  v2Controllers: readonly string[] | undefined,
  runtimes: { crun: boolean; runc: boolean },
): Finding[] {
  const v1 = mounts.filter(
    (mount) => mount.type === 'cgroup' && mount.controllers.some((each) => !each.startsWith('name=')),
  );
  const v2 = mounts.find((mount) => mount.type === 'cgroup2');
  if (v1.length === 0 && v2) return [judgePureV2(v2Controllers ?? [])];
  if (v1.length === 0)
    return [fail('cgroups', 'no cgroup hierarchy is mounted', 'mount -t cgroup2 cgroup2 /sys/fs/cgroup')];
  const mounted = v1.flatMap((mount) => mount.controllers);
  const missing = needed.filter((each) => !mounted.includes(each));
  const found = [
    missing.length === 0
      ? ok('cgroups', `${v2 ? 'hybrid (v1 with an extra v2)' : 'v1'}: cpu, memory and pids are there`)
      : warn('cgroups', `v1 without ${missing.join(', ')}: limits on them cannot be kept`, mountV1(missing)),
  ];
  if (v2 && v2Controllers && v2Controllers.length > 0) found.push(hybridTrap(v2Controllers, runtimes));
  return found;
}

function judgePureV2(controllers: readonly string[]): Finding {
  const missing = needed.filter((each) => !controllers.includes(each));
  if (missing.length === 0) return ok('cgroups', 'v2: cpu, memory and pids are there');
  const boot = missing.includes('memory')
    ? 'add cgroup_enable=memory to the kernel command line and restart'
    : 'enable them in the parent cgroup';
  return warn('cgroups', `v2 without ${missing.join(', ')}: limits on them cannot be kept`, boot);
}

const mountV1 = (controllers: readonly string[]): string =>
  controllers
    .map(
      (each) => `mkdir -p /sys/fs/cgroup/${each} && mount -t cgroup -o ${each} cgroup /sys/fs/cgroup/${each}`,
    )
    .join(' && ');

/** crun refuses a v2 hierarchy that has controllers beside v1 ones; runc does not mind. */
function hybridTrap(controllers: readonly string[], runtimes: { crun: boolean; runc: boolean }): Finding {
  const detail = `the v2 hierarchy beside v1 holds ${controllers.join(', ')}: crun refuses that ("drop all controllers from cgroupv2")`;
  const how = runtimes.crun ? 'podwired mounts them as v1 when it starts' : 'runc does not mind';
  return warn('cgroups hybrid', `${detail}; ${how}`, mountV1(controllers));
}

// ── addresses ──────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Range {
  /** CIDR, e.g. 10.0.0.0/8. */
  readonly cidr: string;
  /** Where it was seen: `address of eth0`, `route over eth0`. */
  readonly what: string;
  readonly device: string;
}

/** First and last address of an IPv4 CIDR as numbers; undefined when it is none. */
export function ipv4Range(cidr: string): readonly [number, number] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(cidr);
  if (!match) return undefined;
  const octets = match.slice(1, 5).map(Number);
  const bits = Number(match[5] ?? 32);
  if (octets.some((octet) => octet > 255) || bits > 32) return undefined;
  const size = 2 ** (32 - bits);
  const address = octets.reduce((sum, octet) => sum * 256 + octet, 0);
  const first = address - (address % size);
  return [first, first + size - 1];
}

export function overlaps(a: string, b: string): boolean {
  const left = ipv4Range(a);
  const right = ipv4Range(b);
  return left !== undefined && right !== undefined && left[0] <= right[1] && right[0] <= left[1];
}

/** The Pods' IPv4 range (one a family may be given, with a comma) against the machine's; podwire's bridge is no conflict. */
export function judgeRange(podCidrs: string, used: readonly Range[]): Finding {
  const podCidr = podCidrs.split(',').find((each) => !each.includes(':')) ?? podCidrs;
  if (!ipv4Range(podCidr))
    return fail('pod addresses', `${podCidr} is no IPv4 range`, 'podwire up --pod-cidr 10.244.0.0/24');
  const clash = used.find(
    (each) => !/^(podwire|pw)/.test(each.device) && each.cidr !== 'default' && overlaps(podCidr, each.cidr),
  );
  if (!clash) return ok('pod addresses', `${podCidr} is free`);
  const free = ['10.244.0.0/24', '10.55.0.0/24', '172.30.0.0/24', '192.168.244.0/24', '198.18.0.0/24'].find(
    (each) => !used.some((range) => overlaps(each, range.cidr)),
  );
  return fail(
    'pod addresses',
    `${podCidr} overlaps ${clash.cidr} (${clash.what})`,
    `podwire up --pod-cidr ${free ?? 'ANOTHER'}`,
  );
}

// ── the rest ───────────────────────────────────────────────────────────────────────────────────────────────────────

const gib = 2 ** 30;

export function judgeDisk(
  path: string,
  space: { freeBytes: number; freeInodes: number; inodes: number },
): Finding {
  const free = `${(space.freeBytes / gib).toFixed(1)} GiB free under ${path}`;
  const mend = 'podwire image ls, podwire image rm REF; or put --root on a larger disk';
  if (space.freeBytes < gib) return fail('disk', `only ${free}`, mend);
  if (space.inodes > 0 && space.freeInodes < 10_000)
    return fail('disk', `only ${space.freeInodes} inodes free under ${path}`, mend);
  return space.freeBytes < 5 * gib ? warn('disk', free, mend) : ok('disk', free);
}

export function judgeInotify(limits: { instances: number; watches: number }): Finding {
  const detail = `${limits.instances} instances, ${limits.watches} watches a user`;
  if (limits.instances >= 128 && limits.watches >= 8192) return ok('inotify', detail);
  return warn(
    'inotify',
    `${detail}: few for many Pods`,
    'sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288',
  );
}

export function judgeForwarding(value: string): Finding {
  if (value.trim() === '1') return ok('ip_forward', 'on');
  return warn('ip_forward', 'off: podwired turns it on when it starts', 'sysctl -w net.ipv4.ip_forward=1');
}

/** A base chain as `nft -j list chains` tells it. */
export interface BaseChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

/** A FORWARD policy of drop (Docker sets one) stops Pods' packets unless a rule lets them through. */
export function judgeForwardPolicy(chains: readonly BaseChain[], podCidr: string): Finding {
  const drop = chains.find(
    (chain) =>
      chain.hook === 'forward' &&
      chain.policy === 'drop' &&
      !chain.table.startsWith('podwire') &&
      chain.family !== 'ip6',
  );
  if (!drop) return ok('forward policy', 'no table drops forwarded packets by default');
  const where = `${drop.family} ${drop.table} ${drop.name}`;
  return warn(
    'forward policy',
    `nftables chain "${where}" drops what no rule accepts (Docker does that): Pods may not reach anything`,
    `nft insert rule ${where} ip saddr ${podCidr} accept && nft insert rule ${where} ip daddr ${podCidr} accept`,
  );
}
