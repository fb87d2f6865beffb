// RuntimeService over a CRI socket: sandboxes and containers are the runtime's, made by its calls; what it does not do for a
// Pod is done here as a kubelet does it: the Pod's cgroup and its /etc/hosts.
// Assumes the runtime's cgroup driver is cgroupfs and its CNI reads the node's conflist. A Pod costs three calls to start.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { ContainerError } from '../container/errors.ts';
import { readSeccompFile } from '../container/oci/seccomp-file.ts';
import { stopSignalNumber } from '../container/oci/stop-signal.ts';
import { messageOf, PodwireError } from '../exec/errors.ts';
import type { StepClock } from '../exec/step-clock.ts';
import { detectCgroups, ensureCgroup, removeCgroup, setCgroupLimits } from '../kernel/cgroup.ts';
import { readIfThere, replaceFile } from '../kernel/files.ts';
import type { NodePaths } from '../kernel/paths.ts';
import { hostsFile } from '../sandbox/etc-files.ts';
import { podCgroup } from '../sandbox/sandbox.ts';
import { CriError, type CriConnection } from './connection.ts';
import type { CriImages } from './images.ts';
import { execFailure, openRemoteExec, readable } from './remote-exec.ts';
import { openRemotePort } from './remote-port.ts';
import {
  containerRequest,
  type Features,
  featuresOf,
  resourcesMessage,
  type SandboxInput,
  sandboxMessage,
  stopSignalAnnotation,
} from './requests.ts';
import { ipsOf, pidIn, toSandboxStatus } from './status.ts';
import { CriTable, isGone } from './table.ts';

export interface CriRuntimeOptions {
  readonly connection: CriConnection;
  readonly images: CriImages;
  readonly paths: NodePaths;
  readonly warn: (message: string, error: unknown) => void;
}

/** Beyond the grace, for a runtime that is busy. */
const stopSlackMs = 120_000;
/** How long a conflist that was just written may take to be noticed. */
const networkMs = 10_000;
/** How often a container that got its own stop signal is looked at. */
const stopLookMs = 100;
/** What a CRI message and a timer can say, in their unit. */
const longest = 2 ** 31 - 1;

/** What is kept of each sandbox: /run/podwire/cri/<sandbox id>. Gone with the boot, as what runs in it. */
export const criFolder = (paths: NodePaths): string => join(paths.run, 'cri');

export class CriRuntime implements RuntimeService {
  readonly #options: CriRuntimeOptions;
  readonly #connection: CriConnection;
  readonly #table: CriTable;
  readonly #listeners: Array<(event: RuntimeEvent) => void> = [];
  #features: Features = { strictGroups: false, recursiveReadOnly: false };
  #networkReady = false;

  constructor(options: CriRuntimeOptions) {
    const { connection, warn, paths, images } = options;
    this.#options = options;
    this.#connection = connection;
    this.#table = new CriTable({
      connection,
      owner: paths.root,
      onEvent: (event) => {
        for (const listener of this.#listeners) listener(event);
      },
      onTrouble: (why) =>
        why === undefined
          ? warn('the container runtime answers again', undefined)
          : warn(`the container runtime does not answer: ${why}`, undefined),
    });
    images.addUser((isIt) => this.#table.containers().find(({ image }) => isIt(image))?.name);
  }

  /** Why no Pod can be made just now. */
  notReady(): string | undefined {
    const { trouble } = this.#table;
    return trouble && `container runtime is down: ${trouble}`;
  }

