// The local runtime: RuntimeService made of sandboxes (this folder) and containers (lib/container).
// Assumes it is the only one that manages this node's records. Lists answer from memory; a look at every pause
// process once a second is one read of /proc each.
import type { Duplex } from 'node:stream';
import type {
  AttachRequest,
  ContainerConfig,
  ContainerStatus,
  ExecRequest,
  ExecSession,
  ExecSyncRequest,
  ExecSyncResult,
  LinuxResources,
  PodSandboxConfig,
  PodSandboxStatus,
  RuntimeEvent,
  RuntimeService,
} from '../container/cri.ts';
import type { ContainerRuntime, SandboxMounts } from '../container/runtime.ts';
import { allSettledOrThrow, PodwireError, settleAll } from '../exec/errors.ts';
import type { StepClock } from '../exec/step-clock.ts';
import { setCgroupLimits } from '../kernel/cgroup.ts';
import { readIfThere } from '../kernel/files.ts';
import { connectInNetns, connectToSelf } from '../kernel/netns-connect.ts';
import { deleteNetns, netnsPath } from '../kernel/netns.ts';
import { unmountAll } from '../kernel/mount.ts';
import { sweepIds } from './id-ranges.ts';
import { loadRecords, type SandboxFiles, type SandboxRecord, sandboxFiles, toStatus } from './record.ts';
import {
  forgetSandbox,
  noteRecord,
  pauseAlive,
  podCgroup,
  type SandboxContext,
  startSandbox,
  stopSandbox,
} from './sandbox.ts';

const relistMs = 1000;

interface Live {
  record: SandboxRecord;
  /** Settles when the network is up; a failure has been undone. */
  ready: Promise<void>;
  /** Container creations under way: whoever takes the sandbox down waits for them. */
  readonly creating: Set<Promise<unknown>>;
  /** No container may be created any more. */
  closing?: boolean;
  stopping?: Promise<void> | undefined;
}

export class LocalRuntime implements RuntimeService {
  readonly #context: SandboxContext;
  readonly #containers: ContainerRuntime;
  readonly #sandboxes = new Map<string, Live>();
  readonly #listeners: Array<(event: RuntimeEvent) => void> = [];
  #relist: NodeJS.Timeout | undefined;

  constructor(context: SandboxContext, containers: ContainerRuntime) {
    this.#context = context;
    this.#containers = containers;
  }

