// The daemon seen from outside: does it answer, which process is it, how is it started and ended.
// Assumes a unix socket that only podwired listens on. Finding its process reads /proc once, about 10 ms.
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DetachedProcess, startDetached } from '../../lib/exec/detached.ts';
import { PodwireError } from '../../lib/exec/errors.ts';
import { identify, isAlive, type ProcessIdentity, signal } from '../../lib/kernel/process.ts';
import type { Context } from './context.ts';
import { socketErrno } from './errors.ts';
import { readJson, readText } from './http.ts';
import { type ResourceFlag, resourceFlags } from './resource-flags.ts';

/** Flags of `up` that go on to podwired as they are. */
export interface DaemonFlags extends Partial<Record<ResourceFlag, string>> {
  podCidr?: string;
  clusterCidr?: string;
  nodeCidrMaskSizeIpv4?: string;
  nodeCidrMaskSizeIpv6?: string;
  serviceCidr?: string;
  nodeMonitorGracePeriod?: string;
  defaultNotReadyTolerationSeconds?: string;
  defaultUnreachableTolerationSeconds?: string;
  runtime?: string;
  runtimeEndpoint?: string;
  cniConfDir?: string;
  nodeName?: string;
  nodeIp?: string;
  datastore?: string;
  datastoreCa?: string;
  datastoreCert?: string;
  datastoreKey?: string;
  allowedUnsafeSysctls?: string;
  nodePort?: string;
  listen?: string;
  advertiseAddress?: string;
  networkBackend?: string;
  logLevel?: string;
  maxPods?: string;
  podPidsLimit?: string;
  imageGcHighThreshold?: string;
  imageGcLowThreshold?: string;
  containerLogMaxSize?: string;
  containerLogMaxFiles?: string;
}

export type Health = 'ready' | 'starting' | 'absent';

/** Asks /readyz. */
export async function health(context: Context): Promise<Health> {
  try {
    await readText(context.socket, '/readyz', { signal: AbortSignal.timeout(2000) });
    return 'ready';
  } catch (error) {
    return socketErrno(error) && socketErrno(error) !== 'EACCES' ? 'absent' : 'starting';
  }
}

/** The process that listens on the socket, found by the socket's inode: it is right even when the daemon hangs. */
export function socketOwner(socket: string): ProcessIdentity | undefined {
  const inode = listeningInode(readFileSync('/proc/net/unix', 'utf8'), socket);
  if (inode === undefined) return undefined;
  const link = `socket:[${inode}]`;
  for (const entry of readdirSync('/proc')) {
    if (/^\d+$/.test(entry) && holds(entry, link)) return identify(Number(entry));
  }
  return undefined;
}

/** The inode of the listening socket bound to `path`. Source: /proc/net/unix; flag 0x10000 is __SO_ACCEPTCON. Pure. */
export function listeningInode(table: string, path: string): string | undefined {
  for (const line of table.split('\n')) {
    const [, , , flags, , , inode, name] = line.trim().split(/\s+/);
    if (name === path && flags === '00010000') return inode;
  }
  return undefined;
}

function holds(pid: string, link: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === link);
  } catch {
    return false; // Gone in the meantime, or not ours to look at.
  }
}

/** So long an agent is waited for whose servers do not answer. */
const patienceMs = 3000;

/** Why an agent does not run Pods yet; undefined when it does not wait for its servers. */
export async function waitsFor(context: Context): Promise<string | undefined> {
  try {
    const options = { signal: AbortSignal.timeout(2000) };
    return (await readJson<{ waiting?: string }>(context.socket, '/podwire/v1/node', options)).waiting;
  } catch {
    return undefined; // not listening yet, or gone
  }
}

/** What a person is told of a start. Pure. */
export const startedText = ({ pid, ms, waiting }: Started, socket: string): string =>
  waiting === undefined
    ? `podwired is ready after ${(ms / 1000).toFixed(2)} s (pid ${pid}) on ${socket}\n`
    : `podwired runs (pid ${pid}) on ${socket}; Pods that run go on, and new ones wait: ${waiting}\n`;

export interface Started {
  readonly pid: number;
  readonly ms: number;
  /** It runs, and an agent has to wait for its servers: what they said. */
  readonly waiting?: string;
}

/**
 * Starts podwired and waits until it is ready.
 * @throws PodwireError DAEMON_DIED with the end of its log, DAEMON_SLOW: it goes on
 */
export async function startPodwired(context: Context, flags: DaemonFlags): Promise<Started> {
  if (process.getuid?.() !== 0)
    throw new PodwireError('NOT_ROOT', 'podwired needs root: it makes namespaces, mounts and links');
  if (context.socket !== context.paths.socket)
    throw new PodwireError(
      'SOCKET',
      `podwired listens on ${context.paths.socket}: leave --socket out, or use --root`,
    );
  mkdirSync(context.paths.run, { recursive: true, mode: 0o700 });
  mkdirSync(context.paths.logs, { recursive: true, mode: 0o750 });
  const logFile = join(context.paths.logs, 'podwired.log');
  const logFrom = existsSync(logFile) ? statSync(logFile).size : 0;
  const child = await startDetached({
    argv: daemonArgv(context, flags),
    logFile,
    env: daemonEnv(process.env),
    cwd: context.paths.run, // conmon leaves a file "oom" where it runs
  });
  return await untilStarted(child, {
    health: () => health(context),
    waitsFor: () => waitsFor(context),
    logEnd: () => logEnd(logFile, logFrom),
  });
}

/** What is seen of a podwired that starts. */
export interface Looks {
  health(): Promise<Health>;
  waitsFor(): Promise<string | undefined>;
  logEnd(): string;
}

/** A start takes 0.3 s, and a minute on a machine that is short of everything; who dies is told of at once. */
const longestStartMs = 180_000;

