// Makes and unmakes a Pod's sandbox: netns by `ip netns`, ipc and uts pinned by bind mounts, the pause process that
// holds them, the Pod's cgroup, shared memory, /etc files, and the network. Every step pushes its undo first.
// Assumes root. Costs 5 short processes plus the CNI plugins; steps that do not need each other run side by side.
import { chownSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodSandboxConfig } from '../container/cri.ts';
import { allSettledOrThrow, settleAll } from '../exec/errors.ts';
import { type Exec, run } from '../exec/exec.ts';
import type { StepClock } from '../exec/step-clock.ts';
import { Undo, undoFailed } from '../exec/undo.ts';
import { attach, ensureCgroup, killCgroup, removeCgroup, warmCgroupMoves } from '../kernel/cgroup.ts';
import { KernelError } from '../kernel/errors.ts';
import { readIfThere } from '../kernel/files.ts';
import { bindMount, mountTmpfs, unmountAll } from '../kernel/mount.ts';
import { addNetns, deleteNetns, netnsPath, raiseLoopback } from '../kernel/netns.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { traceTo } from '../kernel/trace.ts';
import { identify, isAlive, type ProcessIdentity, signal, startDaemon } from '../kernel/process.ts';
import { type IdRange, makeOwnedNamespaces } from '../kernel/user-namespace.ts';
import { hostsFile, resolvConf } from './etc-files.ts';
import { freeIds, takeIds } from './id-ranges.ts';
import type { NetworkRequest, PodNetwork } from './network.ts';
import { newSandboxId, type SandboxFiles, type SandboxRecord, sandboxFiles, saveRecord } from './record.ts';

export interface SandboxContext {
  readonly paths: NodePaths;
  readonly network: PodNetwork;
  /** argv of the pause program: `catatonit -P`, or `sleep infinity`. */
  readonly pauseArgv: readonly [string, ...string[]];
  /** Told what went wrong and stops nothing. */
  readonly warn: (message: string, error: unknown) => void;
  readonly exec?: Exec;
}

/** A sandbox under way: the record at once, the rest when it stands. */
export interface StartingSandbox {
  readonly record: SandboxRecord;
  /** Namespaces, cgroup and files stand: containers may be created. Everything is undone when it rejects. */
  readonly namespaces: Promise<void>;
  /** pause holds them and the network is up. Everything is undone when it rejects. */
  readonly ready: Promise<void>;
}

export const podCgroup = (paths: NodePaths, uid: string): string => `${paths.cgroup}/pod${uid}`;

