// What podwire could leave behind on a machine, as sorted lines, to compare before and after a test run.
// Assumes /proc and /sys; `ip` and `nft` where they are installed. Reads only; about 30 ms.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

const ours = ['conmon', 'catatonit', 'crun', 'runc', 'podwired', 'unshare', 'etcd'];

/** One line a namespace, link, mount, table, cgroup, process, temporary folder and changed sysctl. */
export function machineState(): string[] {
  return [
    ...names('/run/netns').map((name) => `namespace ${name}`),
    ...links().map((name) => `link ${name}`),
    ...['', 'ids']
      .flatMap((part) => names(`/run/podwire-userns/${part}`))
      .flatMap((name) => (name === 'ids' ? [] : [`user ids ${name}`])),
    ...mounts().map((point) => `mount ${point}`),
    ...tables().map((table) => `nftables ${table}`),
    ...globSync(['/sys/fs/cgroup/podwire*', '/sys/fs/cgroup/*/podwire*']).map((path) => `cgroup ${path}`),
    ...processes(),
    ...names(tmpdir()).flatMap((name) => (/^(podwire|pw)-/.test(name) ? [`folder ${tmpdir()}/${name}`] : [])),
    ...(existsSync('/oom') ? ['file /oom'] : []), // conmon's, when its working folder is the root
    `sysctl net.ipv4.ip_forward = ${text('/proc/sys/net/ipv4/ip_forward').trim()}`,
  ].sort();
}

/** Lines that only one of two states has. A mount point may stand in a list several times. Pure. */
export function stateDifference(before: readonly string[], after: readonly string[]): string[] {
  const minus = (a: readonly string[], b: readonly string[]): string[] => {
    const rest = [...b];
    return a.filter((line) => {
      const at = rest.indexOf(line);
      if (at >= 0) rest.splice(at, 1);
      return at < 0;
    });
  };
  return [
    ...minus(after, before).map((line) => `left behind: ${line}`),
    ...minus(before, after).map((line) => `gone: ${line}`),
  ];
}

function links(): string[] {
  const found = output('ip', ['-j', 'link', 'show']);
  return found === '' ? [] : (JSON.parse(found) as Array<{ ifname: string }>).map((link) => link.ifname);
}

const tables = (): string[] => output('nft', ['list', 'tables']).split('\n').filter(Boolean);

const mounts = (): string[] =>
  text('/proc/self/mountinfo')
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? []);

function processes(): string[] {
  return names('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    const argv = text(`/proc/${pid}/cmdline`).split('\0');
    const program = text(`/proc/${pid}/comm`).trim();
    const daemon = argv.some((word) => /podwired(\.mjs)?$|cmd\/podwired\/main\.ts$/.test(word));
    return daemon || ours.includes(program) ? [`process ${pid} ${argv.join(' ').trim()}`] : [];
  });
}

function names(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** '' for what is not there (a process may end while we look). */
function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function output(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return ''; // Not installed, or not allowed: then there is nothing of ours either.
  }
}
