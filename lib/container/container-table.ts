// The containers that this node knows: records and their changes by death, kill and recovery.
// Invariants: a record in the table has a bundle folder on disk; `exit` is set once; whoever waits for an end is told
// after the record was saved. Assumes one table a node. A map access a question.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../exec/errors.ts';
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
import { type OciRuntime, startArgv, stateArgv } from './oci/runtime.ts';

export interface Live {
  readonly record: ContainerRecord;
  readonly files: ContainerFiles;
  removing?: Promise<void> | undefined;
}

const killWaitMs = 10_000;
/** What a timer of Node holds (24.8 days); anything longer would end at once. */
const longestTimerMs = 2 ** 31 - 1;

export interface TableOptions {
  readonly paths: NodePaths;
  readonly runtimeOf: (record: ContainerRecord) => OciRuntime;
  readonly exec: Exec;
  /** What failed and was gone past; the Pod's uid is '' where none is known. */
  readonly warn: (podUid: string, message: string) => void;
}

export class ContainerTable {
  readonly #options: TableOptions;
  readonly #paths: NodePaths;
  readonly #exec: Exec;
  readonly #live = new Map<string, Live>();
  readonly #listeners: Array<(live: Live) => void> = [];
  readonly #waiters = new Map<string, Array<() => void>>();
  readonly #watcher: ExitWatcher;
  /** The last warning of each container, as what is looked at every second fails every second. */
  readonly #warned = new Map<string, string>();

  constructor(options: TableOptions) {
    this.#options = options;
    this.#paths = options.paths;
    this.#exec = options.exec;
    this.#watcher = new ExitWatcher({
      exits: this.#paths.exits,
      live: () => this.#unfinished(),
      isLive: (id) => this.#live.get(id)?.record.exit === undefined && this.#live.has(id),
      onExit: (id, exit) => this.#ended(id, exit),
      onLost: (id) => void this.#lost(id, monitorDied).catch((error) => this.#warn(id, 'ending it', error)),
      onError: (error, id = '') => this.#warn(id, `watching ${this.#paths.exits}`, error),
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
    this.#warned.delete(live.record.id);
  }