/** Starts a sandbox; see StartingSandbox. `beforeUndo` removes what others put into it, should it fail. */
export function startSandbox(
  context: SandboxContext,
  config: PodSandboxConfig,
  clock: StepClock,
  beforeUndo: () => Promise<void>,
): StartingSandbox {
  const record: SandboxRecord = {
    id: newSandboxId(config.name),
    config,
    createdAt: new Date().toISOString(),
    state: 'creating',
    ips: [],
  };
  const files = sandboxFiles(context.paths.sandboxes, record.id);
  const undo = new Undo();
  const undone = async (cause: unknown): Promise<never> => {
    undo.push(beforeUndo); // last in, first out
    try {
      await undo.run(`sandbox ${record.id}`);
    } catch (undoing) {
      // Something is still there: the record stays, for stopSandbox to try again.
      record.state = 'notready';
      noteRecord(context, record);
      throw undoFailed(cause, undoing);
    }
    if (record.ids) freeIds(context.paths, record.ids, files.dir); // only now nothing has them any more
    forgetSandbox(context, record.id);
    throw cause;
  };

  void warmCgroupMoves(); // never rejects; the first move after a pause waits for the kernel, so it begins now
  const namespaces = makeNamespaces({ context, record, files, undo, clock });
  const ready = namespaces.then(async () => {
    const network = connect({ context, record, files, undo, clock });
    const pause =
      config.namespaces.pid === 'pod' ? Promise.resolve() : holdNamespaces({ context, record, files, clock });
    const loopback =
      config.namespaces.network === 'pod'
        ? clock.step('loopback', () => raiseLoopback(record.id, context.exec, traceTo(files.trace)))
        : undefined;
    const results = await Promise.allSettled([network, pause, loopback]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    writeFileSync(files.hosts, hostsFile(config, record.ips, readIfThere('/etc/hosts') ?? ''));
    saveRecord(files, { ...record, state: 'ready' }); // on a full disk it is undone, and must not count as ready
    record.state = 'ready';
  });
  const guarded = ready.catch(undone);
  guarded.catch(() => {}); // whoever awaits `ready` sees it; without a waiter it is no crash
  return { record, namespaces: namespaces.catch(() => guarded), ready: guarded };
}

interface Making {
  readonly context: SandboxContext;
  readonly record: SandboxRecord;
  readonly files: SandboxFiles;
  readonly clock: StepClock;
}

async function makeNamespaces({
  context,
  record,
  files,
  undo,
  clock,
}: Making & { undo: Undo }): Promise<void> {
  const { paths, exec = run } = context;
  const { id, config } = record;
  const cgroup = podCgroup(paths, config.uid);
  mkdirSync(paths.sandboxes, { recursive: true, mode: 0o700 });
  mkdirSync(files.dir, { mode: 0o700 });
  if (config.namespaces.user === 'pod') record.ids = takeIds(paths, files.dir);
  saveRecord(files, record); // the intent: from here on a crash can be cleaned up after
  mkdirSync(files.shm, { mode: 0o755 });
  for (const pin of [files.ipc, files.uts, files.pid]) writeFileSync(pin, '', { mode: 0o600 });
  // Bind-mounted into containers, which may run as anybody: 0644. hosts is written again when the address is known.
  writeFileSync(files.hosts, hostsFile(config, [], readIfThere('/etc/hosts') ?? ''), { mode: 0o644 });
  writeFileSync(files.resolvConf, resolvConf(config.dns), { mode: 0o644 });
  writeFileSync(files.hostname, `${config.hostname}\n`, { mode: 0o644 });
  if (record.ids) prepareForIds(files, record.ids);

  undo.push(() => removeCgroup(cgroup));
  undo.push(() => unmountAll(files.dir, exec));
  undo.push(() => killPause(record, files));
  const steps: Promise<unknown>[] = [];
  if (config.namespaces.network === 'pod') {
    undo.push(() => deleteNetns(id, exec));
    if (!record.ids) steps.push(clock.step('netns', () => addNetns(id, exec, traceTo(files.trace))));
  }
  const { ids } = record;
  steps.push(
    ids
      ? clock.step('user namespace', () => ownNamespaces(record, { ids, files }, exec))
      : clock.step('pin namespaces', () => pinNamespaces(config, files, exec)),
  );
  if (config.namespaces.ipc === 'pod')
    steps.push(
      clock.step('shared memory', () =>
        mountTmpfs({ target: files.shm, options: shmOptions(record.ids) }, exec),
      ),
    );
  steps.push(
    clock.step('cgroup', async () => {
      ensureCgroup(cgroup, config.resources);
      ensureCgroup(`${cgroup}/pause`, {});
    }),
  );
  const results = await Promise.allSettled(steps);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  if (Object.keys(config.sysctls).length > 0)
    await clock.step('sysctls', () => setSysctls(record, files, exec));
  // A shared pid namespace is born with its pid 1, so then the containers must wait for pause.
  if (config.namespaces.pid === 'pod') await holdNamespaces({ context, record, files, clock });
}

// The size is Docker's and containerd's default for /dev/shm.
const shmOptions = (ids: IdRange | undefined): string =>
  `nosuid,nodev,noexec,mode=1777,size=65536k${ids ? `,uid=${ids.first},gid=${ids.first}` : ''}`;

/** What holds its user namespace; and its files belong to its root, so that no mount has to map them. */
function prepareForIds(files: SandboxFiles, { first }: IdRange): void {
  writeFileSync(files.user, '', { mode: 0o600 });
  for (const file of [files.hosts, files.resolvConf, files.hostname]) chownSync(file, first, first);
}

/** All its namespaces belong to the user namespace: its root is to bind low ports, mount /proc and see its own /sys. */
async function ownNamespaces(
  { id, config }: SandboxRecord,
  { ids, files }: { ids: IdRange; files: SandboxFiles },
  exec: Exec,
): Promise<void> {
  await makeOwnedNamespaces({ ids, pins: files, netns: id, hostname: config.hostname }, exec);
  // For `podwire explain`: what a person types to have the same network.
  traceTo(files.trace)({ tool: 'ip', lines: [`netns add ${id}`] });
}

/** With the machine's network a Pod also keeps the machine's host name, as in Kubernetes. */
const ownsUts = (config: PodSandboxConfig): boolean => config.namespaces.network === 'pod';

/** New ipc and uts namespaces, each held by a bind mount on its file, with no process in them yet (unshare(1)). */
async function pinNamespaces(config: PodSandboxConfig, files: SandboxFiles, exec: Exec): Promise<void> {
  const flags = [
    ...(config.namespaces.ipc === 'pod' ? [`--ipc=${files.ipc}`] : []),
    ...(ownsUts(config) ? [`--uts=${files.uts}`] : []),
  ];
  if (flags.length === 0) return;
  const inside = ownsUts(config) ? ['hostname', config.hostname] : ['true'];
  await exec({ argv: ['unshare', ...flags, '--', ...inside] });
}

/** nsenter arguments that join all pinned namespaces of a sandbox. */
function joinFlags(record: SandboxRecord, files: SandboxFiles): string[] {
  const { network, ipc } = record.config.namespaces;
  return [
    ...(record.ids ? [`--user=${files.user}`] : []),
    ...(network === 'pod' ? [`--net=${netnsPath(record.id)}`] : []),
    ...(ipc === 'pod' ? [`--ipc=${files.ipc}`] : []),
    ...(ownsUts(record.config) ? [`--uts=${files.uts}`] : []),
  ];
}

async function setSysctls(record: SandboxRecord, files: SandboxFiles, exec: Exec): Promise<void> {
  const settings = Object.entries(record.config.sysctls).map(([name, value]) => `${name}=${value}`);
  await exec({ argv: ['nsenter', ...joinFlags(record, files), '--', 'sysctl', '-qw', ...settings] });
}

/** Starts pause in the namespaces and in the Pod's cgroup. It is init's child: it outlives this daemon. */
async function holdNamespaces({ context, record, files, clock }: Making): Promise<void> {
  const { pauseArgv, paths, exec = run } = context;
  const ownPid = record.config.namespaces.pid === 'pod';
  // unshare(1) stays as pid 1's parent; --kill-child ends pid 1, and with it the namespace, when it is killed.
  // From inside a user namespace nothing of the machine's can be mounted: then it is pinned from outside.
  const pinned = record.ids ? '--pid' : `--pid=${files.pid}`;
  const inside = ownPid ? ['unshare', pinned, '--fork', '--kill-child', ...pauseArgv] : pauseArgv;
  await clock.step('pause', async () => {
    record.pause = await startDaemon(
      { argv: ['nsenter', ...joinFlags(record, files), '--', ...inside], pidFile: files.pausePid },
      exec,
    );
    attach(`${podCgroup(paths, record.config.uid)}/pause`, record.pause.pid);
    saveRecord(files, record);
    if (ownPid && record.ids) await pinPids(record.pause, files);
  });
}

/** The pid namespace for children of unshare(1), which is there once its child is. */
async function pinPids(parent: ProcessIdentity, files: SandboxFiles): Promise<void> {
  const source = `/proc/${parent.pid}/ns/pid_for_children`;
  for (;;) {
    if (!isAlive(parent)) throw new KernelError('ESRCH', source, 'pause: it ended as soon as it began');
    if (existsSync(source) && !sameNamespace(source, '/proc/self/ns/pid'))
      return bindMount({ source, target: files.pid });
    await sleep(1);
  }
}

const requestOf = ({ record, files }: { record: SandboxRecord; files: SandboxFiles }): NetworkRequest => ({
  id: record.id,
  netnsPath: netnsPath(record.id),
  namespace: record.config.namespace,
  name: record.config.name,
  uid: record.config.uid,
  portMappings: record.config.portMappings,
  bandwidth: record.config.bandwidth,
  trace: files.trace,
  config: files.network,
});

async function connect({ context, record, files, undo, clock }: Making & { undo: Undo }): Promise<void> {
  if (record.config.namespaces.network !== 'pod') return;
  const request = requestOf({ record, files });
  undo.push(() => context.network.teardown(request));
  record.ips = await clock.step('network', () => context.network.setup(request));
}

/** Kills pause, also one that a crashed daemon started but had no time to write down. */
function killPause(record: SandboxRecord, files: SandboxFiles): void {
  const pause = record.pause ?? unrecordedPause(record, files);
  if (pause) signal(pause, 'SIGKILL');
}

/** The process of pause.pid, if it is still ours: a bare pid may have been given to another since. */
function unrecordedPause(record: SandboxRecord, files: SandboxFiles): ProcessIdentity | undefined {
  const pid = Number(readIfThere(files.pausePid)?.trim() || Number.NaN);
  const found = Number.isInteger(pid) ? identify(pid) : undefined;
  const pin = ownsUts(record.config) ? 'uts' : 'ipc';
  return found && sameNamespace(`/proc/${pid}/ns/${pin}`, files[pin]) ? found : undefined;
}

function sameNamespace(one: string, other: string): boolean {
  try {
    return statSync(one).ino === statSync(other).ino;
  } catch {
    return false; // gone between two looks
  }
}

export const pauseAlive = (record: SandboxRecord): boolean =>
  record.pause !== undefined && isAlive(record.pause);

/**
 * Takes the sandbox's kernel objects down: every step is tried, all failures are reported, calling again finishes
 * the rest. Containers must be gone, and it must be the Pod's only sandbox: the Pod's cgroup goes with it.
 * The record stays (state 'stopped') until forgetSandbox.
 */
export async function stopSandbox(context: SandboxContext, record: SandboxRecord): Promise<void> {
  const { paths, exec = run } = context;
  const files = sandboxFiles(paths.sandboxes, record.id);
  const cgroup = podCgroup(paths, record.config.uid);
  const hasNetns = record.config.namespaces.network === 'pod';
  const network = settleAll('network', [
    () => hasNetns && context.network.teardown(requestOf({ record, files })),
    () => hasNetns && deleteNetns(record.id, exec),
  ]);
  const namespaces = settleAll('namespaces', [
    () => killPause(record, files),
    () => killCgroup(cgroup), // whatever else escaped into it
    () => unmountAll(files.dir, exec),
  ]);
  await settleAll(`sandbox ${record.id}`, [
    () => allSettledOrThrow('namespaces and network', [network, namespaces]),
    () => removeCgroup(cgroup),
  ]);
  if (record.ids) freeIds(paths, record.ids, files.dir); // nothing has them any more
  record.state = 'stopped';
  noteRecord(context, record);
}

/**
 * Writes what has happened to a sandbox. A full disk changes nothing about that and is only told: the record on disk then
 * says that there is more than there is, which the next daemon finds out, and taking down may be repeated.
 */
export function noteRecord({ paths, warn }: SandboxContext, record: SandboxRecord): void {
  try {
    saveRecord(sandboxFiles(paths.sandboxes, record.id), record);
  } catch (error) {
    warn(`the record of sandbox ${record.id} could not be written`, error);
  }
}

/** Removes the folder and with it the record. */
export function forgetSandbox(context: SandboxContext, id: string): void {
  rmSync(join(context.paths.sandboxes, id), { recursive: true, force: true });
}