  async recover(): Promise<void> {
    await this.#containers.recover();
    const { paths } = this.#context;
    for (const record of loadRecords(paths.sandboxes))
      await this.#adopt(record).catch((error) =>
        this.#context.warn(`sandbox ${record.id} was left half made and could not be undone yet`, error),
      );
    for (const { id, sandboxId } of this.#containers.list())
      if (!this.#sandboxes.has(sandboxId))
        await this.#containers
          .remove(id)
          .catch((error) => this.#context.warn(`container ${id} of no sandbox was not removed`, error));
    this.#sweepIds();
    await this.#context.network
      .collectGarbage([...this.#sandboxes.keys()])
      .catch((error) => this.#context.warn('addresses of dead sandboxes were not collected', error));
    this.#containers.onExit((container) =>
      this.#emit({ type: 'ContainerDied', podUid: container.podUid, id: container.id }),
    );
    this.#relist = setInterval(() => this.#lookAtPauses(), relistMs);
  }

  /** Ids that a daemon took which died before it could write down for whom. */
  #sweepIds(): void {
    const live = [...this.#sandboxes.keys()].map((id) => this.#files(id).dir);
    sweepIds(this.#context.paths, new Set(live));
  }

  /** Takes a record up; what is half made is undone now, or later when that fails. */
  async #adopt(record: ReturnType<typeof loadRecords>[number]): Promise<void> {
    if (record.config === undefined) return this.#dropUnreadable(record.id);
    const live: Live = { record, ready: Promise.resolve(), creating: new Set() };
    this.#sandboxes.set(record.id, live);
    const halfMade = record.state === 'creating';
    if (halfMade || (record.state === 'ready' && !pauseAlive(record))) record.state = 'notready';
    if (!halfMade) return;
    await this.stopPodSandbox(record.id);
    await this.removePodSandbox(record.id);
  }

  /** A crash before the record was written, or one that was cut short: whatever goes by its id is taken away. */
  #dropUnreadable(id: string): Promise<void> {
    const { paths, exec } = this.#context;
    return settleAll(`sandbox ${id}`, [
      () => unmountAll(sandboxFiles(paths.sandboxes, id).dir, exec),
      () => deleteNetns(id, exec),
      () => forgetSandbox(this.#context, id),
    ]);
  }

  async runPodSandbox(config: PodSandboxConfig, clock: StepClock): Promise<PodSandboxStatus> {
    const creating = new Set<Promise<unknown>>();
    const live = { creating } as Live; // the rest is set before anything can ask for it
    const starting = startSandbox(this.#context, config, clock, async () => {
      live.closing = true;
      await Promise.allSettled(creating);
      await this.#removeContainers(starting.record.id);
    });
    const { record } = starting;
    live.record = record;
    live.ready = starting.ready;
    this.#sandboxes.set(record.id, live);
    starting.ready.catch(() => {
      if (record.state === 'creating') this.#sandboxes.delete(record.id); // all of it is undone
    });
    await starting.namespaces;
    return toStatus(record);
  }

  async waitForNetwork(sandboxId: string): Promise<PodSandboxStatus> {
    const live = this.#get(sandboxId);
    await live.ready;
    return toStatus(live.record);
  }

  async stopPodSandbox(sandboxId: string): Promise<void> {
    const live = this.#sandboxes.get(sandboxId);
    if (!live || live.record.state === 'stopped') return;
    live.stopping ??= this.#stop(live).finally(() => {
      live.stopping = undefined;
    });
    await live.stopping;
  }

  async #stop(live: Live): Promise<void> {
    await live.ready.catch(() => {});
    live.closing = true;
    if (live.record.state === 'creating') return; // its own undo took it down
    if (live.record.state === 'ready') {
      live.record.state = 'notready';
      noteRecord(this.#context, live.record);
    }
    await Promise.allSettled(live.creating);
    await this.#killContainers(live.record.id);
    await stopSandbox(this.#context, live.record);
  }

  async removePodSandbox(sandboxId: string): Promise<void> {
    const live = this.#sandboxes.get(sandboxId);
    if (!live) return;
    await this.stopPodSandbox(sandboxId);
    await this.#removeContainers(sandboxId);
    forgetSandbox(this.#context, sandboxId);
    this.#sandboxes.delete(sandboxId);
  }

  listPodSandboxes(): PodSandboxStatus[] {
    return [...this.#sandboxes.values()].map(({ record }) => {
      const status = toStatus(record);
      // While the network is under way the sandbox counts as ready: containers are being made in it.
      return record.state === 'creating' ? { ...status, state: 'ready' as const } : status;
    });
  }

  async createContainer(sandboxId: string, config: ContainerConfig, clock: StepClock): Promise<string> {
    const live = this.#get(sandboxId);
    const { record } = live;
    if (live.closing)
      throw new PodwireError(
        'SANDBOX_CLOSING',
        `sandbox ${sandboxId} is being taken down: no container can be created in it`,
      );
    const creation = this.#containers.create({
      sandbox: this.#mounts(record),
      podUid: record.config.uid,
      namespace: record.config.namespace,
      podName: record.config.name,
      config,
      clock,
    });
    live.creating.add(creation);
    try {
      return await creation;
    } finally {
      live.creating.delete(creation);
    }
  }

  async startContainer(containerId: string): Promise<void> {
    await this.#containers.start(containerId);
  }

  async stopContainer(containerId: string, graceSeconds: number): Promise<void> {
    await this.#containers.stop(containerId, graceSeconds);
  }

  async removeContainer(containerId: string): Promise<void> {
    await this.#containers.remove(containerId);
  }

  async updateContainerResources(containerId: string, resources: LinuxResources): Promise<void> {
    await this.#containers.updateResources(containerId, resources);
  }