  /** Writes the record of what has happened already: a full disk changes nothing about that, and is only told. */
  save({ record, files }: Live): void {
    try {
      saveContainer(files, record);
    } catch (error) {
      this.#warn(record.id, 'its record could not be written', error);
    }
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

  /** Reads what an earlier daemon left. One container's trouble is told, and is not the node's. */
  async recover(): Promise<void> {
    const loaded = loadContainers(this.#paths);
    for (const { id, record } of loaded) {
      const files = containerFiles(this.#paths, id);
      try {
        if (!record || record.state === 'creating') await this.#undoHalfMade(files, record);
        else await this.#adopt({ record, files });
      } catch (error) {
        if (record) this.#keepAsLost({ record, files }, error);
        this.#warn(id, 'could not be recovered', error);
      }
    }
    await this.#sweep(new Set(loaded.map(({ id }) => id))).catch((error) =>
      this.#warn('', 'looking for what earlier ones left', error),
    );
  }

  /** In memory only: whoever lists it may remove it, and the next daemon tries what its record on disk says. */
  #keepAsLost(live: Live, error: unknown): void {
    const finishedAt = new Date().toISOString();
    const message = `it could not be recovered: ${messageOf(error)}`;
    live.record.exit ??= { code: 137, finishedAt, reason: 'ContainerStatusUnknown', message };
    live.record.state = 'exited';
    this.add(live);
  }

  /** Records die with the boot, what containers wrote to their roots does not; a conmon may write after all is removed. */
  async #sweep(known: ReadonlySet<string>): Promise<void> {
    const ids = [this.#paths.overlay, this.#paths.exits].flatMap((folder) => readdirSync(folder));
    for (const id of new Set(ids.filter((id) => isContainerId(id) && !known.has(id))))
      await removeBundle(containerFiles(this.#paths, id), undefined, this.#exec).catch((error) =>
        this.#warn(id, 'what it left could not be removed', error),
      );
    // conmon's temporary files: ID.XXXXXX
    for (const name of readdirSync(this.#paths.exits))
      if (!known.has(name.slice(0, 64)) && isContainerId(name.slice(0, 64)))
        rmSync(join(this.#paths.exits, name), { force: true });
  }

  async #undoHalfMade(files: ContainerFiles, record: ContainerRecord | undefined): Promise<void> {
    const conmon = identify(Number(readIfThere(files.conmonPid) ?? 0));
    // A bare pid may have been given to another process since: only a conmon of this very bundle is ours.
    if (conmon && readIfThere(`/proc/${conmon.pid}/cmdline`)?.includes(files.bundle))
      signal(conmon, 'SIGKILL');
    await removeBundle(files, record?.cgroup, this.#exec);
  }

  async #adopt(live: Live): Promise<void> {
    const { record } = live;
    this.add(live);
    if (record.exit || this.#watcher.look(record.id) || record.startError !== undefined) return;
    if (!record.conmon || !isAlive(record.conmon)) return this.#lost(record.id, monitorDied);
    if (record.state !== 'starting') return;
    const runs = await this.#finishStart(record).catch((error: unknown) => error as Error);
    if (runs instanceof Error)
      return this.#lost(record.id, `whether it ran could not be found out: ${runs.message}`);
    if (!runs) return this.#lost(record.id, 'it could not be started');
    record.state = 'running';
    this.save(live);
  }

  /**
   * A start was under way as the daemon died. The runtime's process that it had begun may still be at it, so that one which
   * has not run yet may run a moment later: it is started, and is never taken for one that did not run. True when it did.
   */
  async #finishStart(record: ContainerRecord): Promise<boolean> {
    if (await this.#hasRun(record)) return true;
    await this.#exec({ argv: startArgv(this.#options.runtimeOf(record), record.id) }).catch(() => {}); // the other did
    return this.#hasRun(record);
  }

  async #hasRun(record: ContainerRecord): Promise<boolean> {
    const { stdout } = await this.#exec({ argv: stateArgv(this.#options.runtimeOf(record), record.id) });
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

  /** Nobody reaps or logs it any more, or nobody knows what it does: it is ended, its exit code is not known. */
  async #lost(id: string, why: string): Promise<void> {
    const live = this.#live.get(id);
    if (!live || live.record.exit) return;
    const { record } = live;
    const message = `${why}; the container was killed and its exit code is not known`;
    if (record.pid) signal(record.pid, 'SIGKILL');
    await killCgroup(record.cgroup).catch(() => {}); // removal kills again, and reports
    const finishedAt = new Date().toISOString();
    if (!record.exit)
      this.#finish(live, { code: 137, finishedAt, reason: 'ContainerStatusUnknown', message });
  }

  #finish(live: Live, exit: ContainerExit): void {
    const { record } = live;
    record.exit = exit;
    record.state = 'exited';
    this.save(live);
    for (const wake of this.#waiters.get(record.id) ?? []) wake();
    this.#waiters.delete(record.id);
    for (const listener of this.#listeners)
      try {
        listener(live);
      } catch (error) {
        this.#warn(record.id, 'telling of its end', error);
      }
  }

  #warn(id: string, what: string, error: unknown): void {
    const record = this.#live.get(id)?.record;
    const name = record ? `container ${record.config.name} (${id})` : id ? `container ${id}` : 'containers';
    const message = `${name}: ${what}: ${messageOf(error)}`;
    if (this.#warned.get(id) === message) return;
    this.#warned.set(id, message);
    this.#options.warn(record?.podUid ?? '', message);
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
    const over = sleep(Math.min(limitMs, longestTimerMs), false, { signal: limit.signal }).catch(() => false);
    try {
      return await Promise.race([ended, over]);
    } finally {
      limit.abort();
    }
  }
}

const monitorDied = 'its monitor (conmon) died';

/** Of a container that is to vanish: its monitor has nothing left to tell. */
function killConmon({ record, files }: Live): void {
  const conmon = record.conmon ?? identify(Number(readIfThere(files.conmonPid) ?? 0));
  if (conmon && readIfThere(`/proc/${conmon.pid}/cmdline`)?.includes(files.bundle)) signal(conmon, 'SIGKILL');
}
