// The containers of a node: made by conmon and an OCI runtime, known from their records, watched until they end.
// Assumes it is the only one that manages this node's records. Containers are children of init and outlive this
// object; a new one adopts them. Lists answer from memory; a container costs one process to make and one to start.
import { mkdirSync } from 'node:fs';
import { messageOf, settleAll } from '../exec/errors.ts';
import { type Exec, run } from '../exec/exec.ts';
import { startReportingDaemon, type StartReportingDaemon } from '../exec/reporting-daemon.ts';
import type { StepClock } from '../exec/step-clock.ts';
import { Undo } from '../exec/undo.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { setCgroupLimits } from '../kernel/cgroup.ts';
import { diskUsage } from '../kernel/disk.ts';
import { identify, isAlive, programOf, untilReplaced } from '../kernel/process.ts';
import { readIfThere } from '../kernel/files.ts';
import { endAbandoned } from './abandoned.ts';
import { mountRoot, planBundle, warmSeccomp, writeBundle } from './bundle.ts';
import { attachToContainer, tellConmon } from './attach.ts';
import { handOver } from './stage.ts';
import { conmonArgv, conmonEnv, parseConmonReport, reopenLogCommand } from './conmon.ts';
import { type ExecTarget, execInContainer, execToItsEnd } from './container-exec.ts';
import {
  type ContainerRecord,
  containerFiles,
  isContainerId,
  newContainerId,
  runtimeStateDir,
  saveContainer,
  toContainerStatus,
} from './container-record.ts';
import { ContainerTable, type Live } from './container-table.ts';
import type {
  AttachRequest,
  ContainerConfig,
  ContainerStatus,
  ExecRequest,
  ExecSession,
  ExecSyncRequest,
  ExecSyncResult,
  LinuxResources,
} from './cri.ts';
import { ContainerError } from './errors.ts';
import type { ImageStore } from './image/store.ts';
import { type OciRuntime, ociRuntime, readableRuntimeError, startArgv } from './oci/runtime.ts';
import { commandLine, type SandboxMounts } from './oci/spec.ts';
import { stopSignalNumber } from './oci/stop-signal.ts';

export type { ContainerRecord } from './container-record.ts';
export type { SandboxMounts } from './oci/spec.ts';

export interface ContainerRuntimeOptions {
  readonly paths: NodePaths;
  readonly images: ImageStore;
  /** Absolute path of crun or runc. */
  readonly ociRuntime: string;
  /** Absolute path of conmon. */
  readonly conmon: string;
  readonly exec?: Exec;
  readonly startDaemon?: StartReportingDaemon;
  /** What was asked for and left out, or failed while nobody waited; the Pod's uid is '' where none is known. */
  readonly onWarning?: (podUid: string, message: string) => void;
}

export interface CreateRequest {
  /** 64 hexadecimal digits; made up when absent. */
  readonly id?: string;
  readonly sandbox: SandboxMounts;
  readonly podUid: string;
  readonly namespace: string;
  readonly podName: string;
  readonly config: ContainerConfig;
  readonly clock: StepClock;
}

export interface ContainerRuntime {
  /** Adopts what lives, undoes what is half made, notes what died meanwhile. Call once, first. */
  recover(): Promise<ContainerRecord[]>;
  /**
   * Makes a container that waits for start. What the OCI runtime itself refuses (a command that does not exist) is
   * told by start, as in Kubernetes. @throws ContainerError or ImageError; nothing is left then
   */
  create(request: CreateRequest): Promise<string>;
  /** @throws ContainerError RunContainerError; its status is then exited, 128, StartError */
  start(id: string): Promise<void>;
  /** The stop signal, after `graceSeconds` SIGKILL; resolves when it is dead. Unknown ids succeed. */
  stop(id: string, graceSeconds: number): Promise<void>;
  /** SIGKILL; resolves when it is dead. Unknown ids succeed. */
  kill(id: string): Promise<void>;
  /** Kills it if need be and removes all of it but the log. Unknown ids succeed. */
  remove(id: string): Promise<void>;
  /** Sets limits of one that runs; what is absent stays. @throws KernelError */
  updateResources(id: string, resources: LinuxResources): Promise<void>;
  /** Bytes on disk that it wrote to its root; undefined when it cannot be told. */
  writableLayerBytes(id: string): Promise<number | undefined>;
  list(): ContainerStatus[];
  /** @throws ContainerError ContainerNotFound, ContainerNotRunning */
  exec(id: string, request: ExecRequest): Promise<ExecSession>;
  /** @throws ExecError EXEC_TIMEOUT, EXEC_ABORTED; ContainerError as exec */
  execSync(id: string, request: ExecSyncRequest): Promise<ExecSyncResult>;
  /** Its log was renamed: conmon begins a new one in its place. @throws ContainerError ContainerNotFound */
  reopenLog(id: string): Promise<void>;
  /** @throws ContainerError as exec */
  attach(id: string, request: AttachRequest): Promise<ExecSession>;
  onExit(listener: (container: ContainerStatus) => void): void;
  /** Stops looking; changes nothing that runs. */
  close(): Promise<void>;
}