/** Waits until it is ready, or has to wait itself. After that, however it went, it keeps this process from nothing. */
export async function untilStarted(
  child: DetachedProcess,
  look: Looks,
  timeoutMs = longestStartMs,
): Promise<Started> {
  const began = performance.now();
  const after = (): number => performance.now() - began;
  let death: number | string | undefined;
  child.ended.then((how) => {
    death = how;
  });
  try {
    // The looks grow rarer: on a slow machine they take from the daemon what it needs to start.
    for (; ; await pause(Math.max(15, after() / 20))) {
      if ((await look.health()) === 'ready') return { pid: child.pid, ms: after() };
      if (death !== undefined)
        throw new PodwireError(
          'DAEMON_DIED',
          `podwired ended at its start (${typeof death === 'number' ? `exit code ${death}` : death})${look.logEnd()}`,
        );
      if (after() > timeoutMs)
        throw new PodwireError(
          'DAEMON_SLOW',
          `podwired (pid ${child.pid}) is not ready after ${timeoutMs / 1000} s; it goes on, and podwire down ends it${look.logEnd()}`,
        );
      const waiting = after() > patienceMs ? await look.waitsFor() : undefined;
      if (waiting !== undefined) return { pid: child.pid, ms: after(), waiting };
    }
  } finally {
    child.release();
  }
}

/** Each by its type: one that is left out here would be taken and forgotten. */
const passedOn: Readonly<Record<keyof DaemonFlags, string>> = {
  podCidr: '--pod-cidr',
  clusterCidr: '--cluster-cidr',
  nodeCidrMaskSizeIpv4: '--node-cidr-mask-size-ipv4',
  nodeCidrMaskSizeIpv6: '--node-cidr-mask-size-ipv6',
  serviceCidr: '--service-cidr',
  nodeMonitorGracePeriod: '--node-monitor-grace-period',
  defaultNotReadyTolerationSeconds: '--default-not-ready-toleration-seconds',
  defaultUnreachableTolerationSeconds: '--default-unreachable-toleration-seconds',
  runtime: '--runtime',
  runtimeEndpoint: '--runtime-endpoint',
  cniConfDir: '--cni-conf-dir',
  nodeName: '--node-name',
  nodeIp: '--node-ip',
  datastore: '--datastore',
  datastoreCa: '--datastore-ca',
  datastoreCert: '--datastore-cert',
  datastoreKey: '--datastore-key',
  allowedUnsafeSysctls: '--allowed-unsafe-sysctls',
  nodePort: '--node-port',
  listen: '--listen',
  advertiseAddress: '--advertise-address',
  networkBackend: '--network-backend',
  logLevel: '--log-level',
  maxPods: '--max-pods',
  podPidsLimit: '--pod-pids-limit',
  imageGcHighThreshold: '--image-gc-high-threshold',
  imageGcLowThreshold: '--image-gc-low-threshold',
  containerLogMaxSize: '--container-log-max-size',
  containerLogMaxFiles: '--container-log-max-files',
  ...resourceFlags,
};

/** The daemon runs in another folder. */
const isFile: ReadonlySet<keyof DaemonFlags> = new Set([
  'datastoreCa',
  'datastoreCert',
  'datastoreKey',
  'cniConfDir',
]);

/** Pure. */
export function daemonArgv(context: Context, flags: DaemonFlags): [string, ...string[]] {
  const argv: [string, ...string[]] = [join(repoFolder(), 'bin/podwired')];
  if (context.paths.root !== '/') argv.push('--root', context.paths.root);
  for (const [key, value] of Object.entries(flags) as [keyof DaemonFlags, string][])
    argv.push(passedOn[key], isFile.has(key) ? resolve(value) : value);
  return argv;
}

/** What npm puts into the environment of its scripts is no business of a daemon. */
function daemonEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(npm_|NODE_OPTIONS$|NODE_V8_COVERAGE$|TAP)/.test(name)),
  );
}

/** The checkout this file belongs to, whether it runs as source or from dist/. */
export function repoFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'bin/podwired')) && folder !== '/') folder = dirname(folder);
  return folder;
}

function logEnd(file: string, from: number): string {
  const text = readFileSync(file).subarray(from).toString('utf8').trimEnd();
  if (text === '') return `; it wrote nothing to ${file}`;
  const lines = text
    .split('\n')
    .slice(-15)
    .map((line) => `  | ${readableLogLine(line)}`);
  return `; the end of ${file}:\n${lines.join('\n')}`;
}

/** A line of pino's JSON as a person reads it; any other line as it is. Pure. */
export function readableLogLine(line: string): string {
  try {
    const { level, msg, err } = JSON.parse(line) as {
      level: number;
      msg?: string;
      err?: { message?: string };
    };
    const name =
      level >= 60 ? 'fatal' : level >= 50 ? 'error' : level >= 40 ? 'warn' : level >= 30 ? 'info' : 'debug';
    const cause = err?.message && !msg?.includes(err.message) ? `: ${err.message}` : '';
    return `${name.padEnd(5)} ${msg ?? ''}${cause}`;
  } catch {
    return line;
  }
}

/** Ends it with SIGTERM; after `graceMs` with SIGKILL, which costs no Pod anything. Gives the signal that did it. */
export async function stopPodwired(owner: ProcessIdentity, graceMs = 15_000): Promise<'SIGTERM' | 'SIGKILL'> {
  signal(owner, 'SIGTERM');
  const deadline = performance.now() + graceMs;
  while (isAlive(owner) && performance.now() < deadline) await pause(10);
  if (!isAlive(owner)) return 'SIGTERM';
  signal(owner, 'SIGKILL');
  while (isAlive(owner)) await pause(10);
  return 'SIGKILL';
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