  async recover(): Promise<void> {
    this.#features = featuresOf(await this.#connection.call('Status', {}));
    mkdirSync(criFolder(this.#options.paths), { recursive: true, mode: 0o711 });
    await this.#table.start();
    for (const id of readdirSync(criFolder(this.#options.paths)))
      if (!this.#table.sandbox(id)) rmSync(this.#folder(id), { recursive: true, force: true });
  }

  async runPodSandbox(config: PodSandboxConfig, clock: StepClock): Promise<PodSandboxStatus> {
    const { paths } = this.#options;
    if (config.namespaces.user === 'pod')
      throw new PodwireError(
        'USERNS_REFUSED',
        "hostUsers: false is there with podwire's own runtime only, not with --runtime-endpoint",
      );
    if (config.namespaces.network === 'pod') await this.#waitForConflist();
    const input = this.#input(config);
    ensureCgroup(input.cgroup, config.resources);
    let made: string | undefined;
    try {
      const { podSandboxId } = await clock.step('sandbox', () =>
        this.#connection.call('RunPodSandbox', { config: sandboxMessage(input) }, { timeoutMs: 240_000 }),
      );
      made = podSandboxId;
      const { status } = await this.#connection.call('PodSandboxStatus', { podSandboxId });
      if (!status) throw new CriError('RUNTIME_FAILED', `sandbox ${podSandboxId}: it has no status`);
      const ips = config.namespaces.network === 'pod' ? ipsOf(status.network) : [];
      const folder = this.#folder(podSandboxId);
      mkdirSync(folder, { mode: 0o711 });
      replaceFile(join(folder, 'sandbox.json'), JSON.stringify(config), { durable: false });
      const hosts = hostsFile(config, ips, readIfThere('/etc/hosts') ?? '');
      replaceFile(join(folder, 'hosts'), hosts, { mode: 0o644, durable: false });
      const found = toSandboxStatus(status, ips);
      this.#table.setSandbox(found);
      return found;
    } catch (error) {
      if (made !== undefined)
        await this.removePodSandbox(made).catch(() => {}); // housekeeping finds it
      else if (!this.#ofPod(config.uid)) await removeCgroup(podCgroup(paths, config.uid)).catch(() => {});
      throw error;
    }
  }

  /** The runtime's own network is there when RunPodSandbox returns. */
  async waitForNetwork(sandboxId: string): Promise<PodSandboxStatus> {
    const found = this.#table.sandbox(sandboxId);
    if (!found) throw new PodwireError('SANDBOX_NOT_FOUND', `sandbox ${sandboxId}: not there`);
    return found;
  }

  async stopPodSandbox(sandboxId: string): Promise<void> {
    await this.#repeatable('StopPodSandbox', { podSandboxId: sandboxId });
    const known = this.#table.sandbox(sandboxId);
    if (known) this.#table.setSandbox({ ...known, state: 'notready' });
    const mine = this.#table.containers().filter((container) => container.sandboxId === sandboxId);
    await Promise.all(mine.filter(({ state }) => state !== 'exited').map(({ id }) => this.#table.look(id)));
  }

  async removePodSandbox(sandboxId: string): Promise<void> {
    const uid = this.#table.sandbox(sandboxId)?.uid;
    await this.#repeatable('StopPodSandbox', { podSandboxId: sandboxId });
    await this.#repeatable('RemovePodSandbox', { podSandboxId: sandboxId });
    this.#table.dropSandbox(sandboxId);
    rmSync(this.#folder(sandboxId), { recursive: true, force: true });
    if (uid !== undefined && !this.#ofPod(uid)) await removeCgroup(podCgroup(this.#options.paths, uid));
  }

  /** One whose files are gone (somebody emptied /run) can take no container: it counts as dead. */
  listPodSandboxes(): PodSandboxStatus[] {
    return this.#table
      .sandboxes()
      .map((one) =>
        one.state === 'ready' && !existsSync(join(this.#folder(one.id), 'hosts'))
          ? { ...one, state: 'notready' }
          : one,
      );
  }

  async createContainer(sandboxId: string, config: ContainerConfig, clock: StepClock): Promise<string> {
    const { images } = this.#options;
    const folder = this.#folder(sandboxId);
    const sandbox = this.#input(
      JSON.parse(readFileSync(join(folder, 'sandbox.json'), 'utf8')) as PodSandboxConfig,
    );
    const image = await images.find(config.image);
    const request = containerRequest({
      config,
      sandbox,
      hostsPath: join(folder, 'hosts'),
      image,
      features: this.#features,
      unified: detectCgroups().mode === 'v2',
    });
    try {
      const { seccomp, seccompPath } = config.security;
      // The runtime reads it, too, and passes over what it does not understand.
      if (seccomp === 'Localhost' && seccompPath !== undefined) readSeccompFile(seccompPath);
      const { containerId } = await clock.step(`create ${config.name}`, () =>
        this.#connection.call('CreateContainer', { podSandboxId: sandboxId, ...request }),
      );
      await this.#table.look(containerId, sandboxId);
      return containerId;
    } catch (error) {
      throw new ContainerError(
        'CreateContainerError',
        config.name,
        `container ${config.name}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  async startContainer(containerId: string): Promise<void> {
    try {
      await this.#connection.call('StartContainer', { containerId });
    } catch (error) {
      const name = this.#table.container(containerId)?.name ?? containerId;
      await this.#table.look(containerId).catch(() => {}); // the next list tells
      throw new ContainerError(
        'RunContainerError',
        containerId,
        `container ${name}: ${readable(messageOf(error))}`,
        { cause: error },
      );
    }
    await this.#table.look(containerId);
  }

  async stopContainer(containerId: string, graceSeconds: number): Promise<void> {
    const timeout = Math.min(Math.ceil(graceSeconds), longest);
    const timeoutMs = Math.min(timeout * 1000 + stopSlackMs, longest);
    try {
      if (timeout > 0 && (await this.#stopBySignal(containerId, timeout))) return;
      await this.#connection.call('StopContainer', { containerId, timeout }, { timeoutMs });
    } catch (error) {
      if (!isGone(error))
        throw new ContainerError(
          'KillContainerError',
          containerId,
          `container ${this.#table.container(containerId)?.name ?? containerId}: ${messageOf(error)}`,
          { cause: error },
        );
    }
    await this.#table.look(containerId);
  }

  /**
   * A Pod's own stop signal is sent from here, to the process that the runtime names; then it is killed as soon as its
   * time is up. False: it has none, or nobody told its process, and the runtime is to stop it.
   */
  async #stopBySignal(containerId: string, seconds: number): Promise<boolean> {
    const { status, info } = await this.#connection.call('ContainerStatus', { containerId, verbose: true });
    const name = status?.annotations[stopSignalAnnotation];
    if (name === undefined || status?.state !== 'CONTAINER_RUNNING') return false;
    const pid = pidIn(info);
    if (pid === undefined) return false;
    sendSignal(pid, stopSignalNumber(name));
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(stopLookMs))
      if ((await this.#table.look(containerId))?.state !== 'running') return true;
    await this.#connection.call('StopContainer', { containerId, timeout: 0 });
    await this.#table.look(containerId);
    return true;
  }

  async removeContainer(containerId: string): Promise<void> {
    await this.#repeatable('RemoveContainer', { containerId });
    this.#table.dropContainer(containerId);
  }

  async writableLayerBytes(containerId: string): Promise<number | undefined> {
    try {
      const { stats } = await this.#connection.call('ContainerStats', { containerId });
      const used = stats?.writableLayer?.usedBytes?.value;
      return used === undefined ? undefined : Number(used);
    } catch {
      return undefined; // gone, or not now: the next look tells
    }
  }

  async updateContainerResources(containerId: string, resources: LinuxResources): Promise<void> {
    const linux = resourcesMessage(resources, { unified: detectCgroups().mode === 'v2' });
    await this.#connection.call('UpdateContainerResources', { containerId, linux });
  }

  /** The Pod's group is ours. */
  async updatePodSandboxResources(sandboxId: string, resources: LinuxResources): Promise<void> {
    const { uid } = await this.waitForNetwork(sandboxId);
    setCgroupLimits(podCgroup(this.#options.paths, uid), resources);
  }

  listContainers(): ContainerStatus[] {
    return this.#table.containers();
  }

  async exec(containerId: string, request: ExecRequest): Promise<ExecSession> {
    this.#checkRunning(containerId);
    const { argv, tty, stdin } = request;
    const asked = { containerId, cmd: argv, tty, stdin, stdout: true, stderr: !tty };
    const { url } = await this.#connection.call('Exec', asked);
    return openRemoteExec(url, { tty, stdin });
  }

  async execSync(containerId: string, request: ExecSyncRequest): Promise<ExecSyncResult> {
    this.#checkRunning(containerId);
    const { argv, timeoutMs, signal } = request;
    const timeout = Math.min(Math.ceil(timeoutMs / 1000), longest);
    try {
      // Its own time limit counts whole seconds; ours ends the call, and the runtime then kills what runs.
      const { stdout, stderr, exitCode } = await this.#connection.call(
        'ExecSync',
        { containerId, cmd: argv, timeout },
        { timeoutMs: Math.min(timeoutMs, longest), ...(signal ? { signal } : {}) },
      );
      return { exitCode, output: stdout.toString() + stderr.toString() };
    } catch (error) {
      return execFailure(error, argv);
    }
  }

  async reopenContainerLog(containerId: string): Promise<void> {
    await this.#connection.call('ReopenContainerLog', { containerId });
  }

  async attach(containerId: string, { stdin, tty }: AttachRequest): Promise<ExecSession> {
    this.#checkRunning(containerId);
    const asked = { containerId, stdin, tty, stdout: true, stderr: !tty };
    const { url } = await this.#connection.call('Attach', asked);
    return openRemoteExec(url, { tty, stdin });
  }

  async portForward(podSandboxId: string, port: number): Promise<Duplex> {
    const { url } = await this.#connection.call('PortForward', { podSandboxId, port: [port] });
    return openRemotePort(url, port);
  }

  onEvent(listener: (event: RuntimeEvent) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#table.close();
    this.#connection.close();
  }

  #folder(sandboxId: string): string {
    if (!/^[A-Za-z0-9_.-]+$/.test(sandboxId) || /^\.+$/.test(sandboxId))
      throw new CriError(
        'RUNTIME_FAILED',
        `sandbox id ${JSON.stringify(sandboxId)}: it cannot be a file name`,
      );
    return join(criFolder(this.#options.paths), sandboxId);
  }

  #input(config: PodSandboxConfig): SandboxInput {
    const { paths } = this.#options;
    return { config, owner: paths.root, cgroup: podCgroup(paths, config.uid) };
  }

  #ofPod(uid: string): boolean {
    return this.#table.sandboxes().some((sandbox) => sandbox.uid === uid);
  }

  async #repeatable(
    method: 'StopPodSandbox' | 'RemovePodSandbox' | 'RemoveContainer',
    request: ({ podSandboxId: string } & { containerId?: never }) | { containerId: string },
  ): Promise<void> {
    try {
      await this.#connection.call(method as 'StopPodSandbox', request as { podSandboxId: string }, {
        timeoutMs: stopSlackMs,
      });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** @throws ContainerError ContainerNotFound, ContainerNotRunning */
  #checkRunning(id: string): void {
    const known = this.#table.container(id);
    if (!known) throw new ContainerError('ContainerNotFound', id, `container ${id}: not there`);
    if (known.state !== 'running')
      throw new ContainerError(
        'ContainerNotRunning',
        id,
        `container ${known.name} does not run (it is ${known.state}): exec needs a running one`,
      );
  }

  /** The node's conflist was written a moment ago, or never where the runtime looks. @throws CriError */
  async #waitForConflist(): Promise<void> {
    for (const end = Date.now() + networkMs; !this.#networkReady; await sleep(100)) {
      const { status } = await this.#connection.call('Status', {});
      const network = status?.conditions.find(({ type }) => type === 'NetworkReady');
      if (network === undefined || network.status) this.#networkReady = true;
      else if (Date.now() >= end)
        throw new CriError(
          'RUNTIME_FAILED',
          `the container runtime has no network: ${network.message}; its CNI conf_dir must be ${this.#options.paths.cniConf} (or start podwired with --cni-conf-dir)`,
        );
    }
  }
}

function sendSignal(pid: number, number: number): void {
  try {
    process.kill(pid, number);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