export function createContainerRuntime(options: ContainerRuntimeOptions): ContainerRuntime {
  return new ConmonRuntime(options);
}

/** After that much time it is looked whether the OCI runtime still lives. */
const slowCreationMs = 5000;

/** A program that takes longer to begin (its file lies on a disk that hangs) is not waited for. */
const becomingMs = 500;

class ConmonRuntime implements ContainerRuntime {
  readonly #options: ContainerRuntimeOptions;
  readonly #exec: Exec;
  readonly #runtime: OciRuntime;
  readonly #table: ContainerTable;

  constructor(options: ContainerRuntimeOptions) {
    const { paths, exec = run } = options;
    this.#options = options;
    this.#exec = exec;
    this.#runtime = ociRuntime(options.ociRuntime, runtimeStateDir(paths));
    for (const folder of [paths.containers, paths.overlay, runtimeStateDir(paths)])
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#table = new ContainerTable({
      paths,
      exec,
      runtimeOf: (record) => this.#runtimeOf(record),
      warn: (podUid, message) => options.onWarning?.(podUid, message),
    });
    options.images.addUser((imageId) => this.#table.userOfImage(imageId));
  }

  /** Containers of a daemon that was told another runtime stay with theirs. */
  #runtimeOf({ ociRuntime: program }: ContainerRecord): OciRuntime {
    return program === undefined || program === this.#runtime.program
      ? this.#runtime
      : ociRuntime(program, runtimeStateDir(this.#options.paths));
  }

  async recover(): Promise<ContainerRecord[]> {
    warmSeccomp(`${runtimeStateDir(this.#options.paths)}/.seccomp`);
    await this.#table.recover();
    return this.#table.all().map(({ record }) => record);
  }

  async create(asked: CreateRequest): Promise<string> {
    const request = { ...asked, sandbox: this.#namespacesFor(asked) };
    const { config, clock, sandbox } = request;
    const { paths, images } = this.#options;
    const image = await images.rootfs(config.image);
    const input = { paths, config, image, sandbox };
    const plan = planBundle(input);
    const id = request.id ?? newContainerId();
    const files = containerFiles(paths, id);
    const record = newRecord(id, request, {
      imageId: image.id,
      ociRuntime: this.#runtime.program,
      stopSignal: stopSignalNumber(config.stopSignal ?? image.config.StopSignal),
    });
    const live: Live = { record, files };

    mkdirSync(files.bundle, { mode: 0o700 });
    const undo = new Undo();
    undo.push(() => this.#table.forget(live));
    this.#table.add(live);
    try {
      saveContainer(files, record); // the intent: from here on a crash can be cleaned up after
      await clock.step(`rootfs ${config.name}`, async () => {
        const made = await mountRoot(input, files, this.#options.exec);
        writeBundle(made.input, { files: made.files, record, plan });
      });
      await clock.step(`create ${config.name}`, () => this.#runConmon(live));
      if (sandbox.userns)
        await handOver(live, { user: plan.user, ids: sandbox.userns.ids }, this.#options.exec);
    } catch (error) {
      return undo.fail(`container ${config.name}`, asContainerError(error, config.name));
    }
    this.#warn(record, plan.leftOut);
    return id;
  }

  /** @throws ContainerError CreateContainerError when the container whose processes it is to see has ended */
  #namespacesFor({ sandbox, config }: CreateRequest): SandboxMounts {
    if (config.pidTarget === undefined || sandbox.hostPid || sandbox.pidPath !== undefined) return sandbox;
    const target = this.#table.find(config.pidTarget)?.record;
    if (target?.state === 'running' && target.pid && isAlive(target.pid))
      return { ...sandbox, pidPath: `/proc/${target.pid.pid}/ns/pid` };
    const message = `container ${config.name}: the container whose processes it is to see does not run`;
    throw new ContainerError('CreateContainerError', config.name, message);
  }

  /** conmon makes the container; what it reports becomes the record. */
  async #runConmon({ record, files }: Live): Promise<void> {
    const { conmon, paths, startDaemon = startReportingDaemon } = this.#options;
    const { config, id, namespace, podName } = record;
    const creation = startDaemon({
      argv: conmonArgv({
        conmon,
        runtime: this.#runtime,
        id,
        name: `${namespace}_${podName}_${config.name}_${config.attempt}`,
        bundle: files.bundle,
        pidFile: files.pid,
        conmonPidFile: files.conmonPid,
        logPath: config.logPath,
        exitDir: paths.exits,
        tty: config.tty,
        stdin: config.stdin,
        stdinOnce: config.stdinOnce ?? false,
      }),
      env: conmonEnv,
      outputFile: files.conmonLog,
      cwd: files.bundle, // conmon leaves a file `oom` where it stands
    });
    const stopLooking = endAbandoned(() => Number(readIfThere(files.conmonPid) ?? 0), slowCreationMs);
    const line = await creation.finally(stopLooking);
    const report = parseConmonReport(line);
    if ('failure' in report) {
      const [command = ''] = await this.#commandOf(config);
      record.startError = readableRuntimeError(report.failure, command);
      await this.#table.releaseResources({ record, files });
    } else {
      // One that is gone already keeps its place: its exit file tells the rest.
      record.pid = identify(report.pid) ?? { pid: report.pid, startTime: 'gone' };
      const monitor = Number(readIfThere(files.conmonPid) ?? 0);
      record.conmon = identify(monitor) ?? { pid: monitor, startTime: 'gone' };
    }
    record.state = 'created';
    saveContainer(files, record);
  }

  async #commandOf(config: ContainerConfig): Promise<string[]> {
    return commandLine(config, (await this.#options.images.rootfs(config.image)).config);
  }

  #warn(record: ContainerRecord, leftOut: readonly string[]): void {
    if (leftOut.length === 0) return;
    const message = `container ${record.config.name}: this machine cannot give ${leftOut.join(', ')}: left out`;
    this.#options.onWarning?.(record.podUid, message);
  }

  async start(id: string): Promise<void> {
    const live = this.#table.get(id);
    const { record, files } = live;
    if (record.state !== 'created') {
      if (record.state === 'exited')
        throw new ContainerError(
          'ContainerNotRunning',
          id,
          `container ${record.config.name}: it has exited already`,
        );
      return;
    }
    if (record.startError !== undefined) this.#failStart(live, record.startError);
    const begun = { state: 'starting', startedAt: new Date().toISOString() } as const;
    saveContainer(files, { ...record, ...begun }); // a full disk leaves it as it was: to be started again
    Object.assign(record, begun);
    const init = record.pid && programOf(record.pid);
    try {
      await this.#exec({ argv: startArgv(this.#runtimeOf(record), id) });
      // The OCI runtime returns a little before its child becomes the container's program: /proc/1 is closed till then.
      if (record.pid) await untilReplaced(record.pid, init, becomingMs);
    } catch (error) {
      await this.#table.killAndWait(live).catch(() => {}); // what matters is why it did not start
      return this.#failStart(live, readableRuntimeError(messageOf(error), id));
    }
    // It may have ended before the runtime's own process did.
    if ((record.state as ContainerRecord['state']) !== 'starting') return;
    record.state = 'running';
    this.#table.save(live);
  }

  #failStart(live: Live, message: string): never {
    const now = new Date().toISOString();
    live.record.startedAt = now;
    live.record.exit = { code: 128, finishedAt: now, reason: 'StartError', message };
    live.record.state = 'exited';
    this.#table.save(live);
    throw new ContainerError(
      'RunContainerError',
      live.record.id,
      `container ${live.record.config.name}: ${message}`,
    );
  }

  async stop(id: string, graceSeconds: number): Promise<void> {
    const live = this.#table.find(id);
    if (!live) return;
    if (
      graceSeconds > 0 &&
      live.record.state === 'running' &&
      (await this.#table.askToStop(live, graceSeconds))
    )
      return;
    await this.#table.killAndWait(live);
  }

  async kill(id: string): Promise<void> {
    const live = this.#table.find(id);
    if (live) await this.#table.killAndWait(live);
  }

  async remove(id: string): Promise<void> {
    const live = this.#table.find(id);
    if (!live) return;
    live.removing ??= this.#remove(live).finally(() => {
      live.removing = undefined;
    });
    await live.removing;
  }

  async #remove(live: Live): Promise<void> {
    await settleAll(`remove container ${live.record.config.name}`, [
      () => this.#table.killAndWait(live),
      () => this.#table.forget(live),
    ]);
  }

  async updateResources(id: string, resources: LinuxResources): Promise<void> {
    const { record } = this.#table.get(id);
    if (record.state === 'running') setCgroupLimits(record.cgroup, resources);
  }

  async writableLayerBytes(id: string): Promise<number | undefined> {
    const live = this.#table.find(id);
    return live && (await diskUsage([live.files.upper], this.#exec)).get(live.files.upper);
  }

  list(): ContainerStatus[] {
    const whole = this.#table.all().filter(({ record }) => record.state !== 'creating');
    return whole.map(({ record }) => toContainerStatus(record));
  }

  async exec(id: string, request: ExecRequest): Promise<ExecSession> {
    return execInContainer(this.#running(id), request);
  }

  async execSync(id: string, request: ExecSyncRequest): Promise<ExecSyncResult> {
    return execToItsEnd(this.#running(id), request);
  }

  async reopenLog(id: string): Promise<void> {
    tellConmon(this.#table.get(id).files.ctl, reopenLogCommand);
  }

  async attach(id: string, request: AttachRequest): Promise<ExecSession> {
    const { record } = this.#table.get(id);
    const target = this.#running(id);
    return attachToContainer(
      { files: target.files, record, isOver: () => record.exit !== undefined },
      request,
    );
  }

  /** @throws ContainerError when it does not run */
  #running(id: string): ExecTarget {
    const { record, files } = this.#table.get(id);
    if (record.state !== 'running')
      throw new ContainerError(
        'ContainerNotRunning',
        id,
        `container ${record.config.name} does not run (it is ${record.state}): exec needs a running one`,
      );
    return { id, files, runtime: this.#runtimeOf(record), exec: this.#exec };
  }

  onExit(listener: (container: ContainerStatus) => void): void {
    this.#table.onExit(({ record }) => listener(toContainerStatus(record)));
  }

  async close(): Promise<void> {
    this.#table.close();
  }
}

function newRecord(
  id: string,
  request: CreateRequest,
  image: { imageId: string; ociRuntime: string; stopSignal: number },
): ContainerRecord {
  const { sandbox, podUid, namespace, podName, config } = request;
  if (!isContainerId(id))
    throw new TypeError(`${JSON.stringify(id)} is no container id (64 hexadecimal digits)`);
  return {
    id,
    sandboxId: sandbox.id,
    podUid,
    namespace,
    podName,
    config,
    ...image,
    createdAt: new Date().toISOString(),
    cgroup: `${sandbox.cgroupParent}/${id}`,
    sharesPids: sandbox.hostPid || sandbox.pidPath !== undefined,
    state: 'creating',
  };
}

function asContainerError(error: unknown, name: string): unknown {
  if (error instanceof ContainerError) return error;
  return new ContainerError('CreateContainerError', name, `container ${name}: ${messageOf(error)}`, {
    cause: error,
  });
}
