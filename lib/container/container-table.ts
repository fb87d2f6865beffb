// The containers that this node knows: records and their changes by death, kill and recovery.
// Invariants: a record in the table has a bundle folder on disk; `exit` is set once; whoever waits for an end is told
// after the record was saved. Assumes one table a node. A map access a question.
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Exec } from '../exec/exec.ts';
import { killCgroup, oomKills } from '../kernel/cgroup.ts';
import { readIfThere } from '../kernel/files.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { identify, isAlive, signal } from '../kernel/process.ts';
import { removeBundle } from './bundle.ts';
import {
  type ContainerExit,
  type ContainerFiles,
  type ContainerRecord,
  containerFiles,
  isContainerId,
  loadContainers,
  saveContainer,
} from './container-record.ts';
import { ContainerError } from './errors.ts';
import { type ExitFile, ExitWatcher } from './exit-watcher.ts';
import { type OciRuntime, stateArgv } from './oci-runtime.ts';

export interface Live {
  readonly record: ContainerRecord;
  readonly files: ContainerFiles;
  removing?: Promise<void> | undefined;
}

const killWaitMs = 10_000;

export class ContainerTable {
  readonly #paths: NodePaths;
  readonly #runtimeOf: (record: ContainerRecord) => OciRuntime;
  readonly #exec: Exec;
  readonly #live = new Map<string, Live>();
  readonly #listeners: Array<(live: Live) => void> = [];
  readonly #waiters = new Map<string, Array<() => void>>();
  readonly #watcher: ExitWatcher;