  async updatePodSandboxResources(sandboxId: string, resources: LinuxResources): Promise<void> {
    const { record } = this.#get(sandboxId);
    setCgroupLimits(podCgroup(this.#context.paths, record.config.uid), resources);
  }

  writableLayerBytes(containerId: string): Promise<number | undefined> {
    return this.#containers.writableLayerBytes(containerId);
  }

  listContainers(): ContainerStatus[] {
    return this.#containers.list();
  }

  exec(containerId: string, request: ExecRequest): Promise<ExecSession> {
    return this.#containers.exec(containerId, request);
  }

  execSync(containerId: string, request: ExecSyncRequest): Promise<ExecSyncResult> {
    return this.#containers.execSync(containerId, request);
  }

  reopenContainerLog(containerId: string): Promise<void> {
    return this.#containers.reopenLog(containerId);
  }

  attach(containerId: string, request: AttachRequest): Promise<ExecSession> {
    return this.#containers.attach(containerId, request);
  }

  async portForward(sandboxId: string, port: number): Promise<Duplex> {
    const { record } = this.#get(sandboxId);
    const own = record.config.namespaces.network === 'pod';
    return own ? connectInNetns(netnsPath(sandboxId), port) : connectToSelf(port);
  }

  /** What `podwire explain` turns into a script: the recorded network commands of a Pod's newest sandbox. */
  networkTrace(podUid: string): string | undefined {
    const mine = [...this.#sandboxes.values()].filter(({ record }) => record.config.uid === podUid);
    const newest = mine.sort((a, b) => b.record.config.attempt - a.record.config.attempt)[0];
    return newest && readIfThere(this.#files(newest.record.id).trace);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    clearInterval(this.#relist);
    await this.#containers.close();
  }

  #emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  #get(sandboxId: string): Live {
    const live = this.#sandboxes.get(sandboxId);
    if (!live) throw new PodwireError('SANDBOX_NOT_FOUND', `sandbox ${sandboxId}: not there`);
    return live;
  }

  #files(id: string): SandboxFiles {
    return sandboxFiles(this.#context.paths.sandboxes, id);
  }

  #lookAtPauses(): void {
    for (const { record } of this.#sandboxes.values()) {
      if (record.state !== 'ready' || pauseAlive(record)) continue;
      record.state = 'notready';
      noteRecord(this.#context, record);
      this.#emit({ type: 'SandboxChanged', podUid: record.config.uid, id: record.id });
    }
  }

  #ofSandbox(sandboxId: string): ContainerStatus[] {
    return this.#containers.list().filter((container) => container.sandboxId === sandboxId);
  }

  async #killContainers(sandboxId: string): Promise<void> {
    const running = this.#ofSandbox(sandboxId).filter((container) => container.state !== 'exited');
    await allSettledOrThrow(
      'containers',
      running.map((container) => this.#containers.stop(container.id, 0)),
    );
  }

  async #removeContainers(sandboxId: string): Promise<void> {
    await allSettledOrThrow(
      'containers',
      this.#ofSandbox(sandboxId).map((container) => this.#containers.remove(container.id)),
    );
  }

  #mounts(record: SandboxRecord): SandboxMounts {
    const files = this.#files(record.id);
    const { network, ipc, pid } = record.config.namespaces;
    return {
      id: record.id,
      ...(network === 'pod' ? { netnsPath: netnsPath(record.id), utsPath: files.uts } : {}),
      ...(ipc === 'pod' ? { ipcPath: files.ipc } : {}),
      ...(pid === 'pod' ? { pidPath: files.pid } : {}),
      ...(record.ids ? { userns: { path: files.user, ids: record.ids } } : {}),
      hostPid: pid === 'node',
      hostNetwork: network === 'node',
      hostIpc: ipc === 'node',
      hostsPath: files.hosts,
      resolvConfPath: files.resolvConf,
      hostnamePath: files.hostname,
      shmPath: ipc === 'pod' ? files.shm : '/dev/shm',
      cgroupParent: podCgroup(this.#context.paths, record.config.uid),
    };
  }
}