  constructor(paths: NodePaths, runtimeOf: (record: ContainerRecord) => OciRuntime, exec: Exec) {
    this.#paths = paths;
    this.#runtimeOf = runtimeOf;
    this.#exec = exec;
    this.#watcher = new ExitWatcher({
      exits: paths.exits,
      live: () => this.#unfinished(),
      isLive: (id) => this.#live.get(id)?.record.exit === undefined && this.#live.has(id),
      onExit: (id, exit) => this.#ended(id, exit),
      onLost: (id) => void this.#lost(id),
    });
  }

  add(live: Live): void {
    this.#live.set(live.record.id, live);
  }

  find(id: string): Live | undefined {
    return this.#live.get(id);
  }

  /** @throws ContainerError ContainerNotFound */
  get(id: string): Live {
    const live = this.#live.get(id);
    if (!live) throw new ContainerError('ContainerNotFound', id, `container ${id}: not there`);
    return live;
  }

  all(): Live[] {
    return [...this.#live.values()];
  }

  /** The name of a container that stands on this image. */
  userOfImage(imageId: string): string | undefined {
    const user = this.all().find(({ record }) => record.imageId === imageId)?.record;
    return user && `container ${user.config.name} of Pod ${user.namespace}/${user.podName}`;
  }

  onExit(listener: (live: Live) => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#watcher.close();
  }

  /** Removes everything of a container, and the container from the table. Its processes are killed. */
  async forget(live: Live): Promise<void> {
    killConmon(live);
    await removeBundle(live.files, live.record.cgroup, this.#exec);
    this.#live.delete(live.record.id);
  }

  /** Gives back everything but the record: the runtime could not make the container. */
  async releaseResources(live: Live): Promise<void> {
    await removeBundle({ ...live.files, bundle: live.files.scratch }, live.record.cgroup, this.#exec);
  }

  /** Sends the stop signal; true when it ended in time. */
  async askToStop({ record }: Live, graceSeconds: number): Promise<boolean> {
    if (record.pid) signal(record.pid, record.stopSignal);
    return this.#waitForEnd(record, graceSeconds * 1000);
  }

  /** @throws ContainerError KillContainerError when it lives on */
  async killAndWait({ record }: Live): Promise<void> {
    if (record.exit || !record.pid) return;
    signal(record.pid, 'SIGKILL');
    if (await this.#waitForEnd(record, killWaitMs)) return;
    await killCgroup(record.cgroup);
    if (await this.#waitForEnd(record, killWaitMs)) return;
    throw new ContainerError(
      'KillContainerError',
      record.id,
      `container ${record.config.name}: still there ${(2 * killWaitMs) / 1000} s after SIGKILL (process ${record.pid.pid})`,
    );
  }

  /** Reads what an earlier daemon left. */
  async recover(): Promise<void> {
    for (const { id, record } of loadContainers(this.#paths)) {
      const files = containerFiles(this.#paths, id);
      if (!record || record.state === 'creating') await this.#undoHalfMade(files, record);
      else await this.#adopt({ record, files });
    }
    await this.#sweepOverlays();
  }

  /** Records die with the boot, what containers wrote to their roots does not. */
  async #sweepOverlays(): Promise<void> {
    const orphans = readdirSync(this.#paths.overlay).filter((id) => isContainerId(id) && !this.#live.has(id));
    for (const id of orphans)
      await rm(containerFiles(this.#paths, id).overlay, { recursive: true, force: true });
  }

  async #undoHalfMade(files: ContainerFiles, record: ContainerRecord | undefined): Promise<void> {
    const conmon = identify(Number(readIfThere(files.conmonPid) ?? 0));
    // A bare pid may have been given to another process since: only a conmon of this very bundle is ours.
    if (conmon && readIfThere(`/proc/${conmon.pid}/cmdline`)?.includes(files.bundle))
      signal(conmon, 'SIGKILL');
    await removeBundle(files, record?.cgroup, this.#exec);
  }

  async #adopt(live: Live): Promise<void> {
    const { record, files } = live;
    this.add(live);
    if (record.exit || this.#watcher.look(record.id) || record.startError !== undefined) return;
    if (!record.conmon || !isAlive(record.conmon)) return this.#lost(record.id);
    if (record.state !== 'starting') return;
    record.state = (await this.#runs(record)) ? 'running' : 'created';
    saveContainer(files, record);
  }

  /** Asks the runtime whether a container whose start was under way has begun to run. */
  async #runs(record: ContainerRecord): Promise<boolean> {
    const { stdout } = await this.#exec({ argv: stateArgv(this.#runtimeOf(record), record.id) });
    return (JSON.parse(stdout) as { status: string }).status !== 'created';
  }

  *#unfinished() {
    for (const { record } of this.#live.values())
      if (!record.exit && record.pid) yield { id: record.id, conmon: record.conmon };
  }

  #ended(id: string, { code, at }: ExitFile): void {
    const live = this.#live.get(id);
    if (!live || live.record.exit || live.record.state === 'creating') return;
    const { record, files } = live;
    const outOfMemory = code !== 0 && (existsSync(files.oom) || oomKills(record.cgroup) > 0);
    const reason = outOfMemory ? 'OOMKilled' : code === 0 ? 'Completed' : 'Error';
    // Its end does not end what it started where it is not pid 1.
    if (record.sharesPids) void killCgroup(record.cgroup).catch(() => {}); // removal kills again, and reports
    this.#finish(live, { code, finishedAt: at, reason });
  }

  /** conmon died without an exit file: nobody reaps or logs the container any more, so it is ended. */
  async #lost(id: string): Promise<void> {
    const live = this.#live.get(id);
    if (!live || live.record.exit) return;
    const { record } = live;
    const message = 'its monitor (conmon) died; the container was killed and its exit code is not known';
    if (record.pid) signal(record.pid, 'SIGKILL');
    await killCgroup(record.cgroup).catch(() => {}); // removal kills again, and reports
    const finishedAt = new Date().toISOString();
    if (!record.exit)
      this.#finish(live, { code: 137, finishedAt, reason: 'ContainerStatusUnknown', message });
  }

  #finish(live: Live, exit: ContainerExit): void {
    const { record, files } = live;
    record.exit = exit;
    record.state = 'exited';
    saveContainer(files, record);
    for (const wake of this.#waiters.get(record.id) ?? []) wake();
    this.#waiters.delete(record.id);
    for (const listener of this.#listeners) listener(live);
  }

  /** True when it has ended within the time. */
  async #waitForEnd(record: ContainerRecord, limitMs: number): Promise<boolean> {
    if (record.exit) return true;
    const limit = new AbortController();
    const ended = new Promise<boolean>((resolve) => {
      const waiters = this.#waiters.get(record.id) ?? [];
      waiters.push(() => resolve(true));
      this.#waiters.set(record.id, waiters);
    });
    const over = sleep(limitMs, false, { signal: limit.signal }).catch(() => false);
    try {
      return await Promise.race([ended, over]);
    } finally {
      limit.abort();
    }
  }
}

/** Of a container that is to vanish: its monitor has nothing left to tell. */
function killConmon({ record, files }: Live): void {
  const conmon = record.conmon ?? identify(Number(readIfThere(files.conmonPid) ?? 0));
  if (conmon && readIfThere(`/proc/${conmon.pid}/cmdline`)?.includes(files.bundle)) signal(conmon, 'SIGKILL');
}
